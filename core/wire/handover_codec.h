// handover_codec.h: the messages of primary.proto by which a volume's live copy changes sides, to values and back, as
// in replication_codec.h. Pure; thread-safe.
#pragma once

#include <string>

#include "core/base/status.h"
#include "core/model/volume.h"

namespace understudy::v1 {
class HandOverVolumeRequest;
class TakeUpVolumeRequest;
}  // namespace understudy::v1

namespace understudy::wire {

struct HandOverRequest {
  model::VolumeName volume{};
  model::Epoch epoch = 0;  // of the live copy at the other side, not 0
};

struct TakeUpRequest {
  model::VolumeName volume{};
  std::string path{};          // absolute, here; empty: where it was when it was handed over
  std::string replica_path{};  // absolute, at the other side; empty: wherever the configuration says
  model::Epoch epoch = 0;      // of the live copy here, not 0
};

[[nodiscard]] absl::StatusOr<HandOverRequest> Parse(const v1::HandOverVolumeRequest& message);
[[nodiscard]] absl::StatusOr<TakeUpRequest> Parse(const v1::TakeUpVolumeRequest& message);

[[nodiscard]] v1::HandOverVolumeRequest ToProto(const HandOverRequest& request);
[[nodiscard]] v1::TakeUpVolumeRequest ToProto(const TakeUpRequest& request);

}  // namespace understudy::wire
