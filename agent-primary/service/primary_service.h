// primary_service.h: what drctl may ask of this agent (proto/understudy/v1/primary.proto).
#pragma once

#include <memory>
#include <string>

#include "agent-primary/rules/protected_volumes.h"
#include "agent-primary/ship/data_plane.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::primary {

// `plane` and `protected_volumes`, which registers its volumes, must outlive the service. `peer_address` is for
// messages.
[[nodiscard]] std::unique_ptr<grpc::Service> MakePrimaryService(DataPlane& plane, ProtectedVolumes& protected_volumes,
                                                                std::string peer_address);

}  // namespace understudy::primary
