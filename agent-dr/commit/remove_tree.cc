#include "agent-dr/commit/remove_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/log.h"
#include "core/model/path.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {
namespace {

absl::Status Unlink(int folder_fd, const std::string& name, int flags) {
  if (unlinkat(folder_fd, name.c_str(), flags) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("take '{}' out of the work folder", Printable(name)));
}

// What is mounted there belongs to somebody else.
absl::Status CheckNoMount(const os::WalkEntry& folder) {
  struct statx raw {};
  if (statx(folder.folder_fd, folder.name.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, 0, &raw) != 0) {
    return errno == ENOENT ? absl::OkStatus()
                           : ErrnoStatus(errno, fmt::format("stat folder '{}'", Printable(folder.path)));
  }
  if ((raw.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("something is mounted on folder '{}' of what is to be removed: unmount it", Printable(folder.path)));
}

absl::Status RemoveFolder(const os::Root& root, const std::string& path) {
  const absl::StatusOr<os::ParentAndName> place = root.OpenParent(path);
  if (absl::IsNotFound(place.status())) return absl::OkStatus();
  RETURN_IF_ERROR(place.status());
  return Unlink(place->folder.get(), place->name, AT_REMOVEDIR);
}

}  // namespace

absl::Status RemoveAllIn(const os::Root& folder, std::stop_token stop,
                         const std::function<bool(const std::string& name)>& keep, const os::GoOn& go_on) {
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(folder, ""));
  // The folders around the current entry; each is removed when the walk leaves it.
  std::vector<std::string> entered;
  while (!stop.stop_requested()) {
    if (go_on != nullptr) RETURN_IF_ERROR(go_on());
    ASSIGN_OR_RETURN(std::optional<os::WalkEntry> entry, walk.Next());
    while (!entered.empty() && !(entry.has_value() && model::IsWithin(entry->path, entered.back()))) {
      RETURN_IF_ERROR(RemoveFolder(folder, entered.back()));
      entered.pop_back();
    }
    if (!entry.has_value()) return absl::OkStatus();
    if (keep != nullptr && entered.empty() && keep(entry->name)) {
      walk.SkipChildren();
      continue;
    }
    if (entry->stat.kind == model::FileKind::kDirectory) {
      RETURN_IF_ERROR(CheckNoMount(*entry));
      entered.push_back(std::move(entry->path));
    } else {
      RETURN_IF_ERROR(Unlink(entry->folder_fd, entry->name, 0));
    }
  }
  return absl::CancelledError("stopped while a folder tree was taken apart");
}

}  // namespace understudy::dr
