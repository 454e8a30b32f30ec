// standby_service.h: understudy.v1.Standby over the promoter.
#pragma once

#include <memory>

#include "agent-dr/standby/promoter.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::dr {

// `promoter` outlives the service. Thread-safe. A caller that hangs up has given the call up (StandbyCaller::gone).
[[nodiscard]] std::unique_ptr<grpc::Service> MakeStandbyService(Promoter& promoter);

}  // namespace understudy::dr
