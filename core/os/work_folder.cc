#include "core/os/work_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "core/base/log.h"
#include "core/os/stat.h"

namespace understudy::os {

absl::StatusOr<Root> PrivateFolder(int parent, const std::string& name) {
  if (mkdirat(parent, name.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, fmt::format("make the work folder '{}'", name));
  }
  Fd folder(openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder.valid()) return ErrnoStatus(errno, fmt::format("open the work folder '{}'", name));
  ASSIGN_OR_RETURN(const EntryStat stat, StatAt(folder.get(), ""));
  if (stat.uid != geteuid()) {
    return absl::PermissionDeniedError(fmt::format(
        "the work folder '{}' belongs to user {}: give it to the agent's user or move it away", name, stat.uid));
  }
  if (stat.mode != 0700 && fchmod(folder.get(), 0700) != 0) {
    return ErrnoStatus(errno, fmt::format("set the mode of the work folder '{}'", name));
  }
  return Root(std::move(folder));
}

absl::StatusOr<RenameDomain> RenameDomainOf(int fd) {
  struct statx raw {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &raw) != 0) return ErrnoStatus(errno, "stat");
  return RenameDomain{(raw.stx_mask & STATX_MNT_ID) != 0 ? raw.stx_mnt_id : 0,
                      makedev(raw.stx_dev_major, raw.stx_dev_minor)};
}

namespace {

// Where the work folder of an export is, whether it is there or not.
struct WorkPlace {
  Root holder;
  RenameDomain domain;  // the export's
  bool inside_export = false;
};

absl::StatusOr<WorkPlace> PlaceOfWorkFolder(const std::string& export_path) {
  ASSIGN_OR_RETURN(Root exported, Root::Open(export_path));
  ASSIGN_OR_RETURN(const RenameDomain export_domain, RenameDomainOf(exported.fd()));
  ASSIGN_OR_RETURN(Root parent, Root::Open(std::filesystem::path(export_path).parent_path().string()));
  ASSIGN_OR_RETURN(const RenameDomain parent_domain, RenameDomainOf(parent.fd()));
  const bool beside = parent_domain == export_domain;
  return WorkPlace{beside ? std::move(parent) : std::move(exported), export_domain, !beside};
}

}  // namespace

absl::StatusOr<WorkFolder> OpenWorkFolder(const std::string& export_path) {
  ASSIGN_OR_RETURN(const WorkPlace place, PlaceOfWorkFolder(export_path));
  auto work = PrivateFolder(place.holder.fd(), kWorkFolderName);
  if (!work.ok()) return Annotate(work.status(), fmt::format("export '{}'", Printable(export_path)));
  return WorkFolder{*std::move(work), place.domain, place.inside_export};
}

absl::StatusOr<std::optional<WorkFolder>> FindWorkFolder(const std::string& export_path) {
  const absl::StatusOr<WorkPlace> place = PlaceOfWorkFolder(export_path);
  if (absl::IsNotFound(place.status())) return std::nullopt;
  RETURN_IF_ERROR(place.status());
  absl::StatusOr<Fd> folder = place->holder.OpenPath(kWorkFolderName, O_RDONLY | O_DIRECTORY);
  if (absl::IsNotFound(folder.status())) return std::nullopt;
  RETURN_IF_ERROR(folder.status());
  return WorkFolder{Root(*std::move(folder)), place->domain, place->inside_export};
}

}  // namespace understudy::os
