// primary_service.h: what drctl may ask of this agent (proto/understudy/v1/primary.proto).
#pragma once

#include <memory>
#include <string>

#include "agent-primary/intake/event_log.h"
#include "agent-primary/ship/data_plane.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::primary {

inline constexpr int kMaxEventFollowers = 16;  // calls of ListEvents that stay
inline constexpr uint32_t kMaxListedEvents = 10'000;

// `plane` and `events` must outlive the service; `events` is null when this agent takes in none. `peer_address` is for
// messages.
[[nodiscard]] std::unique_ptr<grpc::Service> MakePrimaryService(DataPlane& plane, EventLog* events,
                                                                std::string peer_address);

}  // namespace understudy::primary
