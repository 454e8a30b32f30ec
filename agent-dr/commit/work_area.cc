#include "agent-dr/commit/work_area.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "core/base/log.h"
#include "core/os/stat.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {
namespace {

// The folder `name` of `parent`, made with mode 0700 when missing; it has to be ours.
absl::StatusOr<os::Root> PrivateFolder(int parent, const std::string& name) {
  if (mkdirat(parent, name.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, fmt::format("make the work folder '{}'", name));
  }
  os::Fd folder(openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder.valid()) return ErrnoStatus(errno, fmt::format("open the work folder '{}'", name));
  ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(folder.get(), ""));
  if (stat.uid != geteuid()) {
    return absl::PermissionDeniedError(fmt::format(
        "the work folder '{}' belongs to user {}: give it to the agent's user or move it away", name, stat.uid));
  }
  if (stat.mode != 0700 && fchmod(folder.get(), 0700) != 0) {
    return ErrnoStatus(errno, fmt::format("set the mode of the work folder '{}'", name));
  }
  return os::Root(std::move(folder));
}

absl::Status RemoveEntry(const os::Root& folder, const std::string& path, int flags) {
  ASSIGN_OR_RETURN(const os::ParentAndName place, folder.OpenParent(path));
  if (unlinkat(place.folder.get(), place.name.c_str(), flags) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("take '{}' out of the work folder", Printable(path)));
}

// Everything below `folder`: files as they are met, then folders from the innermost out. Entries that `keep` names
// stay.
absl::Status RemoveAllIn(const os::Root& folder, const std::function<bool(const std::string& path)>& keep = nullptr) {
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(folder, ""));
  std::vector<std::string> folders;
  while (true) {
    ASSIGN_OR_RETURN(std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) break;
    if (keep != nullptr && keep(entry->path)) continue;
    if (entry->stat.kind == model::FileKind::kDirectory) {
      folders.push_back(std::move(entry->path));
    } else {
      RETURN_IF_ERROR(RemoveEntry(folder, entry->path, 0));
    }
  }
  for (auto path = folders.rbegin(); path != folders.rend(); ++path) {
    RETURN_IF_ERROR(RemoveEntry(folder, *path, AT_REMOVEDIR));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RenameDomain> RenameDomainOf(int fd) {
  struct statx raw {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &raw) != 0) return ErrnoStatus(errno, "stat");
  return RenameDomain{(raw.stx_mask & STATX_MNT_ID) != 0 ? raw.stx_mnt_id : 0,
                      makedev(raw.stx_dev_major, raw.stx_dev_minor)};
}

absl::StatusOr<WorkArea> WorkArea::Open(const std::string& export_path, const std::string& replica_id) {
  ASSIGN_OR_RETURN(const os::Root exported, os::Root::Open(export_path));
  ASSIGN_OR_RETURN(const RenameDomain export_domain, RenameDomainOf(exported.fd()));
  const std::string parent_path = std::filesystem::path(export_path).parent_path().string();
  ASSIGN_OR_RETURN(const os::Root parent, os::Root::Open(parent_path));
  ASSIGN_OR_RETURN(const RenameDomain parent_domain, RenameDomainOf(parent.fd()));
  const bool beside = parent_domain == export_domain;

  const auto annotate = [&](const absl::Status& status) {
    return Annotate(status, fmt::format("export '{}'", Printable(export_path)));
  };
  auto work = PrivateFolder(beside ? parent.fd() : exported.fd(), kWorkFolderName);
  if (!work.ok()) return annotate(work.status());
  auto own = PrivateFolder(work->fd(), fmt::format("replica-{}", replica_id));
  if (!own.ok()) return annotate(own.status());
  auto staging = PrivateFolder(own->fd(), "staging");
  if (!staging.ok()) return annotate(staging.status());
  auto leftover = PrivateFolder(own->fd(), "leftover");
  if (!leftover.ok()) return annotate(leftover.status());
  auto detached = PrivateFolder(own->fd(), "detached");
  if (!detached.ok()) return annotate(detached.status());
  auto removed = PrivateFolder(own->fd(), "removed");
  if (!removed.ok()) return annotate(removed.status());
  ASSIGN_OR_RETURN(const os::EntryStat own_stat, own->Stat(""));
  return WorkArea(*std::move(staging), *std::move(leftover), *std::move(detached), *std::move(removed),
                  IdentityOf(own_stat), export_domain, !beside);
}

std::string WorkArea::StagedContent(model::Slot slot) {
  return fmt::format("s{}", slot);
}
std::string WorkArea::StagedAbout(model::Slot slot) {
  return fmt::format("a{}", slot);
}
std::string WorkArea::StagedEntry(model::Sequence sequence, size_t operation_index) {
  return fmt::format("o{}-{}", sequence, operation_index);
}
std::string WorkArea::VacatingMark(model::Sequence sequence) {
  return fmt::format("v{}", sequence);
}
std::string WorkArea::DetachedEntry(model::Slot slot) {
  return fmt::format("{}", slot);
}

std::string WorkArea::RemovedEntry(model::Sequence sequence, size_t operation_index) {
  return fmt::format("{}-{}", sequence, operation_index);
}

absl::Status WorkArea::DiscardStaging(model::Sequence kept) const {
  if (kept == 0) return RemoveAllIn(staging_);
  const std::string prefix = fmt::format("o{}-", kept);
  return RemoveAllIn(staging_, [&](const std::string& path) { return path.starts_with(prefix); });
}
absl::Status WorkArea::DiscardStaged(const std::string& name) const {
  return RemoveEntry(staging_, name, 0);
}
absl::Status WorkArea::DiscardLeftoversBut(const std::set<std::string>& kept) const {
  return RemoveAllIn(leftover_, [&](const std::string& path) { return kept.contains(path); });
}
absl::Status WorkArea::DiscardRemoved() const {
  return RemoveAllIn(removed_);
}

}  // namespace understudy::dr
