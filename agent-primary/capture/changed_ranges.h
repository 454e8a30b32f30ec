// changed_ranges.h: which parts of a file can differ from an older copy that shares blocks with it.
//
// Compares where both have their bytes. While the older copy exists none of its blocks is used for anything else, so
// bytes at the same place are the same bytes; what lies elsewhere, or where the filesystem doesn't tell, may differ.
// Neither file's content is read, and memory is bounded.
#pragma once

#include <cstdint>
#include <optional>

#include "core/base/status.h"
#include "core/os/extents.h"
#include "core/os/file_io.h"

namespace understudy::primary {

// Of two files that nobody writes to, on one filesystem; both descriptors must outlive it. One thread.
class ChangedRanges {
 public:
  // Up to `end`, which is at least the larger one's size.
  ChangedRanges(int base, int now, uint64_t end) : base_{{base, end}}, now_{{now, end}}, end_(end) {}

  // In ascending order, apart from each other; nullopt: there are no more. UNIMPLEMENTED: the filesystem doesn't tell.
  [[nodiscard]] absl::StatusOr<std::optional<os::DataRange>> Next();

  // Of the newer file, so far.
  [[nodiscard]] uint64_t extents() const { return now_.reader.count(); }

 private:
  struct Side {
    os::ExtentReader reader;
    std::optional<os::Extent> extent{};  // that ends after the position
    bool at_end = false;

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
