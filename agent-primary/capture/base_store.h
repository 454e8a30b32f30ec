// base_store.h: frozen copies of a volume's large files: reflink clones in the work folder of its export.
//
//   <work folder>/bases-<volume>/<clone>    mode 0600; <clone>: 32 hexadecimal digits
//
// A clone takes no time but what the filesystem needs for its extents, and no room until the file is written to: from
// then on it keeps what was overwritten. While it is made whoever writes to the file waits. Which clone holds what is
// the index's to say; a clone that it doesn't name is worthless. Thread-safe.
//
// On XFS the clone before the newest one of a file in many pieces is kept as a *spare*, which shares all with the
// newest one, and the next clone is made over it: that takes as long as what changed since (gentle_clone.h). What was
// kept is told from what was made over it later by its change time (BaseRecord).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent-primary/capture/gentle_clone.h"
#include "agent-primary/index/index_row.h"
#include "core/base/clock.h"
#include "core/model/volume.h"
#include "core/os/fd.h"
#include "core/os/root.h"

namespace understudy::primary {

// Of smaller files none is made: reading them costs little, and a clone has to be made durable.
inline constexpr uint64_t kLeastFrozenBytes = 16 * 1024 * 1024;
// A file whose writers waited for longer at a time, or would by its extents, isn't cloned for kCloneRest; for twice as
// long each time that it happens again, up to kLongestCloneRest.
inline constexpr absl::Duration kLongestClone = absl::Seconds(1);
// All pieces together of a clone that isn't made over a spare take no longer than this.
inline constexpr absl::Duration kLongestClonePiecewise = absl::Seconds(10);
// Files of fewer extents are cloned at once.
inline constexpr uint64_t kSomeExtents = 50;
// Files of more have spares.
inline constexpr uint64_t kManyExtents = 500;
// Where extents are no longer on average, reading the file costs less than looking for those that changed.
inline constexpr uint64_t kLeastMeanExtentBytes = 8 * 1024;
inline constexpr absl::Duration kCloneRest = absl::Hours(1);
inline constexpr absl::Duration kLongestCloneRest = absl::Hours(24);
// A file isn't cloned again for so many times what its writers waited: they wait at most 2 % of the time.
inline constexpr int kFreezeShare = 50;
// With less room on the filesystem than the smaller of both there are no clones, and none for kRoomRest after.
inline constexpr uint64_t kLeastFreeBytes = uint64_t{8} << 30;
inline constexpr uint64_t kLeastFreeDivisor = 20;  // this part of the whole filesystem
inline constexpr absl::Duration kRoomRest = absl::Minutes(10);

class BaseStore;

// A file as it was at one moment. Its clone goes with it unless it was kept. The store outlives it.
class FrozenFile {
 public:
  FrozenFile(FrozenFile&& other) noexcept;
  FrozenFile& operator=(FrozenFile&& other) = delete;
  ~FrozenFile();

  [[nodiscard]] int fd() const { return fd_.get(); }  // for reading
  [[nodiscard]] uint64_t size() const { return size_; }
  [[nodiscard]] const CloneHolds& holds() const { return holds_; }  // of its writers, while it was cloned
  // ABORTED: its room was needed, and what was read of it or of any base since it was made may be wrong.
  [[nodiscard]] absl::Status CheckHolds() const;
  // Makes the clone durable; it stays from now on, and `content` is what it holds. Without it, or when it fails, the
  // clone is no base.
  [[nodiscard]] absl::StatusOr<BaseRecord> Keep(const model::Digest& content);

 private:
  friend class BaseStore;
  FrozenFile(BaseStore& store, uint64_t inode) : store_(&store), inode_(inode) {}

  BaseStore* store_;
  uint64_t inode_;     // of the file
  std::string clone_;  // "": moved from, or kept
  bool over_spare_ = false;
  os::Fd fd_;
  uint64_t size_ = 0;
  CloneHolds holds_;
  uint64_t generation_ = 0;
};

class BaseStore {
 public:
  // For files of at least `least_bytes` of the volume whose folder is open as `folder`. Makes the volume's folder for
  // clones. `clock` must outlive it. UNIMPLEMENTED: not on that filesystem, or not from where the export is.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<BaseStore>> Open(const std::string& export_path,
                                                                       const model::VolumeName& volume, int folder,
                                                                       uint64_t least_bytes, const Clock& clock);
  // Removes all that a volume has there; returns how many clones that were. No store of it is open.
  [[nodiscard]] static absl::StatusOr<size_t> Discard(const std::string& export_path, const model::VolumeName& volume);
  // Volumes that have something there.
  [[nodiscard]] static absl::StatusOr<std::vector<model::VolumeName>> ListVolumes(const std::string& export_path);
  // RESOURCE_EXHAUSTED: too little room for clones on the filesystem of `path`.
  [[nodiscard]] static absl::Status CheckRoom(const std::string& path);

  [[nodiscard]] bool IsFor(uint64_t size) const { return size >= least_bytes_; }
  // Whether it was opened for this folder of a volume.
  [[nodiscard]] bool IsOf(int folder) const;
  // An error that can't come from a file: it has to be opened anew.
  [[nodiscard]] bool broken() const { return broken_; }

  // The file `fd` as it is now. UNIMPLEMENTED: this filesystem can't; it isn't asked again. RESOURCE_EXHAUSTED: not now
  // (too little room, or its writers would wait too long). The message says why, for people.
  [[nodiscard]] absl::StatusOr<FrozenFile> Freeze(int fd, uint64_t inode);
  // Before it the file isn't to be frozen again unless somebody waits for it.
  [[nodiscard]] absl::Duration RestsUntil(uint64_t inode) const;

  // The clone that `base` names. NOT_FOUND: it isn't there, or isn't what was made.
  [[nodiscard]] absl::StatusOr<os::Fd> OpenBase(const BaseRecord& base) const;
  // Whether the filesystem tells of all bytes where they are.
  [[nodiscard]] bool tells_all() const { return is_xfs_; }

  // Removes all others but those of frozen files, and spares of files that have one of these.
  [[nodiscard]] absl::Status KeepOnly(const std::set<std::string>& clones);
  // The same of all; returns how many that were.
  [[nodiscard]] absl::StatusOr<size_t> GiveUpBases();
  // Gives their room back at once, if there is too little: also that of files that are being read
  // (FrozenFile::CheckHolds). Whether it was so.
  bool GiveUpForRoom();

 private:
  friend class FrozenFile;
  struct Unfrozen {
    absl::Duration until;
    absl::Duration rest;   // how long it was
    uint64_t extents = 0;  // then; 0: not known
    std::string why;
  };

  BaseStore(os::Root folder, uint64_t filesystem, bool is_xfs, uint64_t least_bytes, const Clock& clock)
      : folder_(std::move(folder)),
        filesystem_(filesystem),
        is_xfs_(is_xfs),
        least_bytes_(least_bytes),
        clock_(clock) {}
  absl::Status LoadClones() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status CheckRest(int fd, uint64_t inode) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status CheckExtents(uint64_t inode, uint64_t size, uint64_t extents) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<os::Fd> OpenTarget(FrozenFile& frozen) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status MakeClone(int fd, uint64_t size, uint64_t extents, FrozenFile& frozen) ABSL_LOCKS_EXCLUDED(mutex_);
  void NoteClone(const FrozenFile& frozen, uint64_t extents) ABSL_LOCKS_EXCLUDED(mutex_);
  void NoteCosts(const FrozenFile& frozen, uint64_t extents) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeaveAlone(uint64_t inode, uint64_t extents, std::string why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Makes it share all with `base`.
  void RefreshSpare(const std::string& spare, const std::string& base) const;
  void Thaw(const std::string& clone, bool keep) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Remove(const std::string& clone) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const os::Root folder_;
  const uint64_t filesystem_;  // st_dev of the volume's folder
  const bool is_xfs_;
  const uint64_t least_bytes_;
  const Clock& clock_;
  std::atomic<bool> broken_ = false;
  // Raised before anything of what the clones hold is given up while it may be read.
  std::atomic<uint64_t> generation_ = 1;

  mutable absl::Mutex mutex_;
  // That are there, and of which file by its inode; 0: not known.
  std::map<std::string, uint64_t> clones_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> frozen_ ABSL_GUARDED_BY(mutex_);            // of them, those of frozen files
  std::set<uint64_t> of_many_extents_ ABSL_GUARDED_BY(mutex_);      // files, when they were cloned last
  std::map<uint64_t, std::string> spares_ ABSL_GUARDED_BY(mutex_);  // by inode; in `clones_`
  // By KeepOnly the last time. One that never was may be yet, by a commit that is under way: it is no spare.
  std::set<std::string> named_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::string> cannot_ ABSL_GUARDED_BY(mutex_);         // why this filesystem has no clones
  std::map<uint64_t, Unfrozen> unfrozen_ ABSL_GUARDED_BY(mutex_);     // by inode
  std::map<uint64_t, absl::Duration> rests_ ABSL_GUARDED_BY(mutex_);  // until when, by inode
  absl::Duration room_rest_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  // What an extent takes: one that the clone doesn't have yet, and one that it has.
  absl::Duration clone_cost_ ABSL_GUARDED_BY(mutex_);
  absl::Duration skip_cost_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::primary
