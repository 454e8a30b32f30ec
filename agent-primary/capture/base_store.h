// base_store.h: frozen copies of a volume's large files: reflink clones in the work folder of its export.
//
//   <work folder>/bases-<volume>/<clone>    mode 0600; <clone>: 32 hexadecimal digits, never given twice
//
// A clone takes no time but what the filesystem needs for its extents, and no room until the file is written to. While
// it is made whoever writes to the file waits. Which clone holds what is the index's to say; a clone that it doesn't
// name is worthless. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "agent-primary/index/index_row.h"
#include "core/base/clock.h"
#include "core/model/volume.h"
#include "core/os/fd.h"
#include "core/os/root.h"

namespace understudy::primary {

// Of smaller files none is made: reading them costs little, and a clone has to be made durable.
inline constexpr uint64_t kLeastFrozenBytes = 16 * 1024 * 1024;
// A file whose clone took longer isn't cloned again for kCloneRest: its writers would wait too long, too often.
inline constexpr absl::Duration kLongestClone = absl::Seconds(1);
inline constexpr absl::Duration kCloneRest = absl::Hours(1);
// Clones keep the room of what was overwritten since. With less room than the smaller of both nothing is cloned.
inline constexpr uint64_t kLeastFreeBytes = uint64_t{8} << 30;
inline constexpr uint64_t kLeastFreeDivisor = 20;  // this part of the whole filesystem

struct FrozenFile {
  std::string clone;  // its name
  os::Fd fd;          // of the clone, for reading
  uint64_t size = 0;
  absl::Duration writers_waited;
};

class BaseStore {
 public:
  // For files of at least `least_bytes`. Makes the volume's folder. `clock` must outlive it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<BaseStore>> Open(const std::string& export_path,
                                                                       const model::VolumeName& volume,
                                                                       uint64_t least_bytes, const Clock& clock);
  // Removes all that a volume has there. For a volume that is gone.
  [[nodiscard]] static absl::Status Discard(const std::string& export_path, const model::VolumeName& volume);

  [[nodiscard]] bool IsFor(uint64_t size) const { return size >= least_bytes_; }

  // The file `fd` as it is now. UNIMPLEMENTED: this filesystem can't; it isn't asked again. RESOURCE_EXHAUSTED: not now
  // (too little room, or it took too long lately). The message says why, for people.
  [[nodiscard]] absl::StatusOr<FrozenFile> Freeze(int fd, uint64_t inode);

  // The clone that `base` names. NOT_FOUND: it isn't there, or isn't what was made.
  [[nodiscard]] absl::StatusOr<os::Fd> OpenBase(const BaseRecord& base) const;
  // `clone` can't be read: it is none any more.
  [[nodiscard]] absl::Status Remove(const std::string& clone);
  // Removes all others.
  [[nodiscard]] absl::Status KeepOnly(const std::set<std::string>& clones);

 private:
  BaseStore(os::Root folder, uint64_t least_bytes, const Clock& clock)
      : folder_(std::move(folder)), least_bytes_(least_bytes), clock_(clock) {}
  absl::Status LoadClones();
  absl::Status CheckRoom() const;

  const os::Root folder_;
  const uint64_t least_bytes_;
  const Clock& clock_;
  std::set<std::string> clones_;                // that are there
  std::optional<std::string> cannot_;           // why this filesystem has no clones
  std::map<uint64_t, absl::Duration> resting_;  // until when, by inode
};

}  // namespace understudy::primary
