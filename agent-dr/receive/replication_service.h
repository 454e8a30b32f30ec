// replication_service.h: understudy.v1.Replication over the commit engine.
#pragma once

#include <memory>

#include "agent-dr/commit/commit_engine.h"
#include "core/wire/messages.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::dr {

// `engine` outlives the service; `ours` is what the handshake answers with. Thread-safe; each Replicate stream has
// kLaneWorkers threads of its own.
[[nodiscard]] std::unique_ptr<grpc::Service> MakeReplicationService(CommitEngine& engine, wire::Handshake ours);

}  // namespace understudy::dr
