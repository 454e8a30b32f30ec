#include "agent-dr/commit/work_area.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "agent-dr/commit/remove_tree.h"
#include "core/base/log.h"
#include "core/os/stat.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {
namespace {

constexpr char kRemoved[] = "removed";
constexpr size_t kMaxRemovedOfOneName = 1000;

}  // namespace

absl::StatusOr<uint64_t> BytesOnDisk(const os::Root& folder, const os::GoOn& go_on) {
  constexpr uint64_t kStatBlockBytes = 512;
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(folder, ""));
  uint64_t bytes = 0;
  while (true) {
    if (go_on != nullptr) RETURN_IF_ERROR(go_on());
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return bytes;
    struct stat raw {};
    if (fstatat(entry->folder_fd, entry->name.c_str(), &raw, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const uint64_t names = S_ISDIR(raw.st_mode) ? 1 : raw.st_nlink;
    bytes += static_cast<uint64_t>(raw.st_blocks) * kStatBlockBytes / std::max<uint64_t>(names, 1);
  }
}

absl::StatusOr<WorkArea> WorkArea::Open(const std::string& export_path, const std::string& replica_id) {
  ASSIGN_OR_RETURN(const os::WorkFolder work, os::OpenWorkFolder(export_path));
  const auto annotate = [&](const absl::Status& status) {
    return Annotate(status, fmt::format("export '{}'", Printable(export_path)));
  };
  auto own = os::PrivateFolder(work.folder.fd(), FolderName(replica_id));
  if (!own.ok()) return annotate(own.status());
  auto area = In(*std::move(own), work.domain, work.inside_export);
  if (!area.ok()) return annotate(area.status());
  return area;
}

absl::StatusOr<WorkArea> WorkArea::In(os::Root own, const os::RenameDomain& domain, bool inside_export) {
  ASSIGN_OR_RETURN(os::Root staging, os::PrivateFolder(own.fd(), "staging"));
  ASSIGN_OR_RETURN(os::Root leftover, os::PrivateFolder(own.fd(), "leftover"));
  ASSIGN_OR_RETURN(os::Root detached, os::PrivateFolder(own.fd(), "detached"));
  ASSIGN_OR_RETURN(os::Root removed, os::PrivateFolder(own.fd(), kRemoved));
  ASSIGN_OR_RETURN(os::Root undo, os::PrivateFolder(own.fd(), "undo"));
  ASSIGN_OR_RETURN(const os::EntryStat own_stat, own.Stat(""));
  return WorkArea(std::move(staging), std::move(leftover), std::move(detached), std::move(removed), std::move(undo),
                  IdentityOf(own_stat), domain, inside_export);
}

std::string WorkArea::FolderName(const std::string& replica_id) {
  return fmt::format("replica-{}", replica_id);
}

std::string WorkArea::StagedContent(model::Slot slot) {
  return fmt::format("s{}", slot);
}
std::string WorkArea::StagedAbout(model::Slot slot) {
  return fmt::format("a{}", slot);
}
std::string WorkArea::StagedFolder(uint64_t number) {
  return fmt::format("d{}", number);
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
  return RemoveAllIn(staging_, {}, [&](const std::string& path) { return path.starts_with(prefix); });
}
absl::Status WorkArea::DiscardStaged(const std::string& name) const {
  if (unlinkat(staging_.fd(), name.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("take '{}' out of the work folder", name));
}
absl::Status WorkArea::DiscardLeftoversBut(const std::set<std::string>& kept) const {
  return RemoveAllIn(leftover_, {}, [&](const std::string& path) { return kept.contains(path); });
}
absl::StatusOr<os::Root> WorkArea::MakeUndoFolder(model::Sequence sequence) const {
  const std::string name = fmt::format("{}", sequence);
  if (mkdirat(undo_.fd(), name.c_str(), 0700) != 0) {
    if (errno != EEXIST) return ErrnoStatus(errno, "make a folder for what is displaced");
    ASSIGN_OR_RETURN(os::Root folder, OpenUndoFolder(sequence));
    RETURN_IF_ERROR(RemoveAllIn(folder));
    return folder;
  }
  return OpenUndoFolder(sequence);
}
absl::StatusOr<os::Root> WorkArea::OpenUndoFolder(model::Sequence sequence) const {
  ASSIGN_OR_RETURN(os::Fd folder, undo_.OpenPath(fmt::format("{}", sequence), O_RDONLY | O_DIRECTORY));
  return os::Root(std::move(folder));
}
absl::StatusOr<os::Fd> WorkArea::OpenKept(const KeptPlace& place, int flags) const {
  return undo_.OpenPath(fmt::format("{}/{}", place.sequence, place.entry), flags);
}
absl::Status WorkArea::DropUndoFolder(model::Sequence sequence) const {
  const std::string name = fmt::format("{}", sequence);
  std::string removed_name = fmt::format("undo-{}", sequence);
  // Earlier ones of that name may still wait there.
  for (size_t i = 1; i <= kMaxRemovedOfOneName; ++i) {
    if (renameat(undo_.fd(), name.c_str(), removed_.fd(), removed_name.c_str()) == 0 || errno == ENOENT) {
      return absl::OkStatus();
    }
    if (errno != EEXIST && errno != ENOTEMPTY) break;
    removed_name = fmt::format("undo-{}.{}", sequence, i);
  }
  return ErrnoStatus(errno, "take away what was displaced");
}
absl::Status WorkArea::DropUndoFoldersBut(const std::set<model::Sequence>& kept) const {
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(undo_, ""));
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return absl::OkStatus();
    walk.SkipChildren();
    model::Sequence sequence = 0;
    if (!absl::SimpleAtoi(entry->name, &sequence) || fmt::format("{}", sequence) != entry->name) continue;
    if (!kept.contains(sequence)) RETURN_IF_ERROR(DropUndoFolder(sequence));
  }
}
absl::StatusOr<uint64_t> WorkArea::MeasureUndoFolder(model::Sequence sequence, const os::GoOn& go_on) const {
  const absl::StatusOr<os::Root> folder = OpenUndoFolder(sequence);
  if (absl::IsNotFound(folder.status())) return 0;
  RETURN_IF_ERROR(folder.status());
  return BytesOnDisk(*folder, go_on);
}
absl::Status WorkArea::DiscardRemoved(const os::GoOn& go_on) const {
  return RemoveAllIn(removed_, {}, nullptr, go_on);
}
absl::Status WorkArea::DiscardRemovedOf(const std::string& export_path, const std::string& replica_id,
                                        std::stop_token stop) {
  ASSIGN_OR_RETURN(const os::WorkFolder work, os::OpenWorkFolder(export_path));
  absl::StatusOr<os::Fd> removed =
      work.folder.OpenPath(fmt::format("{}/{}", FolderName(replica_id), kRemoved), O_RDONLY | O_DIRECTORY);
  if (absl::IsNotFound(removed.status())) return absl::OkStatus();
  RETURN_IF_ERROR(removed.status());
  return RemoveAllIn(os::Root(*std::move(removed)), std::move(stop));
}

}  // namespace understudy::dr
