// volume_actions.h: what object events can make the data plane do. Implemented by the agent; a memory twin serves the
// tests.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "core/base/status.h"

namespace understudy::primary {

// Where a directory of an NFS server lies here and at DR.
struct VolumePlace {
  std::string path;          // absolute, on this host
  std::string replica_path;  // absolute, at DR
};

// A barrier that is waited for by several calls: the first asks for it, later ones go on waiting.
struct BarrierWait {
  std::weak_ptr<const void> volume = {};  // that was asked, as it was registered then
  uint64_t barrier = 0;
};

// Thread-safe.
class VolumeActions {
 public:
  virtual ~VolumeActions() = default;

  // The place of `path` on NFS server `server` when this pair protects it: the server is one of an export's
  // `server_names` and the path lies within that export. nullopt: another pair's, or nobody's.
  [[nodiscard]] virtual std::optional<VolumePlace> Locate(const std::string& server, const std::string& path) const = 0;

  // Begins to replicate `place` as volume `name`; already doing so is fine. ALREADY_EXISTS: the name stands for another
  // folder, or the folder overlaps another volume's. NOT_FOUND: no such folder here.
  [[nodiscard]] virtual absl::Status Register(const std::string& name, const VolumePlace& place) = 0;

  // Ends the replication of a volume that Register began; DR keeps its data. A name that isn't registered is fine.
  [[nodiscard]] virtual absl::Status Unregister(const std::string& name) = 0;

  // The volume at `place` was deleted for good: DR moves its data to the trash. After Unregister; OK when DR has done
  // so, or has no such replica (any more), when this host knows of none, or when the volume is still replicated because
  // the configuration lists it.
  // UNAVAILABLE: to be tried again. FAILED_PRECONDITION: DR keeps the data in place, and says why.
  [[nodiscard]] virtual absl::Status Discard(const std::string& name, const VolumePlace& place) = 0;

  // Nothing of the volume is captured any more until Resume: DR keeps it as it is. Doesn't wait. A volume that isn't
  // registered, but was replicated before, is registered like that. What the configuration lists goes on.
  [[nodiscard]] virtual absl::Status Pause(const std::string& name, const VolumePlace& place) = 0;
  // A volume that isn't paused, or isn't registered, is fine.
  [[nodiscard]] virtual absl::Status Resume(const std::string& name) = 0;

  // OK when everything written before the first call with `wait` is durable at DR. That call waits for a while, later
  // ones hardly. DEADLINE_EXCEEDED: not yet, to be called again. UNAVAILABLE: something keeps the volume from
  // replicating. FAILED_PRECONDITION: a guard holds it back, or it is paused. CANCELLED: `stop`.
  [[nodiscard]] virtual absl::Status SyncToBarrier(const std::string& name, BarrierWait& wait,
                                                   std::stop_token stop) = 0;
};

}  // namespace understudy::primary
