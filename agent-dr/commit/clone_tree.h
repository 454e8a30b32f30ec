// clone_tree.h: folder trees once more, beside the first ones on the same filesystem: contents by reference where the
// filesystem can, else as copies.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "core/base/status.h"
#include "core/os/file_io.h"
#include "core/os/root.h"
#include "core/os/stat.h"

namespace understudy::dr {

// Names of one file in whatever is cloned are names of one file in the clones. One thread at a time.
class TreeCloner {
 public:
  // All clones lie below `target`, which outlives the cloner. Makes the folder `links` there, in which each clone of a
  // file with several names has one more: there may be more of these than fit into memory.
  // `go_on` is asked before each entry, and while content is copied.
  [[nodiscard]] static absl::StatusOr<TreeCloner> Begin(const os::Root& target, os::GoOn go_on);

  // Whether contents take no room.
  [[nodiscard]] bool shares() const { return shares_; }

  // Makes the folder `place` of the target, in a folder that exists, and gives it everything that `source` has with all
  // metadata, and that of `source` itself. Entries of `source` that are named `excluded_name` are left out.
  // RESOURCE_EXHAUSTED: the filesystem can't share blocks and has no room for copies. What `go_on` said.
  [[nodiscard]] absl::Status Clone(const os::Root& source, const std::string& place,
                                   const std::string& excluded_name = "");

  // Takes `links` away, after all is cloned.
  [[nodiscard]] static absl::Status DropLinks(const os::Root& target);

 private:
  TreeCloner(const os::Root& target, os::Root links, os::GoOn go_on, bool shares)
      : target_(&target), links_(std::move(links)), go_on_(std::move(go_on)), shares_(shares) {}
  absl::Status CloneEntry(int folder_fd, const std::string& name, const os::EntryStat& stat, const std::string& path);
  // Gives the clone of the file `key` this name, too; false: there is none yet.
  absl::StatusOr<bool> LinkToClone(const std::string& key, int parent, const char* leaf) const;
  absl::Status CloneFile(int folder_fd, const std::string& name, const os::EntryStat& stat, int parent,
                         const std::string& leaf) const;

  const os::Root* target_;
  os::Root links_;  // by inode and birth time of what was cloned
  os::GoOn go_on_;
  bool shares_;  // the filesystem can share blocks between files
};

}  // namespace understudy::dr
