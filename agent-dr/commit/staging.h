// staging.h: large content on its way in: files in the staging folder, filled by ranges, by slot.
//
// A slot is begun, filled in ascending order, ended, and then named by a Put or Patch of the next commit. Of content
// with a base only what differs is staged, in a sparse file at its offsets. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "agent-dr/commit/content_ranges.h"
#include "agent-dr/commit/identity.h"
#include "agent-dr/commit/leftovers.h"
#include "agent-dr/commit/staged_files.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/fd.h"
#include "core/os/root.h"

namespace understudy::dr {

// Of one volume; each holds up to two descriptors.
inline constexpr size_t kMaxUnfinishedSlots = 64;

struct StagedContent {
  uint64_t size = 0;
  bool has_base = false;
  std::string base_path;
  Identity base;                     // of the file at base_path
  std::vector<ContentRange> ranges;  // what differs from the base; unused without one
};

class Staging {
 public:
  // All outlive it.
  Staging(const os::Root& replica, const WorkArea& work, Leftovers& leftovers)
      : replica_(replica), work_(work), leftovers_(leftovers), small_(work) {}

  // INVALID_ARGUMENT: out of bounds (core/wire/validate.h), or the slot is in use. DATA_LOSS: the base isn't there.
  // RESOURCE_EXHAUSTED: no space (free_space.h), or too many unfinished slots or ranges.
  [[nodiscard]] absl::Status Begin(model::Slot slot, const std::string& path, uint64_t size,
                                   const std::string& base_path);
  // Goes on with the leftover for `path`, as ReplicaSink::StageResume. NOT_FOUND: there is none, or it can't be read;
  // nothing was begun then. Otherwise as Begin.
  [[nodiscard]] absl::StatusOr<std::vector<model::SegmentDigest>> Resume(model::Slot slot, const std::string& path,
                                                                         uint64_t size, const std::string& base_path);
  [[nodiscard]] absl::Status Data(model::Slot slot, uint64_t offset, std::string_view data);
  [[nodiscard]] absl::Status Hole(model::Slot slot, uint64_t offset, uint64_t length);
  // DATA_LOSS, about the base's path: the base isn't what the delta was made against.
  [[nodiscard]] absl::Status Delta(model::Slot slot, const model::SegmentDelta& delta);
  [[nodiscard]] absl::Status End(model::Slot slot);

  // As StagedFiles::Add. INVALID_ARGUMENT also: out of bounds, or a slot is in use.
  [[nodiscard]] absl::Status Files(const model::StagedBatch& batch);
  [[nodiscard]] const StagedFiles& small() const { return small_; }

  // What was begun and ended under `slot`; nullptr otherwise.
  [[nodiscard]] const StagedContent* Find(model::Slot slot) const;

  // Forgets all slots; the files are WorkArea::DiscardStaging's or the commit's.
  void Clear();

 private:
  struct Unfinished {
    StagedContent content;
    std::string path;
    os::Fd file;
    os::Fd base;  // invalid when there is none
    uint64_t base_size = 0;
    uint64_t filled_to = 0;     // the next range begins here or later
    uint64_t bytes_staged = 0;  // in this session
    bool resumed = false;       // what isn't filled may be anything but zeros
    // With a base: what an earlier session staged, ascending, each within one segment; and how much of it was taken
    // over or dropped.
    std::vector<ContentRange> held = {};
    size_t next_held = 0;
  };

  // Of the newest delta: kept from one to the next, since getting that much memory anew costs as much as the copying.
  struct Buffers {
    std::string base;
    std::string patched;
  };

  // INVALID_ARGUMENT: it is in use.
  [[nodiscard]] absl::Status CheckUnused(model::Slot slot) const;
  // That it can be begun.
  [[nodiscard]] absl::Status CheckFree(model::Slot slot) const;
  [[nodiscard]] absl::StatusOr<Unfinished*> Range(model::Slot slot, uint64_t offset, uint64_t length);
  [[nodiscard]] absl::Status OpenBase(const std::string& path, Unfinished& slot) const;
  [[nodiscard]] absl::StatusOr<std::vector<model::SegmentDigest>> FindHeld(Unfinished& slot) const;
  // What is held before `offset` is what the content has there.
  [[nodiscard]] static absl::Status TakeHeldBefore(Unfinished& slot, uint64_t offset);
  // The range is staged now, so what is held in its segments is of no use; what is held before them stays.
  [[nodiscard]] static absl::Status ReplaceHeld(Unfinished& slot, uint64_t offset, uint64_t length);
  [[nodiscard]] absl::Status Write(model::Slot number, Unfinished& slot, uint64_t offset, std::string_view data);
  [[nodiscard]] static absl::Status Note(Unfinished& slot, ContentRange range);

  const os::Root& replica_;
  const WorkArea& work_;
  Leftovers& leftovers_;
  std::map<model::Slot, Unfinished> unfinished_;
  std::map<model::Slot, StagedContent> finished_;
  Buffers buffers_;
  StagedFiles small_;
};

}  // namespace understudy::dr
