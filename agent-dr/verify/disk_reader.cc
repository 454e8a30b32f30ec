#include "agent-dr/verify/disk_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>

#include "core/delta/content_digest.h"
#include "core/os/file_io.h"
#include "core/os/stat.h"

namespace understudy::dr {
namespace {

constexpr size_t kAlignment = 4096;  // that direct reads need at most

struct FreeBuffer {
  void operator()(char* buffer) const { std::free(buffer); }
};

// Switches O_DIRECT on or off; false where the filesystem can't.
bool SetDirect(int fd, bool direct) {
  const int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

class SegmentReader {
 public:
  explicit SegmentReader(int fd)
      : fd_(fd), buffer_(static_cast<char*>(std::aligned_alloc(kAlignment, delta::kSegmentBytes))) {
    UNDERSTUDY_CHECK(buffer_ != nullptr);
    direct_ = SetDirect(fd, true);
    if (!direct_) DropCache(0, 0);
  }

  // `length` bytes at `offset`, a multiple of the segment's length; fewer at the end of the file.
  absl::StatusOr<std::string_view> Read(uint64_t offset, size_t length) {
    const size_t whole = (length + kAlignment - 1) / kAlignment * kAlignment;
    absl::StatusOr<size_t> got = ReadOnce(offset, whole);
    if (direct_ && absl::IsInvalidArgument(got.status())) {
      direct_ = false;
      SetDirect(fd_, false);
      DropCache(0, 0);
      got = ReadOnce(offset, whole);
    }
    RETURN_IF_ERROR(got.status());
    if (!direct_) DropCache(offset, whole);
    return std::string_view(buffer_.get(), std::min(*got, length));
  }

 private:
  // A direct read that ends inside a block is the file's last one: another one there would be refused.
  absl::StatusOr<size_t> ReadOnce(uint64_t offset, size_t length) {
    size_t done = 0;
    while (done < length) {
      const ssize_t got = pread(fd_, buffer_.get() + done, length - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EINVAL && done == 0) return absl::InvalidArgumentError("direct reads");
      if (got < 0) return ErrnoStatus(errno, "read");
      done += static_cast<size_t>(got);
      if (got == 0 || (direct_ && done % kAlignment != 0)) break;
    }
    return done;
  }
  void DropCache(uint64_t offset, uint64_t length) const {
    (void)posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(length), POSIX_FADV_DONTNEED);
  }

  const int fd_;
  const std::unique_ptr<char, FreeBuffer> buffer_;
  bool direct_ = false;
};

}  // namespace

absl::StatusOr<ReadContent> ReadFromDisk(int fd, const OnBytes& on_bytes, bool with_segments) {
  ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(fd, ""));
  ReadContent content{.size = stat.size, .digest = {}, .segments = std::nullopt};
  if (with_segments) content.segments.emplace();
  delta::ContentDigest digest;
  if (stat.size > 0) {
    SegmentReader reader(fd);
    for (uint64_t offset = 0; offset < stat.size;) {
      ASSIGN_OR_RETURN(const std::optional<os::DataRange> data, os::NextData(fd, offset));
      if (!data.has_value()) break;
      offset = std::max(offset, data->begin / delta::kSegmentBytes * delta::kSegmentBytes);
      if (offset >= stat.size) break;
      const auto length = static_cast<size_t>(std::min<uint64_t>(delta::kSegmentBytes, stat.size - offset));
      ASSIGN_OR_RETURN(const std::string_view bytes, reader.Read(offset, length));
      if (bytes.size() < length) return absl::AbortedError("the file became shorter while it was read");
      RETURN_IF_ERROR(on_bytes(length));
      const uint64_t number = offset / delta::kSegmentBytes;
      if (!delta::IsAllZeros(bytes)) {
        const model::Digest of_segment = delta::DigestOfSegment(number, bytes);
        digest.Add(of_segment);
        if (content.segments.has_value()) content.segments->push_back({number, of_segment});
        if (content.segments.has_value() && content.segments->size() > kMaxSegmentDigests) content.segments.reset();
      }
      offset += delta::kSegmentBytes;
    }
  }
  content.digest = digest.Finish(stat.size);
  return content;
}

}  // namespace understudy::dr
