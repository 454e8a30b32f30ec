// change_detector.h: compares paths of a volume with its index and collects what differs.
//
// Reads names and statx only, never content. One thread at a time; `root` and `index` must outlive it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "agent-primary/index/volume_index.h"
#include "core/os/root.h"
#include "core/os/tree_walk.h"
#include "core/os/work_folder.h"

namespace understudy::primary {

// What one path was (`row`: in the replica, as acknowledged) and is (`stat`: on disk). At least one of them is there. A
// folder that is gone stands for all that was in it.
struct Change {
  std::optional<IndexRow> row;
  std::optional<os::EntryStat> stat;
};

// By model::Key of the path, so a folder comes before what is in it.
using ChangeSet = std::map<std::string, Change>;

// So many differences are captured at one go; what is left over is found by the next look.
inline constexpr size_t kMaxChangesPerCapture = 100'000;

class ChangeDetector {
 public:
  // With `moves` false nothing counts as moved: every entry at a new path is new (for captures too large for one
  // commit).
  ChangeDetector(const os::Root& root, VolumeIndex& index, bool moves) : root_(root), index_(index), moves_(moves) {}

  // Whatever stands at `path`, and the folder that holds it, whose times tell of what came and went unseen; what is
  // below it too, when it is new, gone or another one now. When folders above it are new as well, the topmost of these
  // is looked at instead.
  [[nodiscard]] absl::Status LookAt(const std::string& path);
  // Everything below the folder `path`, the folder itself, and the one that holds it.
  [[nodiscard]] absl::Status LookBelow(const std::string& path);

  // After all other looks: whatever else has to do with an inode that was met. A change through one name of a file
  // shows at all of them, and a name in the index may stand for another file by now.
  [[nodiscard]] absl::Status LookAtOtherNames();

  // Where in the replica the entry with this stat stands, when its inode tells: it may have been moved from there.
  // nullopt for what is new, and for files with several names, whose inode doesn't tell.
  [[nodiscard]] absl::StatusOr<std::optional<IndexEntry>> FindByIdentity(const os::EntryStat& stat) const;

  [[nodiscard]] bool moves() const { return moves_; }
  [[nodiscard]] const ChangeSet& changes() const { return changes_; }
  // Whether the entry that stood at `path` is gone, itself or with a folder above it, although `folder`, the innermost
  // one above it that moved, only moved: what else stood there moved along. What a folder further out lacks at its new
  // place says nothing of that.
  [[nodiscard]] bool IsGoneFromMoved(std::string_view path, const std::string& folder) const;
  // kMaxChangesPerCapture was reached: there may be more.
  [[nodiscard]] bool truncated() const { return truncated_; }
  // A folder was met at two paths, or two folders at one path, because they or one above them were renamed between the
  // looks: these don't fit together, and no moves can be concluded from them.
  [[nodiscard]] bool torn() const { return torn_; }

 private:
  absl::Status LookAtOne(const std::string& path);
  absl::Status LookBelowOne(const std::string& path);
  absl::Status LookAtHolder(const std::string& path);
  absl::Status LookAtNames(const std::vector<IndexEntry>& names);
  absl::StatusOr<std::string> TopmostNew(const std::string& path);
  // The folder `path`, which `walk` begins at, against the rows below `source`, which differ when it was moved.
  absl::Status Compare(os::TreeWalk& walk, const std::string& path, const std::string& source);
  // Whether the folder with this stat is one that the index has, though not at `before`, the path that the moves above
  // it leave it.
  absl::StatusOr<bool> CameFromElsewhere(const std::string& before, const os::EntryStat& stat);
  void Add(const std::string& path, std::optional<IndexRow> row, std::optional<os::EntryStat> stat);
  void Meet(const std::string& path, const os::EntryStat& stat);

  const os::Root& root_;
  VolumeIndex& index_;
  const bool moves_;
  ChangeSet changes_;
  std::set<std::string> holders_;  // folders that were looked at for what they hold
  // Paths before the move, and the innermost moved folder that lacked them.
  std::map<std::string, std::string> gone_from_moved_;
  std::vector<std::string> moved_folders_;  // met, but not yet compared with where they came from
  absl::flat_hash_map<std::pair<uint64_t, uint64_t>, uint64_t> folders_met_;  // path's hash by filesystem and inode
  bool truncated_ = false;
  bool torn_ = false;
};

}  // namespace understudy::primary
