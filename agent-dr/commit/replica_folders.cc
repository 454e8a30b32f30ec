#include "agent-dr/commit/replica_folders.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "core/base/log.h"
#include "core/os/file_io.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {
namespace {

// The part of the replica's root below the export.
std::string_view BelowExport(std::string_view root, std::string_view export_path) {
  root.remove_prefix(std::min(root.size(), export_path.size()));
  while (root.starts_with('/')) root.remove_prefix(1);
  return root;
}

absl::Status MakeFolders(const os::Root& exported, std::string_view path) {
  for (size_t end = 0; end < path.size();) {
    end = std::min(path.find('/', end + 1), path.size());
    ASSIGN_OR_RETURN(const os::ParentAndName place, exported.OpenParent(path.substr(0, end)));
    if (mkdirat(place.folder.get(), place.name.c_str(), 0755) != 0 && errno != EEXIST) {
      return ErrnoStatus(errno, fmt::format("make folder '{}'", Printable(path.substr(0, end))));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Identity> MakeReplicaFolder(const std::string& root, const std::string& export_path) {
  ASSIGN_OR_RETURN(const os::Root exported, os::Root::Open(export_path));
  RETURN_IF_ERROR(MakeFolders(exported, BelowExport(root, export_path)));
  return FindReplicaFolder(root, export_path);
}

absl::Status CheckEmptyFolder(const std::string& root, const std::string& export_path) {
  ASSIGN_OR_RETURN(const os::Root exported, os::Root::Open(export_path));
  auto opened = exported.OpenPath(BelowExport(root, export_path), O_RDONLY | O_DIRECTORY);
  if (absl::IsNotFound(opened.status())) return absl::OkStatus();
  RETURN_IF_ERROR(opened.status());
  const os::Root folder(*std::move(opened));
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(folder, "", root == export_path ? os::kWorkFolderName : ""));
  ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
  if (!entry.has_value()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("'{}' isn't empty: the first copy would replace what is in it. Move that away, or give the volume "
                  "another folder here (`exports[].dr_path` of understudy-primary at the other host)",
                  Printable(root)));
}

absl::StatusOr<Identity> FindReplicaFolder(const std::string& root, const std::string& export_path) {
  ASSIGN_OR_RETURN(const os::Root exported, os::Root::Open(export_path));
  const auto opened = exported.OpenPath(BelowExport(root, export_path), O_RDONLY | O_DIRECTORY);
  if (absl::IsNotFound(opened.status())) {
    return absl::NotFoundError(
        fmt::format("there is no folder '{}' here: mount its filesystem, or make it, if this host was set up anew",
                    Printable(root)));
  }
  RETURN_IF_ERROR(opened.status());
  const os::Fd& folder = *opened;
  ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(folder.get(), ""));
  RETURN_IF_ERROR(os::SyncFilesystem(folder.get()));
  return IdentityOf(stat);
}

absl::StatusOr<std::unique_ptr<ReplicaFolders>> ReplicaFolders::Open(const ReplicaPlace& place,
                                                                     const model::ReplicaState& state,
                                                                     const Identity& made) {
  const auto annotate = [&](const absl::Status& status) {
    return Annotate(status, fmt::format("replica folder '{}'", Printable(state.root)));
  };
  const auto exported = os::Root::Open(place.export_path);
  if (!exported.ok()) return annotate(exported.status());
  auto folder = exported->OpenPath(BelowExport(state.root, place.export_path), O_RDONLY | O_DIRECTORY);
  if (!folder.ok()) return annotate(folder.status());
  const auto stat = os::StatAt(folder->get(), "");
  if (!stat.ok()) return annotate(stat.status());
  if (IdentityOf(*stat) != made) {
    return absl::FailedPreconditionError(fmt::format(
        "replica folder '{}' isn't the one that this replica was made with: mount its filesystem, or, if it was made "
        "anew, take '{}' away while understudy-dr is stopped",
        Printable(state.root), Printable(place.state_folder)));
  }
  ASSIGN_OR_RETURN(WorkArea work, WorkArea::Open(place.export_path, state.replica_id));
  ASSIGN_OR_RETURN(const os::RenameDomain domain, os::RenameDomainOf(folder->get()));
  if (work.domain() != domain) {
    return absl::FailedPreconditionError(fmt::format(
        "replica folder '{}' lies on another filesystem than its export '{}': list it as an export of its own",
        Printable(state.root), Printable(place.export_path)));
  }
  return std::make_unique<ReplicaFolders>(os::Root(*std::move(folder)), std::move(work));
}

}  // namespace understudy::dr
