#include "agent-primary/capture/base_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>
#include <vector>

#include "core/base/random_id.h"
#include "core/os/stat.h"
#include "core/os/tree_walk.h"
#include "core/os/work_folder.h"

namespace understudy::primary {
namespace {

std::string FolderName(const model::VolumeName& volume) {
  return fmt::format("bases-{}", volume);
}

bool IsForGood(int error_number) {
  return error_number == EOPNOTSUPP || error_number == ENOTTY || error_number == ENOSYS || error_number == EXDEV;
}

absl::Status RemoveAt(int folder, const std::string& name) {
  if (unlinkat(folder, name.c_str(), 0) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, fmt::format("remove the clone '{}'", name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<BaseStore>> BaseStore::Open(const std::string& export_path,
                                                           const model::VolumeName& volume, uint64_t least_bytes,
                                                           const Clock& clock) {
  ASSIGN_OR_RETURN(const os::WorkFolder work, os::OpenWorkFolder(export_path));
  ASSIGN_OR_RETURN(os::Root folder, os::PrivateFolder(work.folder.fd(), FolderName(volume)));
  std::unique_ptr<BaseStore> store(new BaseStore(std::move(folder), least_bytes, clock));
  RETURN_IF_ERROR(store->LoadClones());
  return store;
}

absl::Status BaseStore::Discard(const std::string& export_path, const model::VolumeName& volume) {
  ASSIGN_OR_RETURN(const std::optional<os::WorkFolder> work, os::FindWorkFolder(export_path));
  if (!work.has_value()) return absl::OkStatus();
  const std::string name = FolderName(volume);
  absl::StatusOr<os::Fd> folder = work->folder.OpenPath(name, O_RDONLY | O_DIRECTORY);
  if (absl::IsNotFound(folder.status())) return absl::OkStatus();
  RETURN_IF_ERROR(folder.status());
  BaseStore store(os::Root(*std::move(folder)), 0, Clock::System());
  RETURN_IF_ERROR(store.LoadClones());
  RETURN_IF_ERROR(store.KeepOnly({}));
  if (unlinkat(work->folder.fd(), name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, fmt::format("remove the folder of the clones of volume '{}'", volume));
  }
  return absl::OkStatus();
}

absl::Status BaseStore::LoadClones() {
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(folder_, ""));
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return absl::OkStatus();
    clones_.insert(entry->name);
  }
}

absl::Status BaseStore::CheckRoom() const {
  struct statvfs space {};
  if (fstatvfs(folder_.fd(), &space) != 0) return ErrnoStatus(errno, "ask for the free space");
  const uint64_t free = uint64_t{space.f_bavail} * space.f_frsize;
  const uint64_t whole = uint64_t{space.f_blocks} * space.f_frsize;
  const uint64_t least = std::min(kLeastFreeBytes, whole / kLeastFreeDivisor);
  if (free >= least) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{} MiB are free on its filesystem, and clones are made from {} MiB on", free >> 20, least >> 20));
}

absl::StatusOr<FrozenFile> BaseStore::Freeze(int fd, uint64_t inode) {
  if (cannot_.has_value()) return absl::UnimplementedError(*cannot_);
  if (absl::Status room = CheckRoom(); !room.ok()) {
    // What the clones hold is what is missing.
    RETURN_IF_ERROR(KeepOnly({}));
    return room;
  }
  const absl::Duration began = clock_.Monotonic();
  if (const auto resting = resting_.find(inode); resting != resting_.end()) {
    if (began < resting->second) {
      return absl::ResourceExhaustedError(
          fmt::format("its writers waited for longer than {} s when it was cloned: it has too many extents",
                      absl::ToInt64Seconds(kLongestClone)));
    }
    resting_.erase(resting);
  }
  FrozenFile frozen;
  frozen.clone = RandomId();
  const os::Fd target(
      openat(folder_.fd(), frozen.clone.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!target.valid()) return ErrnoStatus(errno, "make a clone");
  clones_.insert(frozen.clone);
  if (ioctl(target.get(), FICLONE, fd) != 0) {
    const int error_number = errno;
    RETURN_IF_ERROR(Remove(frozen.clone));
    const absl::Status why = ErrnoStatus(error_number, "its filesystem makes no reflinks");
    if (!IsForGood(error_number)) return absl::ResourceExhaustedError(why.message());
    cannot_ = std::string(MessageOf(why));
    return absl::UnimplementedError(*cannot_);
  }
  const absl::Duration ended = clock_.Monotonic();
  frozen.writers_waited = ended - began;
  if (frozen.writers_waited > kLongestClone) resting_[inode] = ended + kCloneRest;
  ASSIGN_OR_RETURN(frozen.fd, folder_.OpenPath(frozen.clone, O_RDONLY));
  ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(frozen.fd.get(), ""));
  frozen.size = stat.size;
  return frozen;
}

absl::StatusOr<os::Fd> BaseStore::OpenBase(const BaseRecord& base) const {
  if (!clones_.contains(base.clone)) return absl::NotFoundError("its base is gone");
  ASSIGN_OR_RETURN(os::Fd fd, folder_.OpenPath(base.clone, O_RDONLY));
  ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(fd.get(), ""));
  if (stat.kind != model::FileKind::kRegular || stat.size != base.size) return absl::NotFoundError("its base is cut");
  return fd;
}

absl::Status BaseStore::Remove(const std::string& clone) {
  RETURN_IF_ERROR(RemoveAt(folder_.fd(), clone));
  clones_.erase(clone);
  return absl::OkStatus();
}

absl::Status BaseStore::KeepOnly(const std::set<std::string>& clones) {
  std::vector<std::string> gone;
  std::set_difference(clones_.begin(), clones_.end(), clones.begin(), clones.end(), std::back_inserter(gone));
  for (const std::string& clone : gone) RETURN_IF_ERROR(Remove(clone));
  return absl::OkStatus();
}

}  // namespace understudy::primary
