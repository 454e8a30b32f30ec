// points_codec.h: the messages about recovery points (points.proto) to values and back, as in replication_codec.h.
// Pure; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/recovery_point.h"

namespace understudy::v1 {
class LabelPointRequest;
class ListPointsRequest;
class ListPointsResponse;
class ListTreesRequest;
class ListTreesResponse;
class MaterialisePointRequest;
class Point;
class PointTree;
class ReleaseReplicaRequest;
class RemoveTreeRequest;
class RewindReplicaRequest;
class UnlabelPointRequest;
}  // namespace understudy::v1

namespace understudy::wire {

// One state of one volume; nullopt: the newest.
struct PointOfVolume {
  model::VolumeName volume;
  std::optional<model::Sequence> sequence;
};
struct PointLabelRequest {
  PointOfVolume point;
  std::string label;
  bool pinned = false;
};
struct PointTreeRequest {
  PointOfVolume point;
  std::string path;  // empty: beside the replica's folder
  bool writable = false;
};
struct PointTreePage {
  std::vector<model::PointTree> trees;  // ascending by id
  bool more = false;                    // then not empty
};

[[nodiscard]] absl::StatusOr<model::VolumeName> Parse(const v1::ListPointsRequest& message);
[[nodiscard]] absl::StatusOr<PointLabelRequest> Parse(const v1::LabelPointRequest& message);
[[nodiscard]] absl::StatusOr<PointOfVolume> Parse(const v1::UnlabelPointRequest& message);
[[nodiscard]] absl::StatusOr<PointOfVolume> Parse(const v1::RewindReplicaRequest& message);
[[nodiscard]] absl::StatusOr<model::VolumeName> Parse(const v1::ReleaseReplicaRequest& message);
[[nodiscard]] absl::StatusOr<PointTreeRequest> Parse(const v1::MaterialisePointRequest& message);
[[nodiscard]] absl::StatusOr<std::string> Parse(const v1::ListTreesRequest& message);  // after this id; empty: all
[[nodiscard]] absl::StatusOr<PointTreePage> Parse(const v1::ListTreesResponse& message);
[[nodiscard]] absl::StatusOr<std::string> Parse(const v1::RemoveTreeRequest& message);  // the id
[[nodiscard]] absl::StatusOr<model::PointTree> Parse(const v1::PointTree& message);
[[nodiscard]] absl::StatusOr<model::RecoveryPoints> Parse(const v1::ListPointsResponse& message);

[[nodiscard]] v1::PointTree ToProto(const model::PointTree& tree);
[[nodiscard]] v1::ListPointsResponse ToProto(const model::RecoveryPoints& points);

}  // namespace understudy::wire
