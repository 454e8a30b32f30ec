// freshness_service.h: understudy.v1.Freshness over what primaries confirmed.
#pragma once

#include <memory>

#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/standby/confirmations.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::dr {

// Both outlive the service. Thread-safe.
[[nodiscard]] std::unique_ptr<grpc::Service> MakeFreshnessService(CommitEngine& engine, Confirmations& confirmations);

}  // namespace understudy::dr
