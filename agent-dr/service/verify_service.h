// verify_service.h: understudy.v1.Verify over the commit engine and what is known to be damaged.
#pragma once

#include <memory>

#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/verify/damage_keeper.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::dr {

// At a time; more are refused with RESOURCE_EXHAUSTED: each reads a disk.
inline constexpr int kMaxVerifications = 16;

// Both outlive the service. Thread-safe.
[[nodiscard]] std::unique_ptr<grpc::Service> MakeVerifyService(CommitEngine& engine, DamageKeeper& damage);

}  // namespace understudy::dr
