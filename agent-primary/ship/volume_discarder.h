// volume_discarder.h: tells DR that a volume was deleted, over gRPC.
#pragma once

#include <memory>
#include <string>

#include "core/base/status.h"
#include "core/model/volume.h"
#include "core/net/channel.h"

namespace understudy::primary {

// Has a connection of its own. Thread-safe.
class VolumeDiscarder {
 public:
  // INVALID_ARGUMENT: unfit certificates or address.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<VolumeDiscarder>> Create(const net::ChannelSpec& peer);
  ~VolumeDiscarder();

  // OK: the replica that stood in `replica_root` is in DR's trash, or there is none (any more). UNAVAILABLE: DR can't
  // be reached; FAILED_PRECONDITION: the volume is no standby there, or another one.
  [[nodiscard]] absl::Status Discard(const model::VolumeName& volume, const std::string& replica_root);

 private:
  struct Stub;
  explicit VolumeDiscarder(std::unique_ptr<Stub> stub);
  const std::unique_ptr<Stub> stub_;
};

}  // namespace understudy::primary
