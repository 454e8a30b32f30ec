#include "agent-primary/capture/base_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/base/log.h"
#include "core/base/random_id.h"
#include "core/os/clone_file.h"
#include "core/os/extents.h"
#include "core/os/file_io.h"
#include "core/os/stat.h"
#include "core/os/tree_walk.h"
#include "core/os/work_folder.h"

namespace understudy::primary {
namespace {

constexpr std::string_view kFolderPrefix = "bases-";
// What a clone takes for an extent, until it was seen here, and at most: 50,000 extents have been seen to take 0.7 to
// 2.4 s. One that took longer waited for something else.
constexpr absl::Duration kFirstCloneCost = absl::Microseconds(20);
constexpr absl::Duration kMostCloneCost = absl::Microseconds(50);
// The same of an extent that the clone has already.
constexpr absl::Duration kFirstSkipCost = absl::Nanoseconds(500);
constexpr absl::Duration kMostSkipCost = absl::Microseconds(2);
// Of so many files it is remembered that they rest.
constexpr size_t kMaxResting = 10'000;
constexpr uint64_t kCloneBlock = 4096;
// However much it is owed.
constexpr absl::Duration kLongestRest = absl::Minutes(10);

std::string FolderName(const model::VolumeName& volume) {
  return fmt::format("{}{}", kFolderPrefix, volume);
}

bool IsForGood(int error_number) {
  return error_number == EOPNOTSUPP || error_number == ENOTTY || error_number == ENOSYS;
}

absl::StatusOr<bool> IsXfs(int folder) {
  struct statfs filesystem {};
  if (fstatfs(folder, &filesystem) != 0) return ErrnoStatus(errno, "statfs");
  return filesystem.f_type == XFS_SUPER_MAGIC;
}

// Only where it is known what the maps of extents mean: others give places that aren't any (the offset in the file), or
// on one of several devices.
absl::Status CheckFilesystem(int folder, int work) {
  struct statfs of_volume {};
  struct statfs of_work {};
  if (fstatfs(folder, &of_volume) != 0 || fstatfs(work, &of_work) != 0) return ErrnoStatus(errno, "statfs");
  if (of_volume.f_type != XFS_SUPER_MAGIC && of_volume.f_type != BTRFS_SUPER_MAGIC) {
    return absl::UnimplementedError("its filesystem is neither XFS nor btrfs");
  }
  ASSIGN_OR_RETURN(const os::EntryStat volume, os::StatAt(folder, ""));
  ASSIGN_OR_RETURN(const os::EntryStat beside, os::StatAt(work, ""));
  // Subvolumes of a btrfs have devices of their own, and share blocks all the same.
  const bool same = of_volume.f_type == of_work.f_type &&
                    (of_volume.f_type == BTRFS_SUPER_MAGIC || volume.filesystem == beside.filesystem);
  if (same) return absl::OkStatus();
  return absl::UnimplementedError("it is on another filesystem than the folder of its export");
}

absl::Status RoomOn(const struct statvfs& space) {
  const uint64_t free = uint64_t{space.f_bavail} * space.f_frsize;
  const uint64_t whole = uint64_t{space.f_blocks} * space.f_frsize;
  const uint64_t least = std::min(kLeastFreeBytes, whole / kLeastFreeDivisor);
  if (free >= least) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{} MiB are free on its filesystem, and clones are made from {} MiB on", free >> 20, least >> 20));
}

// btrfs shares no blocks between a file that is copied on write and one that isn't; only an empty one can be told.
void TakeOverCopyOnWrite(int source, int target) {
  int flags = 0;
  if (ioctl(source, FS_IOC_GETFLAGS, &flags) != 0 || (flags & FS_NOCOW_FL) == 0) return;
  int of_target = 0;
  if (ioctl(target, FS_IOC_GETFLAGS, &of_target) != 0) return;
  of_target |= FS_NOCOW_FL;
  // Should it not be so, the clone fails and says why.
  (void)ioctl(target, FS_IOC_SETFLAGS, &of_target);
}

template <typename Map, typename IsOver>
void Bound(Map& map, IsOver is_over) {
  if (map.size() < kMaxResting) return;
  std::erase_if(map, is_over);
  if (map.size() >= kMaxResting) map.erase(map.begin());
}

}  // namespace

FrozenFile::FrozenFile(FrozenFile&& other) noexcept
    : store_(other.store_),
      inode_(other.inode_),
      clone_(std::exchange(other.clone_, {})),
      over_spare_(other.over_spare_),
      fd_(std::move(other.fd_)),
      size_(other.size_),
      holds_(other.holds_),
      generation_(other.generation_) {}

FrozenFile::~FrozenFile() {
  if (!clone_.empty()) store_->Thaw(clone_, /*keep=*/false);
}

absl::Status FrozenFile::CheckHolds() const {
  if (store_->generation_ == generation_) return absl::OkStatus();
  return absl::AbortedError(
      "frozen copies of files were given up while they were read, as their filesystem fills up: the capture begins "
      "again");
}

absl::StatusOr<BaseRecord> FrozenFile::Keep(const model::Digest& content) {
  RETURN_IF_ERROR(os::SyncFile(fd_.get()));
  ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(fd_.get(), ""));
  BaseRecord base{clone_, size_, content, stat.inode, stat.ctime_nanoseconds};
  store_->Thaw(std::exchange(clone_, {}), /*keep=*/true);
  return base;
}

absl::StatusOr<std::unique_ptr<BaseStore>> BaseStore::Open(const std::string& export_path,
                                                           const model::VolumeName& volume, int folder,
                                                           uint64_t least_bytes, const Clock& clock) {
  {
    ASSIGN_OR_RETURN(const os::Root exported, os::Root::Open(export_path));
    RETURN_IF_ERROR(CheckFilesystem(folder, exported.fd()));
  }
  ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(folder, ""));
  ASSIGN_OR_RETURN(const os::WorkFolder work, os::OpenWorkFolder(export_path));
  ASSIGN_OR_RETURN(os::Root clones, os::PrivateFolder(work.folder.fd(), FolderName(volume)));
  ASSIGN_OR_RETURN(const bool is_xfs, IsXfs(folder));
  std::unique_ptr<BaseStore> store(new BaseStore(std::move(clones), stat.filesystem, is_xfs, least_bytes, clock));
  RETURN_IF_ERROR(store->LoadClones());
  return store;
}

absl::StatusOr<size_t> BaseStore::Discard(const std::string& export_path, const model::VolumeName& volume) {
  ASSIGN_OR_RETURN(const std::optional<os::WorkFolder> work, os::FindWorkFolder(export_path));
  if (!work.has_value()) return size_t{0};
  const std::string name = FolderName(volume);
  absl::StatusOr<os::Fd> folder = work->folder.OpenPath(name, O_RDONLY | O_DIRECTORY);
  if (absl::IsNotFound(folder.status())) return size_t{0};
  RETURN_IF_ERROR(folder.status());
  BaseStore store(os::Root(*std::move(folder)), 0, /*is_xfs=*/false, 0, Clock::System());
  RETURN_IF_ERROR(store.LoadClones());
  ASSIGN_OR_RETURN(const size_t given_up, store.GiveUpBases());
  if (unlinkat(work->folder.fd(), name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, fmt::format("remove the folder of the clones of volume '{}'", volume));
  }
  return given_up;
}

absl::StatusOr<std::vector<model::VolumeName>> BaseStore::ListVolumes(const std::string& export_path) {
  std::vector<model::VolumeName> volumes;
  ASSIGN_OR_RETURN(const std::optional<os::WorkFolder> work, os::FindWorkFolder(export_path));
  if (!work.has_value()) return volumes;
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(work->folder, ""));
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return volumes;
    walk.SkipChildren();
    if (!entry->name.starts_with(kFolderPrefix)) continue;
    model::VolumeName volume = entry->name.substr(kFolderPrefix.size());
    if (model::ValidateVolumeName(volume).ok()) volumes.push_back(std::move(volume));
  }
}

absl::Status BaseStore::CheckRoom(const std::string& path) {
  struct statvfs space {};
  if (statvfs(path.c_str(), &space) != 0) return ErrnoStatus(errno, "ask for the free space");
  return RoomOn(space);
}

bool BaseStore::IsOf(int folder) const {
  const absl::StatusOr<os::EntryStat> stat = os::StatAt(folder, "");
  return stat.ok() && stat->filesystem == filesystem_;
}

absl::Status BaseStore::LoadClones() {
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(folder_, ""));
  absl::MutexLock lock(&mutex_);
  clone_cost_ = kFirstCloneCost;
  skip_cost_ = kFirstSkipCost;
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return absl::OkStatus();
    clones_.emplace(entry->name, 0);
  }
}

absl::Status BaseStore::CheckRest(int fd, uint64_t inode) {
  absl::MutexLock lock(&mutex_);
  if (cannot_.has_value()) return absl::UnimplementedError(*cannot_);
  const absl::Duration now = clock_.Monotonic();
  if (now < room_rest_) return absl::ResourceExhaustedError("there was too little room on its filesystem lately");
  const auto found = unfrozen_.find(inode);
  if (found == unfrozen_.end() || now >= found->second.until) return absl::OkStatus();
  // Where that is told at once, a file that was defragmented needn't wait.
  if (is_xfs_ && os::CountExtents(fd).value_or(UINT64_MAX) < found->second.extents / 2) {
    unfrozen_.erase(found);
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(found->second.why);
}

absl::Status BaseStore::CheckExtents(uint64_t inode, uint64_t size, uint64_t extents) {
  absl::MutexLock lock(&mutex_);
  if (extents > kManyExtents && size / extents <= kLeastMeanExtentBytes) {
    LeaveAlone(inode, extents,
               fmt::format("its {} extents are so short on average that reading it costs less", extents));
    return absl::ResourceExhaustedError(unfrozen_.at(inode).why);
  }
  // After a rest what was foreseen may have been wrong: only a clone tells.
  const bool again = unfrozen_.contains(inode);
  const auto foresee = [&](absl::Duration cost, absl::Duration first) {
    return static_cast<double>(extents) * (again ? std::min(cost, first) : cost);
  };
  const absl::Duration anew = foresee(clone_cost_, kFirstCloneCost);
  const absl::Duration stop = is_xfs_ ? foresee(skip_cost_, kFirstSkipCost) : anew;
  const bool pieces_fit = spares_.contains(inode) || anew <= kLongestClonePiecewise;
  if (stop <= kLongestClone && pieces_fit) return absl::OkStatus();
  LeaveAlone(inode, extents,
             fmt::format("it has {} extents: its writers would wait for about {:.1f} s while it is cloned", extents,
                         absl::ToDoubleSeconds(std::max(stop, anew))));
  return absl::ResourceExhaustedError(unfrozen_.at(inode).why);
}

void BaseStore::LeaveAlone(uint64_t inode, uint64_t extents, std::string why) {
  const absl::Duration now = clock_.Monotonic();
  Bound(unfrozen_, [now](const auto& entry) { return entry.second.until <= now; });
  const auto [place, first] = unfrozen_.try_emplace(inode);
  const absl::Duration rest = first ? kCloneRest : std::min(2 * place->second.rest, kLongestCloneRest);
  place->second = {now + rest, rest, extents, std::move(why)};
}

absl::StatusOr<FrozenFile> BaseStore::Freeze(int fd, uint64_t inode) {
  RETURN_IF_ERROR(CheckRest(fd, inode));
  struct statvfs space {};
  if (fstatvfs(folder_.fd(), &space) != 0) return ErrnoStatus(errno, "ask for the free space");
  if (absl::Status room = RoomOn(space); !room.ok()) {
    GiveUpForRoom();
    return room;
  }
  // The clone would do it while nobody may write.
  if (const int error_number = WritePages(fd, 0, 0); error_number != 0) {
    return ErrnoStatus(error_number, "write the file's dirty pages");
  }
  // Where they aren't told, only the clone itself tells what it takes.
  const uint64_t extents = os::CountExtents(fd).value_or(0);
  ASSIGN_OR_RETURN(const os::EntryStat before, os::StatAt(fd, ""));
  RETURN_IF_ERROR(CheckExtents(inode, before.size, extents));
  FrozenFile frozen(*this, inode);
  RETURN_IF_ERROR(MakeClone(fd, before.size, extents, frozen));
  NoteClone(frozen, extents);
  ASSIGN_OR_RETURN(frozen.fd_, folder_.OpenPath(frozen.clone_, O_RDONLY));
  ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(frozen.fd_.get(), ""));
  frozen.size_ = stat.size;
  return frozen;
}

// A spare, or a new file.
absl::StatusOr<os::Fd> BaseStore::OpenTarget(FrozenFile& frozen) {
  absl::MutexLock lock(&mutex_);
  frozen.generation_ = generation_;
  if (const auto spare = spares_.extract(frozen.inode_)) {
    absl::StatusOr<os::Fd> target = folder_.OpenPath(spare.mapped(), O_RDWR);
    if (target.ok()) {
      frozen_.insert(spare.mapped());
      frozen.clone_ = spare.mapped();
      frozen.over_spare_ = true;
      return target;
    }
  }
  std::string name = RandomId();
  os::Fd target(openat(folder_.fd(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!target.valid()) {
    broken_ = true;
    return ErrnoStatus(errno, "make a clone");
  }
  clones_.emplace(name, frozen.inode_);
  frozen_.insert(name);
  frozen.clone_ = std::move(name);
  return target;
}

absl::Status BaseStore::MakeClone(int fd, uint64_t size, uint64_t extents, FrozenFile& frozen) {
  ASSIGN_OR_RETURN(const os::Fd target, OpenTarget(frozen));
  TakeOverCopyOnWrite(fd, target.get());
  if (is_xfs_ && extents > kSomeExtents) ClonePieces(fd, target.get(), size, clock_, frozen.holds_);
  // What a spare has past the file's end at the moment of the clone would stay. So it ends before that, and shows by
  // its end how long the file was at that very moment, even if it is cut and lengthened meanwhile.
  const uint64_t shorter = size > kCloneBlock ? (size / kCloneBlock - 1) * kCloneBlock : 0;
  ASSIGN_OR_RETURN(const os::EntryStat spare, os::StatAt(target.get(), ""));
  if (spare.size > shorter && ftruncate(target.get(), static_cast<off_t>(shorter)) != 0) {
    return ErrnoStatus(errno, "cut a clone");
  }
  const int error_number = CloneAtOnce(fd, target.get(), clock_, frozen.holds_);
  if (error_number == 0) {
    ASSIGN_OR_RETURN(const os::EntryStat after, os::StatAt(fd, ""));
    ASSIGN_OR_RETURN(const os::EntryStat clone, os::StatAt(target.get(), ""));
    // It was cut just then: the clone may have something of before past its end.
    if (clone.size > after.size || (clone.size <= shorter && size > 0))
      return absl::ResourceExhaustedError("it is being cut just now");
    return absl::OkStatus();
  }
  const absl::Status why = ErrnoStatus(error_number, "a reflink clone of it can't be made");
  if (!IsForGood(error_number)) return absl::ResourceExhaustedError(why.message());
  absl::MutexLock lock(&mutex_);
  cannot_ = std::string(MessageOf(why));
  return absl::UnimplementedError(*cannot_);
}

void BaseStore::NoteClone(const FrozenFile& frozen, uint64_t extents) {
  const uint64_t inode = frozen.inode_;
  absl::MutexLock lock(&mutex_);
  if (is_xfs_ && extents > kManyExtents) {
    of_many_extents_.insert(inode);
  } else {
    of_many_extents_.erase(inode);
  }
  NoteCosts(frozen, extents);
  const absl::Duration now = clock_.Monotonic();
  Bound(rests_, [now](const auto& entry) { return entry.second <= now; });
  // What it is owed of an earlier rest, which somebody couldn't wait for, comes on top.
  absl::Duration& rest = rests_.try_emplace(inode, now).first->second;
  rest = std::min(std::max(rest, now) + kFreezeShare * frozen.holds_.in_all, now + kLongestRest);
  if (frozen.holds_.longest > kLongestClone) {
    rests_.erase(inode);  // it isn't frozen the next time
    LeaveAlone(inode, extents,
               fmt::format("its writers waited for {:.1f} s when it was cloned",
                           absl::ToDoubleSeconds(frozen.holds_.longest)));
  } else {
    unfrozen_.erase(inode);
  }
}

void BaseStore::NoteCosts(const FrozenFile& frozen, uint64_t extents) {
  if (extents < kManyExtents) return;
  const auto each = static_cast<int64_t>(extents);
  const absl::Duration anew = is_xfs_ ? frozen.holds_.pieces : frozen.holds_.whole;
  const bool is_told = !is_xfs_ || frozen.holds_.all_pieces;
  if (!frozen.over_spare_ && is_told) clone_cost_ = std::min(anew / each, kMostCloneCost);
  if (is_xfs_) skip_cost_ = std::min(frozen.holds_.whole / each, kMostSkipCost);
}

absl::Duration BaseStore::RestsUntil(uint64_t inode) const {
  absl::MutexLock lock(&mutex_);
  const auto found = rests_.find(inode);
  return found == rests_.end() ? -absl::InfiniteDuration() : found->second;
}

absl::StatusOr<os::Fd> BaseStore::OpenBase(const BaseRecord& base) const {
  {
    absl::MutexLock lock(&mutex_);
    if (!clones_.contains(base.clone)) return absl::NotFoundError("its base is gone");
  }
  ASSIGN_OR_RETURN(os::Fd fd, folder_.OpenPath(base.clone, O_RDONLY));
  ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(fd.get(), ""));
  const bool same = stat.kind == model::FileKind::kRegular && stat.size == base.size &&
                    stat.inode == base.clone_inode && stat.ctime_nanoseconds == base.clone_ctime_nanoseconds;
  if (!same) return absl::NotFoundError("its base isn't what was made");
  return fd;
}

absl::Status BaseStore::Remove(const std::string& clone) {
  if (unlinkat(folder_.fd(), clone.c_str(), 0) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, fmt::format("remove the clone '{}'", clone));
  }
  const auto of = clones_.extract(clone);
  if (of.empty()) return absl::OkStatus();
  const auto spare = spares_.find(of.mapped());
  if (spare != spares_.end() && spare->second == clone) spares_.erase(spare);
  return absl::OkStatus();
}

void BaseStore::Thaw(const std::string& clone, bool keep) {
  absl::MutexLock lock(&mutex_);
  frozen_.erase(clone);
  if (keep) return;
  // Nothing names it, nor ever will: what it is over needn't be cloned again.
  const auto of = clones_.find(clone);
  const bool may_be_spare = of != clones_.end() && of_many_extents_.contains(of->second);
  if (may_be_spare && spares_.try_emplace(of->second, clone).first->second == clone) return;
  // What stays is collected later.
  if (const absl::Status removed = Remove(clone); !removed.ok()) spdlog::warn("{}", MessageOf(removed));
}

void BaseStore::RefreshSpare(const std::string& spare, const std::string& base) const {
  const absl::StatusOr<os::Fd> from = folder_.OpenPath(base, O_RDONLY);
  const absl::StatusOr<os::Fd> to = folder_.OpenPath(spare, O_RDWR);
  if (!from.ok() || !to.ok()) return;
  const absl::StatusOr<os::EntryStat> stat = os::StatAt(from->get(), "");
  if (!stat.ok()) return;
  // What fails here is done by the next clone, while writers wait.
  if (ftruncate(to->get(), static_cast<off_t>(stat->size)) == 0) (void)os::CloneFile(from->get(), to->get());
}

absl::Status BaseStore::KeepOnly(const std::set<std::string>& clones) {
  std::vector<std::pair<std::string, std::string>> new_spares;  // and their bases
  {
    absl::MutexLock lock(&mutex_);
    std::map<uint64_t, std::string> bases;  // of files in many pieces
    std::vector<std::string> gone;
    for (const auto& [clone, inode] : clones_) {
      const bool named = clones.contains(clone);
      if (named && of_many_extents_.contains(inode)) bases[inode] = clone;
      if (!named && !frozen_.contains(clone)) gone.push_back(clone);
    }
    for (const std::string& clone : gone) {
      const uint64_t inode = clones_.at(clone);
      const auto base = bases.find(inode);
      const bool may_be_spare = base != bases.end() && (named_.contains(clone) || spares_.contains(inode));
      if (may_be_spare && spares_.try_emplace(inode, clone).first->second == clone) {
        if (named_.contains(clone)) new_spares.emplace_back(clone, base->second);
        continue;
      }
      RETURN_IF_ERROR(Remove(clone));
    }
    std::erase_if(of_many_extents_, [&](uint64_t inode) { return !bases.contains(inode); });
    named_ = clones;
  }
  // Not under the mutex, as whoever needs its room doesn't wait for that.
  for (const auto& [spare, base] : new_spares) RefreshSpare(spare, base);
  return absl::OkStatus();
}

absl::StatusOr<size_t> BaseStore::GiveUpBases() {
  const auto count = [this] {
    absl::MutexLock lock(&mutex_);
    return clones_.size();
  };
  const size_t before = count();
  RETURN_IF_ERROR(KeepOnly({}));
  return before - std::min(before, count());
}

bool BaseStore::GiveUpForRoom() {
  struct statvfs space {};
  if (fstatvfs(folder_.fd(), &space) != 0 || RoomOn(space).ok()) return false;
  absl::MutexLock lock(&mutex_);
  room_rest_ = clock_.Monotonic() + kRoomRest;
  if (clones_.empty()) return false;
  ++generation_;
  spares_.clear();
  for (const auto& [clone, inode] : std::exchange(clones_, {})) {
    // Also while somebody has it open.
    const absl::StatusOr<os::Fd> file = folder_.OpenPath(clone, O_WRONLY);
    (void)Remove(clone);
    if (file.ok() && ftruncate(file->get(), 0) != 0) {
      spdlog::warn("{}", MessageOf(ErrnoStatus(errno, fmt::format("cut the clone '{}'", clone))));
    }
  }
  return true;
}

}  // namespace understudy::primary
