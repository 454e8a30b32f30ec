// folder_finder.h: where the folder of a file handle stands, among the volumes of one filesystem.
//
// A folder belongs to the volume whose root it is below by the tree itself, whichever mount or bind mount that was
// opened through. What was found is kept until a folder is renamed anywhere on the filesystem. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/model/volume.h"
#include "core/os/fd.h"
#include "core/os/file_handle.h"
#include "core/os/root.h"

namespace understudy::primary {

// What is known of a folder.
struct FoundFolder {
  // In `volume`: "" for its root. nullopt: it is in none.
  std::optional<model::VolumeName> volume;
  std::string path;
  // It is in the volume, but so deep that its path can't be told.
  bool too_deep = false;
  // It holds the roots of these volumes, by their names in it.
  std::map<std::string, model::VolumeName, std::less<>> roots;
};

struct FoundObject {
  mode_t mode = 0;
  uint64_t inode = 0;
};

class FolderFinder {
 public:
  // `root` has to be a volume's root folder on the filesystem; `path` is where the configuration says it is.
  [[nodiscard]] absl::Status Add(const model::VolumeName& volume, const os::Root& root, const std::string& path);
  void Remove(const model::VolumeName& volume);
  [[nodiscard]] bool empty() const { return volumes_.empty(); }
  [[nodiscard]] std::vector<model::VolumeName> Volumes() const;

  // nullptr: the handle is stale, so the folder is gone, and whatever held it told of that. The answer holds until the
  // next call.
  [[nodiscard]] absl::StatusOr<const FoundFolder*> Find(const os::FileHandle& folder);
  // nullopt: it is gone.
  [[nodiscard]] absl::StatusOr<std::optional<FoundObject>> FindObject(const os::FileHandle& object) const;
  // A folder was renamed: what was found may stand elsewhere.
  void Forget() { found_.clear(); }

 private:
  struct Volume {
    os::Fd root;
    uint64_t mount = 0;  // os::RenameDomain
    uint64_t inode = 0;
    uint64_t parent_inode = 0;
    std::string leaf;
  };
  // nullopt: stale.
  absl::StatusOr<std::optional<FoundFolder>> LookFor(const os::FileHandle& folder) const;
  absl::StatusOr<std::optional<FoundFolder>> Climb(os::Fd climber) const;

  std::map<model::VolumeName, Volume> volumes_;
  std::map<uint64_t, model::VolumeName> by_root_;  // inode
  absl::flat_hash_map<os::FileHandle, FoundFolder> found_;
};

}  // namespace understudy::primary
