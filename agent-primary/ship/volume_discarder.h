// volume_discarder.h: tells DR that a volume was deleted, over gRPC.
#pragma once

#include <memory>
#include <string>

#include "core/base/status.h"
#include "core/model/trash.h"
#include "core/net/channel.h"

namespace understudy::primary {

// Has a connection of its own. Thread-safe.
class VolumeDiscarder {
 public:
  // INVALID_ARGUMENT: unfit certificates or address.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<VolumeDiscarder>> Create(const net::ChannelSpec& peer);
  ~VolumeDiscarder();

  // OK: that replica is in DR's trash, or there is none of that name (any more). UNAVAILABLE: DR can't be reached;
  // FAILED_PRECONDITION: it is no standby there, was promoted since, or another one has its name.
  [[nodiscard]] absl::Status Discard(const model::DiscardedVolume& discarded);

 private:
  struct Stub;
  explicit VolumeDiscarder(std::unique_ptr<Stub> stub);
  const std::unique_ptr<Stub> stub_;
};

}  // namespace understudy::primary
