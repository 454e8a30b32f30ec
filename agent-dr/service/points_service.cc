#include "agent-dr/service/points_service.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/net/grpc_status.h"
#include "core/wire/limits.h"
#include "core/wire/points_codec.h"
#include "understudy/v1/points.grpc.pb.h"

namespace understudy::dr {
namespace {

model::RecoveryPoint ToModel(const Point& point) {
  return {point.sequence,
          absl::FromUnixNanos(point.committed_at_nanoseconds),
          absl::FromUnixNanos(point.captured_at_nanoseconds),
          point.completes_capture,
          point.held_bytes,
          point.label,
          point.pinned,
          point.consistency};
}

class PointsService final : public v1::Points::Service {
 public:
  PointsService(CommitEngine& engine, PointTrees& trees) : engine_(engine), trees_(trees) {}

  grpc::Status ListPoints(grpc::ServerContext*, const v1::ListPointsRequest* request,
                          v1::ListPointsResponse* response) override {
    const absl::StatusOr<model::VolumeName> volume = wire::Parse(*request);
    if (!volume.ok()) return net::ToGrpcStatus(volume.status());
    const absl::StatusOr<model::RecoveryPoints> points = PointsOf(*volume);
    if (!points.ok()) return net::ToGrpcStatus(points.status());
    *response = wire::ToProto(*points);
    return grpc::Status::OK;
  }

  grpc::Status LabelPoint(grpc::ServerContext*, const v1::LabelPointRequest* request,
                          v1::LabelPointResponse* response) override {
    const absl::StatusOr<wire::PointLabelRequest> wanted = wire::Parse(*request);
    if (!wanted.ok()) return net::ToGrpcStatus(wanted.status());
    const absl::StatusOr<model::Sequence> sequence = StateToLabel(wanted->point);
    if (!sequence.ok()) return net::ToGrpcStatus(sequence.status());
    const absl::Status done = engine_.SetLabel(wanted->point.volume, {*sequence, wanted->label, wanted->pinned});
    if (!done.ok()) return net::ToGrpcStatus(done);
    response->set_sequence(*sequence);
    return grpc::Status::OK;
  }

  grpc::Status UnlabelPoint(grpc::ServerContext*, const v1::UnlabelPointRequest* request,
                            v1::UnlabelPointResponse*) override {
    const absl::StatusOr<wire::PointOfVolume> point = wire::Parse(*request);
    if (!point.ok()) return net::ToGrpcStatus(point.status());
    return net::ToGrpcStatus(engine_.DropLabel(point->volume, *point->sequence));
  }

  grpc::Status RewindReplica(grpc::ServerContext*, const v1::RewindReplicaRequest* request,
                             grpc::ServerWriter<v1::RewindReplicaResponse>* writer) override {
    const absl::StatusOr<wire::PointOfVolume> point = wire::Parse(*request);
    if (!point.ok()) return net::ToGrpcStatus(point.status());
    const absl::Status done = Rewind(point->volume, *point->sequence, *writer);
    if (done.ok()) spdlog::info("volume={} taken back to the state after commit {}", point->volume, *point->sequence);
    return net::ToGrpcStatus(done);
  }

  grpc::Status ReleaseReplica(grpc::ServerContext*, const v1::ReleaseReplicaRequest* request,
                              v1::ReleaseReplicaResponse*) override {
    const absl::StatusOr<model::VolumeName> volume = wire::Parse(*request);
    if (!volume.ok()) return net::ToGrpcStatus(volume.status());
    return net::ToGrpcStatus(engine_.SetHeld(*volume, false));
  }

  grpc::Status MaterialisePoint(grpc::ServerContext* context, const v1::MaterialisePointRequest* request,
                                grpc::ServerWriter<v1::MaterialisePointResponse>* writer) override {
    const absl::StatusOr<wire::PointTreeRequest> wanted = wire::Parse(*request);
    if (!wanted.ok()) return net::ToGrpcStatus(wanted.status());
    const absl::StatusOr<model::PointTree> tree =
        trees_.Make({wanted->point.volume, *wanted->point.sequence, wanted->path, wanted->writable},
                    {.step = Progress<v1::MaterialisePointResponse>(*writer),
                     .cancelled = [context] { return context->IsCancelled(); }});
    if (!tree.ok()) return net::ToGrpcStatus(tree.status());
    spdlog::info("volume={} tree={} made of the state after commit {} in '{}'", tree->volume, tree->id, tree->sequence,
                 Printable(tree->path));
    v1::MaterialisePointResponse response;
    *response.mutable_tree() = wire::ToProto(*tree);
    writer->Write(response);
    return grpc::Status::OK;
  }

  grpc::Status ListTrees(grpc::ServerContext*, const v1::ListTreesRequest* request,
                         v1::ListTreesResponse* response) override {
    const absl::StatusOr<std::string> after_id = wire::Parse(*request);
    if (!after_id.ok()) return net::ToGrpcStatus(after_id.status());
    const absl::StatusOr<std::vector<model::PointTree>> trees = trees_.List();
    if (!trees.ok()) return net::ToGrpcStatus(trees.status());
    for (const model::PointTree& tree : *trees) {
      if (tree.id <= *after_id) continue;
      if (static_cast<size_t>(response->trees_size()) == wire::kMaxPageEntries) {
        response->set_more(true);
        break;
      }
      *response->add_trees() = wire::ToProto(tree);
    }
    return grpc::Status::OK;
  }

  grpc::Status RemoveTree(grpc::ServerContext*, const v1::RemoveTreeRequest* request,
                          v1::RemoveTreeResponse* response) override {
    const absl::StatusOr<std::string> id = wire::Parse(*request);
    if (!id.ok()) return net::ToGrpcStatus(id.status());
    const absl::StatusOr<model::PointTree> tree = trees_.Remove(*id);
    if (!tree.ok()) return net::ToGrpcStatus(tree.status());
    spdlog::info("volume={} tree={} removed", tree->volume, tree->id);
    *response->mutable_tree() = wire::ToProto(*tree);
    return grpc::Status::OK;
  }

 private:
  // Without trees and hold.
  absl::StatusOr<model::RecoveryPoints> StatesOf(const model::VolumeName& volume) const {
    ASSIGN_OR_RETURN(const Point newest, engine_.NewestPoint(volume));
    ASSIGN_OR_RETURN(const std::vector<Point> kept, engine_.Points(volume));
    model::RecoveryPoints points;
    points.newest = ToModel(newest);
    for (const Point& point : kept) points.points.push_back(ToModel(point));
    return points;
  }

  // The midst of a capture is a state that the primary never was in: nobody wants to go back to it by a name.
  absl::StatusOr<model::Sequence> StateToLabel(const wire::PointOfVolume& wanted) const {
    ASSIGN_OR_RETURN(const model::RecoveryPoints states, StatesOf(wanted.volume));
    if (!wanted.sequence.has_value()) {
      const model::RecoveryPoint* const whole = model::NewestWhole(states);
      if (whole != nullptr) return whole->sequence;
      return absl::FailedPreconditionError(
          fmt::format("volume '{}': no whole capture is kept that could have a label", wanted.volume));
    }
    const auto is_torn = [&](const model::RecoveryPoint& state) {
      return state.sequence == *wanted.sequence && !state.completes_capture;
    };
    if (is_torn(states.newest) || std::any_of(states.points.begin(), states.points.end(), is_torn)) {
      return absl::FailedPreconditionError(
          fmt::format("volume '{}': the state after commit {} is the midst of a capture, which the primary never was "
                      "in: choose one that drctl points list shows as whole",
                      wanted.volume, *wanted.sequence));
    }
    return *wanted.sequence;
  }

  absl::StatusOr<model::RecoveryPoints> PointsOf(const model::VolumeName& volume) const {
    ASSIGN_OR_RETURN(model::RecoveryPoints points, StatesOf(volume));
    ASSIGN_OR_RETURN(std::vector<model::PointTree> trees, trees_.List());
    for (model::PointTree& tree : trees) {
      if (tree.volume == volume) points.trees.push_back(std::move(tree));
    }
    ASSIGN_OR_RETURN(const model::ReplicaState state, engine_.State(volume));
    points.held = state.held;
    return points;
  }

  absl::Status Rewind(const model::VolumeName& volume, model::Sequence to,
                      grpc::ServerWriter<v1::RewindReplicaResponse>& writer) {
    RETURN_IF_ERROR(engine_.Rewind(volume, to, Progress<v1::RewindReplicaResponse>(writer), /*hold=*/true));
    v1::RewindReplicaResponse response;
    response.set_done(true);
    writer.Write(response);
    return absl::OkStatus();
  }

  // Tells how far it is, at most about once a second: whoever asked may be slow.
  template <class Response>
  static std::function<void(size_t, size_t)> Progress(grpc::ServerWriter<Response>& writer) {
    return [&writer, told = -absl::InfiniteDuration()](size_t run, size_t all) mutable {
      const absl::Duration now = Clock::System().Monotonic();
      if (now - told < absl::Seconds(1)) return;
      told = now;
      Response progress;
      progress.set_records_run(run);
      progress.set_records(all);
      writer.Write(progress);
    };
  }

  CommitEngine& engine_;
  PointTrees& trees_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakePointsService(CommitEngine& engine, PointTrees& trees) {
  return std::make_unique<PointsService>(engine, trees);
}

}  // namespace understudy::dr
