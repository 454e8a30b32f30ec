// points_service.h: the recovery points of replicas, for drctl.
#pragma once

#include <memory>

#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/points/point_trees.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::dr {

// Both outlive the service. Thread-safe.
[[nodiscard]] std::unique_ptr<grpc::Service> MakePointsService(CommitEngine& engine, PointTrees& trees);

}  // namespace understudy::dr
