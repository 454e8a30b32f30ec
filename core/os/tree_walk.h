// tree_walk.h: meets every entry of a folder tree in key order (core/model/path.h), holding one folder's names for each
// level.
//
// Works by folder descriptors, so depth isn't bound by PATH_MAX; symlinks aren't followed. The tree may change during
// the walk: what vanishes is passed over, what comes may be met or not.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/os/fd.h"
#include "core/os/root.h"
#include "core/os/stat.h"
#include "core/os/stat_ahead.h"

namespace understudy::os {

// What the folder `folder_fd` holds, ascending.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> NamesIn(int folder_fd);

// What a walk meets, and how.
enum class Walk {
  kAll,
  kFolders,   // folders only; where the filesystem tells kinds with the names, nothing else is looked at
  kAllAhead,  // entries of large folders are looked at by another thread, up to some hundreds before they are met
};

struct WalkEntry {
  std::string path;  // relative to the root of the walk's Root
  EntryStat stat;
  int folder_fd = -1;  // the folder that holds it; valid until the next call
  std::string name;
};

// Holds one descriptor for each level between `start` and the current entry. One thread at a time.
class TreeWalk {
 public:
  // Of everything below the folder `start` (not that folder itself). Entries of the root whose name is `excluded_name`
  // are left out. `root` must outlive the walk.
  [[nodiscard]] static absl::StatusOr<TreeWalk> Begin(const Root& root, const std::string& start,
                                                      std::string excluded_name = "", Walk what = Walk::kAll);

  // The next entry; nullopt at the end. A folder comes before what is in it. After an error the walk can go on: with
  // what comes after the folder that can't be listed, or the entry that can't be looked at (failed_path).
  [[nodiscard]] absl::StatusOr<std::optional<WalkEntry>> Next();

  // The folder that it began at.
  [[nodiscard]] const EntryStat& start() const { return start_; }
  // A folder that was entered isn't the one that Next() gave: another one was renamed to its path in between.
  [[nodiscard]] bool torn() const { return torn_; }

  // Of the newest error.
  [[nodiscard]] const std::string& failed_path() const { return failed_path_; }

  // Don't go into the folder that Next() gave last.
  void SkipChildren() { enter_ = false; }

 private:
  struct Level {
    Fd folder;
    std::string path;
    std::vector<std::string> names;  // sorted
    size_t next = 0;
    // With kAllAhead: of the names from `next` on, and of those after these.
    std::shared_ptr<StatAhead::Look> now{};
    std::shared_ptr<StatAhead::Look> later{};
    size_t looked_from = 0;  // where `now` begins
  };

  TreeWalk() = default;
  absl::Status Enter(const std::string& path, Fd folder);
  absl::Status EnterFolder(const WalkEntry& entry);
  absl::StatusOr<EntryStat> StatNext(Level& level);
  void LookAhead(Level& level);

  EntryStat start_;
  Walk what_ = Walk::kAll;
  std::vector<Level> levels_;
  std::unique_ptr<StatAhead> ahead_;  // made when it is of use; ends before the levels that it looks at
  std::string excluded_name_;
  std::string failed_path_;
  std::optional<WalkEntry> folder_to_enter_;
  bool enter_ = false;
  bool torn_ = false;
};

}  // namespace understudy::os
