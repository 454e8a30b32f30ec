#include "core/wire/points_codec.h"

#include <utility>

#include "core/wire/limits.h"
#include "core/wire/parse_parts.h"
#include "core/wire/validate.h"
#include "understudy/v1/points.pb.h"

namespace understudy::wire {
namespace {

absl::StatusOr<PointOfVolume> Of(const std::string& volume, model::Sequence sequence) {
  RETURN_IF_ERROR(model::ValidateVolumeName(volume));
  return PointOfVolume{volume, sequence};
}

absl::StatusOr<model::RecoveryPoint> PointFrom(const v1::Point& message) {
  model::RecoveryPoint point;
  point.sequence = message.sequence();
  point.committed_at = absl::FromUnixNanos(message.committed_at_nanoseconds());
  point.captured_at = absl::FromUnixNanos(message.captured_at_nanoseconds());
  point.completes_capture = message.completes_capture();
  point.held_bytes = message.held_bytes();
  point.label = message.label();
  if (!point.label.empty()) RETURN_IF_ERROR(model::ValidatePointLabel(point.label));
  point.pinned = message.pinned();
  point.consistency = model::ConsistencyOf(message.consistency());
  return point;
}

v1::Point ToProto(const model::RecoveryPoint& point) {
  v1::Point message;
  message.set_sequence(point.sequence);
  message.set_committed_at_nanoseconds(absl::ToUnixNanos(point.committed_at));
  message.set_captured_at_nanoseconds(absl::ToUnixNanos(point.captured_at));
  message.set_completes_capture(point.completes_capture);
  message.set_held_bytes(point.held_bytes);
  message.set_label(point.label);
  message.set_pinned(point.pinned);
  message.set_consistency(ConsistencyToProto(point.consistency));
  return message;
}

}  // namespace

absl::StatusOr<model::VolumeName> Parse(const v1::ListPointsRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  return message.volume();
}

absl::StatusOr<PointLabelRequest> Parse(const v1::LabelPointRequest& message) {
  PointLabelRequest request;
  ASSIGN_OR_RETURN(request.point, Of(message.volume(), message.sequence()));
  if (message.newest()) {
    if (message.sequence() != 0) return absl::InvalidArgumentError("the newest state and a sequence, too");
    request.point.sequence.reset();
  }
  RETURN_IF_ERROR(model::ValidatePointLabel(message.label()));
  request.label = message.label();
  request.pinned = message.pinned();
  return request;
}

absl::StatusOr<PointOfVolume> Parse(const v1::UnlabelPointRequest& message) {
  return Of(message.volume(), message.sequence());
}

absl::StatusOr<PointOfVolume> Parse(const v1::RewindReplicaRequest& message) {
  return Of(message.volume(), message.sequence());
}

absl::StatusOr<model::VolumeName> Parse(const v1::ReleaseReplicaRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  return message.volume();
}

absl::StatusOr<PointTreeRequest> Parse(const v1::MaterialisePointRequest& message) {
  PointTreeRequest request;
  ASSIGN_OR_RETURN(request.point, Of(message.volume(), message.sequence()));
  if (!message.path().empty()) RETURN_IF_ERROR(ValidateReplicaRoot(message.path()));
  request.path = message.path();
  request.writable = message.writable();
  return request;
}

absl::StatusOr<std::string> Parse(const v1::ListTreesRequest& message) {
  if (!message.after_id().empty()) RETURN_IF_ERROR(model::ValidatePointTreeId(message.after_id()));
  return message.after_id();
}

absl::StatusOr<PointTreePage> Parse(const v1::ListTreesResponse& message) {
  if (static_cast<size_t>(message.trees_size()) > kMaxPageEntries) {
    return absl::InvalidArgumentError("a page of trees with too many of them");
  }
  PointTreePage page;
  page.more = message.more();
  for (const v1::PointTree& tree : message.trees()) {
    ASSIGN_OR_RETURN(model::PointTree parsed, Parse(tree));
    // Else the caller would ask for the same page for ever.
    if (!page.trees.empty() && parsed.id <= page.trees.back().id) {
      return absl::InvalidArgumentError("a page of trees whose ids don't ascend");
    }
    page.trees.push_back(std::move(parsed));
  }
  if (page.more && page.trees.empty()) return absl::InvalidArgumentError("an empty page of trees with more");
  return page;
}

absl::StatusOr<std::string> Parse(const v1::RemoveTreeRequest& message) {
  RETURN_IF_ERROR(model::ValidatePointTreeId(message.id()));
  return message.id();
}

absl::StatusOr<model::PointTree> Parse(const v1::PointTree& message) {
  model::PointTree tree;
  RETURN_IF_ERROR(model::ValidatePointTreeId(message.id()));
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateReplicaRoot(message.path()));
  tree.id = message.id();
  tree.volume = message.volume();
  tree.sequence = message.sequence();
  tree.path = message.path();
  tree.writable = message.writable();
  ASSIGN_OR_RETURN(tree.state, model::ParsePointTreeState(message.state()));
  tree.made_at = absl::FromUnixNanos(message.made_at_nanoseconds());
  return tree;
}

absl::StatusOr<model::RecoveryPoints> Parse(const v1::ListPointsResponse& message) {
  model::RecoveryPoints points;
  ASSIGN_OR_RETURN(points.newest, PointFrom(message.newest()));
  for (const v1::Point& point : message.points()) {
    ASSIGN_OR_RETURN(model::RecoveryPoint parsed, PointFrom(point));
    points.points.push_back(std::move(parsed));
  }
  for (const v1::PointTree& tree : message.trees()) {
    ASSIGN_OR_RETURN(model::PointTree parsed, Parse(tree));
    points.trees.push_back(std::move(parsed));
  }
  points.held = message.held();
  return points;
}

v1::PointTree ToProto(const model::PointTree& tree) {
  v1::PointTree message;
  message.set_id(tree.id);
  message.set_volume(tree.volume);
  message.set_sequence(tree.sequence);
  message.set_path(tree.path);
  message.set_writable(tree.writable);
  message.set_state(std::string(model::ToString(tree.state)));
  message.set_made_at_nanoseconds(absl::ToUnixNanos(tree.made_at));
  return message;
}

v1::ListPointsResponse ToProto(const model::RecoveryPoints& points) {
  v1::ListPointsResponse message;
  *message.mutable_newest() = ToProto(points.newest);
  for (const model::RecoveryPoint& point : points.points) *message.add_points() = ToProto(point);
  for (const model::PointTree& tree : points.trees) *message.add_trees() = ToProto(tree);
  message.set_held(points.held);
  return message;
}

}  // namespace understudy::wire
