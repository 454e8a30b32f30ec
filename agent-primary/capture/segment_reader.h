// segment_reader.h: a large file's segments (core/delta/content_digest.h), read and digested ahead of whoever looks at
// them, on up to two threads of its own. Memory is bounded by kSegmentBuffers segments; holes are neither read nor cost
// a buffer.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "core/delta/content_digest.h"
#include "core/model/commit.h"
#include "core/os/file_io.h"

namespace understudy::primary {

// One that is looked at, and one for each thread.
inline constexpr size_t kSegmentBuffers = 3;
// A file of so many segments is read by the caller: a thread costs more than it saves.
inline constexpr uint64_t kFewSegments = 2;

struct ReadSegment {
  uint64_t number = 0;
  uint64_t offset = 0;        // of the segment, bytes from the start of the file
  uint64_t length = 0;        // bytes
  std::string_view bytes{};   // empty: all zeros, or a hole
  std::string_view around{};  // the same with up to a block before and one behind it, read with it; empty likewise
  uint64_t around_offset = 0;
  model::Digest digest{};
  std::string marks{};  // of its blocks
  bool cut = false;     // the file ended before it did: zeros stand for the rest
};

// One thread at a time.
class SegmentReader {
 public:
  // The first `size` bytes of `fd`, which outlives it.
  SegmentReader(int fd, uint64_t size);
  ~SegmentReader();
  SegmentReader(const SegmentReader&) = delete;
  SegmentReader& operator=(const SegmentReader&) = delete;

  // The next segment, in ascending order; not to be called past the last one. What it refers to lives until the next
  // call. After an error it isn't called again.
  [[nodiscard]] absl::StatusOr<ReadSegment> Next();

 private:
  struct Slot {
    std::string buffer;
    os::DataRange data{};  // the first that reaches into it
    ReadSegment segment;
    absl::Status status;
    bool ready = false;
  };

  // What the caller had is free again.
  void Release() ABSL_LOCKS_EXCLUDED(mutex_);
  // On the caller's thread, unless a hole is there.
  void ReadUpTo(uint64_t number) ABSL_LOCKS_EXCLUDED(mutex_);
  // Takes the next segment that has data; nullptr: there is none left, the reader ends, or the file's map can't be had.
  Slot* Claim() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status FindNextData() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Read(Slot& slot) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status ReadInto(Slot& slot) const;
  // [begin, end) of the file into the buffer's beginning, zeros for what it hasn't. Returns `end`.
  absl::StatusOr<uint64_t> ReadZeroFilled(uint64_t begin, uint64_t end, std::span<char> buffer) const;
  void ReadAhead();

  const int fd_;
  const uint64_t size_;
  const uint64_t count_;  // of segments
  uint64_t next_ = 0;     // that the caller gets
  Slot* held_ = nullptr;  // by the caller
  absl::Mutex mutex_;
  std::deque<Slot*> claimed_ ABSL_GUARDED_BY(mutex_);  // ascending; ready or being read
  std::vector<Slot*> free_ ABSL_GUARDED_BY(mutex_);
  uint64_t claimed_to_ ABSL_GUARDED_BY(mutex_) =
      0;  // each segment before it is claimed, or was given out, or is a hole
  std::optional<os::DataRange> data_ ABSL_GUARDED_BY(mutex_);  // the last that was found
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool ends_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Slot> slots_{kSegmentBuffers};
  std::vector<std::thread> threads_;
};

}  // namespace understudy::primary
