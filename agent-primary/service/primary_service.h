// primary_service.h: what drctl may ask of this agent (proto/understudy/v1/primary.proto).
#pragma once

#include <memory>
#include <string>

#include "agent-primary/service/object_control.h"
#include "agent-primary/ship/data_plane.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::primary {

// `plane` and `objects` must outlive the service; `objects` is nullptr when no cluster's objects are taken in.
// `peer_address` is for messages.
[[nodiscard]] std::unique_ptr<grpc::Service> MakePrimaryService(DataPlane& plane, std::string peer_address,
                                                                ObjectControl* objects);

}  // namespace understudy::primary
