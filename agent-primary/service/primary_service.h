// primary_service.h: what drctl may ask of this agent (proto/understudy/v1/primary.proto).
#pragma once

#include <memory>
#include <string>

#include "agent-primary/intake/event_log.h"
#include "agent-primary/rules/protected_volumes.h"
#include "agent-primary/service/object_control.h"
#include "agent-primary/ship/data_plane.h"
#include "agent-primary/ship/replica_lister.h"
#include "core/exports/export_switch.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::primary {

inline constexpr int kMaxEventFollowers = 16;  // calls of ListEvents that stay
inline constexpr uint32_t kMaxListedEvents = 10'000;
inline constexpr int kMaxVerifications = 16;  // calls of VerifyVolume at a time

// What the service works on; all of it must outlive the service.
struct PrimaryServiceParts {
  DataPlane& plane;
  ProtectedVolumes& protected_volumes;  // registers plane's volumes
  ObjectControl* objects = nullptr;     // nullptr: this agent takes in no storage objects
  EventLog* events = nullptr;           // likewise
  const ReplicaLister& lister;          // of the peer's replicas
  exports::ExportSwitch& exports;       // of plane's volumes
  std::string peer_address;             // for messages
};

[[nodiscard]] std::unique_ptr<grpc::Service> MakePrimaryService(PrimaryServiceParts parts);

}  // namespace understudy::primary
