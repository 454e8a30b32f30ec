// changed_ranges.h: which parts of a file can differ from an older copy that shares blocks with it.
//
// Compares where both have their bytes. While the older copy exists none of its blocks is used for anything else, so
// bytes at the same place are the same bytes; what lies elsewhere, or where the filesystem doesn't tell, may differ. A
// hole, room that was never written to and what lies past the end of one of them are zeros, which are the same wherever
// they are. Neither file's content is read, and memory is bounded.
//
// That holds where places are places on one device, of the filesystem as a whole (BaseStore::Open sees to it), and up
// to the end of the last whole block that both have: past the end of a file its last block may hold anything.
#pragma once

#include <cstdint>
#include <optional>

#include "core/base/status.h"
#include "core/os/extents.h"
#include "core/os/file_io.h"

namespace understudy::primary {

// Whether the filesystem says where a file's bytes are, but for a part of it that costs little to read and compare.
[[nodiscard]] absl::StatusOr<bool> TellsPlaces(int fd, uint64_t size);

// Of two files that nobody writes to, on one filesystem; both descriptors must outlive it. One thread.
class ChangedRanges {
 public:
  // Up to `end`.
  ChangedRanges(int base, int now, uint64_t end) : base_{{base, end}}, now_{{now, end}}, end_(end) {}

  // In ascending order, apart from each other; nullopt: there are no more. UNIMPLEMENTED: the filesystem doesn't tell.
  [[nodiscard]] absl::StatusOr<std::optional<os::DataRange>> Next();
  // Of `now`, so far.
  [[nodiscard]] uint64_t extents() const { return now_.extents; }

 private:
  struct Side {
    os::ExtentReader reader;
    std::optional<os::Extent> extent{};  // that ends after the position
    bool at_end = false;
    uint64_t extents = 0;

    absl::Status GoTo(uint64_t position);
    // Up to where what is at `position` goes on.
    [[nodiscard]] uint64_t Until(uint64_t position, uint64_t end) const;
  };
  [[nodiscard]] bool SameAt(uint64_t position) const;

  Side base_;
  Side now_;
  uint64_t end_;
  uint64_t position_ = 0;
};

}  // namespace understudy::primary
