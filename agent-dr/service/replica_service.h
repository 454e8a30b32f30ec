// replica_service.h: understudy.v1.Replica over the commit engine.
#pragma once

#include <memory>

#include "agent-dr/commit/commit_engine.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::dr {

// `engine` outlives the service. Thread-safe.
[[nodiscard]] std::unique_ptr<grpc::Service> MakeReplicaService(CommitEngine& engine);

}  // namespace understudy::dr
