#include "agent-primary/watch/folder_finder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "core/model/path.h"
#include "core/os/work_folder.h"

namespace understudy::primary {
namespace {

constexpr size_t kMaxFound = 65'536;
constexpr int kFolderFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;

absl::StatusOr<struct stat> StatOf(int fd) {
  struct stat raw {};
  if (fstat(fd, &raw) != 0) return ErrnoStatus(errno, "stat a folder by its handle");
  return raw;
}

// The last `count` names of `path`, which ends with as many at least.
std::string_view LastNames(std::string_view path, size_t count) {
  size_t begin = path.size();
  for (size_t i = 0; i < count; ++i) begin = path.rfind('/', begin - 1);
  return count == 0 ? std::string_view() : path.substr(begin + 1);
}

}  // namespace

absl::Status FolderFinder::Add(const model::VolumeName& volume, const os::Root& root, const std::string& path) {
  // By a descriptor of its own: open_by_handle_at(2) wants one that isn't O_PATH.
  ASSIGN_OR_RETURN(os::Fd fd, root.OpenPath("", O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(const struct stat self, StatOf(fd.get()));
  const os::Fd parent(openat(fd.get(), "..", kFolderFlags));
  if (!parent.valid()) return ErrnoStatus(errno, fmt::format("open the folder that holds '{}'", path));
  ASSIGN_OR_RETURN(const struct stat above, StatOf(parent.get()));
  ASSIGN_OR_RETURN(const os::RenameDomain domain, os::RenameDomainOf(fd.get()));
  Remove(volume);
  by_root_[self.st_ino] = volume;
  volumes_[volume] = Volume{.root = std::move(fd),
                            .mount = domain.mount,
                            .inode = self.st_ino,
                            .parent_inode = above.st_dev == self.st_dev ? above.st_ino : 0,
                            .leaf = std::string(model::LeafName(path))};
  Forget();
  return absl::OkStatus();
}

void FolderFinder::Remove(const model::VolumeName& volume) {
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) return;
  const uint64_t inode = found->second.inode;
  volumes_.erase(found);
  // Another volume may have this root by now: folders trade places.
  by_root_.erase(inode);
  for (const auto& [name, other] : volumes_) {
    if (other.inode == inode) by_root_[inode] = name;
  }
  Forget();
}

std::vector<model::VolumeName> FolderFinder::Volumes() const {
  std::vector<model::VolumeName> names;
  for (const auto& [name, volume] : volumes_) names.push_back(name);
  return names;
}

absl::StatusOr<const FoundFolder*> FolderFinder::Find(const os::FileHandle& folder) {
  if (const auto known = found_.find(folder); known != found_.end()) return &known->second;
  ASSIGN_OR_RETURN(std::optional<FoundFolder> found, LookFor(folder));
  if (!found.has_value()) return nullptr;
  if (found_.size() >= kMaxFound) found_.clear();
  return &found_.insert_or_assign(folder, *std::move(found)).first->second;
}

// A mount of a part of the filesystem doesn't lead up from what is outside of it. One that a volume is in does, from
// all that is in the volume.
absl::StatusOr<std::optional<FoundFolder>> FolderFinder::LookFor(const os::FileHandle& folder) const {
  std::optional<FoundFolder> found;
  std::set<uint64_t> tried;
  for (const auto& [name, volume] : volumes_) {
    if (!tried.insert(volume.mount).second) continue;
    ASSIGN_OR_RETURN(std::optional<os::Fd> opened, os::OpenHandle(volume.root.get(), folder));
    if (!opened.has_value()) return std::nullopt;
    ASSIGN_OR_RETURN(found, Climb(*std::move(opened)));
    if (!found.has_value() || found->volume.has_value()) return found;
  }
  return found;
}

// Its path alone wouldn't do: it depends on the mount, and a volume's root may have been renamed. So the tree is
// climbed until a root is met, and the path's last names are as many as the steps that took. When a folder is renamed
// in between, the rename's own event is still to come.
absl::StatusOr<std::optional<FoundFolder>> FolderFinder::Climb(os::Fd climber) const {
  const absl::StatusOr<std::string> path = os::ReadLinkAt(AT_FDCWD, fmt::format("/proc/self/fd/{}", climber.get()));
  ASSIGN_OR_RETURN(struct stat at, StatOf(climber.get()));
  if (!S_ISDIR(at.st_mode) || at.st_nlink == 0) return std::nullopt;
  FoundFolder found;
  for (const auto& [name, volume] : volumes_) {
    if (volume.parent_inode == at.st_ino) found.roots.emplace(volume.leaf, name);
  }
  for (size_t steps = 0;; ++steps) {
    if (const auto volume = by_root_.find(at.st_ino); volume != by_root_.end()) {
      found.too_deep = !path.ok() || static_cast<size_t>(std::count(path->begin(), path->end(), '/')) < steps;
      if (!found.too_deep) found.path = std::string(LastNames(*path, steps));
      // The agent's own folder in a volume's root is no part of the volume.
      if (found.path != os::kWorkFolderName && !model::IsWithin(found.path, os::kWorkFolderName)) {
        found.volume = volume->second;
      }
      return found;
    }
    os::Fd parent(openat(climber.get(), "..", kFolderFlags));
    if (!parent.valid() && errno == ENOENT) return found;  // outside of the mount
    if (!parent.valid()) return ErrnoStatus(errno, "open the folder above");
    ASSIGN_OR_RETURN(const struct stat above, StatOf(parent.get()));
    if (above.st_dev != at.st_dev || above.st_ino == at.st_ino) return found;  // the top of the mount, or of all
    climber = std::move(parent);
    at = above;
  }
}

absl::StatusOr<std::optional<FoundObject>> FolderFinder::FindObject(const os::FileHandle& object) const {
  if (volumes_.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(const std::optional<os::Fd> opened, os::OpenHandle(volumes_.begin()->second.root.get(), object));
  if (!opened.has_value()) return std::nullopt;
  ASSIGN_OR_RETURN(const struct stat raw, StatOf(opened->get()));
  if (raw.st_nlink == 0) return std::nullopt;
  return FoundObject{raw.st_mode, raw.st_ino};
}

}  // namespace understudy::primary
