// extents.h: where on its disk a file's bytes are (FIEMAP, linux/fiemap.h).
#pragma once

#include <linux/fiemap.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/status.h"

namespace understudy::os {

struct Extent {
  enum class Kind {
    kData,    // its bytes are at `place`, and nowhere else
    kZeros,   // room that was never written to
    kOpaque,  // where its bytes are isn't told, or not as they are (inline, compressed, not allocated yet)
  };
  uint64_t offset = 0;  // in the file
  uint64_t length = 0;
  uint64_t place = 0;  // on the filesystem's device; of kData
  Kind kind = Kind::kData;
};

// What FIEMAP's flags of an extent (fe_flags) say of it.
[[nodiscard]] Extent::Kind KindOf(uint32_t flags);

// How many extents an open file has, without looking at each. UNIMPLEMENTED: the filesystem doesn't tell.
[[nodiscard]] absl::StatusOr<uint64_t> CountExtents(int fd);

// The extents of an open file, ascending and apart; what lies between them is a hole. In bounded memory. Of a file that
// nobody writes to: else what it tells may be over before it is told. `fd` must outlive it. One thread.
class ExtentReader {
 public:
  // Up to `end`; the last one may reach beyond.
  ExtentReader(int fd, uint64_t end) : fd_(fd), end_(end) {}

  // nullopt: there are no more. UNIMPLEMENTED: the filesystem doesn't tell.
  [[nodiscard]] absl::StatusOr<std::optional<Extent>> Next();

 private:
  absl::Status Fill();

  int fd_;
  uint64_t end_;
  uint64_t asked_to_ = 0;
  bool at_end_ = false;
  std::vector<Extent> batch_;
  size_t next_ = 0;
};

}  // namespace understudy::os
