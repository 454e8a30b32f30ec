#include "core/net/roles.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"

namespace understudy::net {
namespace {

constexpr std::string_view kRoleUriPrefix = "understudy://role/";

constexpr Role kPrimaryAgent[] = {Role::kPrimary};
constexpr Role kControlPlane[] = {Role::kControl};
constexpr Role kPrimaryAgentAndControlPlane[] = {Role::kPrimary, Role::kControl};

constexpr MethodRoles kMethods[] = {
    {"/grpc.health.v1.Health/Check", kAllRoles},
    {"/grpc.health.v1.Health/Watch", kAllRoles},
    {"/understudy.v1.Catalog/DeleteObject", kPrimaryAgentAndControlPlane},
    {"/understudy.v1.Catalog/ListObjects", kPrimaryAgentAndControlPlane},
    {"/understudy.v1.Catalog/PutObject", kPrimaryAgentAndControlPlane},
    {"/understudy.v1.Catalog/WatchObjects", kControlPlane},
    {"/understudy.v1.Exports/ListExports", kControlPlane},
    {"/understudy.v1.Exports/SetExport", kControlPlane},
    {"/understudy.v1.Freshness/ConfirmUpToDate", kPrimaryAgent},
    {"/understudy.v1.Freshness/ListConfirmations", kControlPlane},
    {"/understudy.v1.Points/LabelPoint", kControlPlane},
    {"/understudy.v1.Points/ListPoints", kControlPlane},
    {"/understudy.v1.Points/ListTrees", kControlPlane},
    {"/understudy.v1.Points/MaterialisePoint", kControlPlane},
    {"/understudy.v1.Points/ReleaseReplica", kControlPlane},
    {"/understudy.v1.Points/RemoveTree", kControlPlane},
    {"/understudy.v1.Points/RewindReplica", kControlPlane},
    {"/understudy.v1.Points/UnlabelPoint", kControlPlane},
    {"/understudy.v1.Primary/ApproveGuard", kControlPlane},
    {"/understudy.v1.Primary/ForgetHandOver", kControlPlane},
    {"/understudy.v1.Primary/HandOverVolume", kControlPlane},
    {"/understudy.v1.Primary/ListEvents", kControlPlane},
    {"/understudy.v1.Primary/ListVolumes", kControlPlane},
    {"/understudy.v1.Primary/PauseVolume", kControlPlane},
    {"/understudy.v1.Primary/ProtectVolume", kControlPlane},
    {"/understudy.v1.Primary/ReleaseVolume", kControlPlane},
    {"/understudy.v1.Primary/ResumeVolume", kControlPlane},
    {"/understudy.v1.Primary/ShowVolume", kControlPlane},
    {"/understudy.v1.Primary/SyncVolume", kControlPlane},
    {"/understudy.v1.Primary/TakeUpVolume", kControlPlane},
    {"/understudy.v1.Primary/VerifyVolume", kControlPlane},
    {"/understudy.v1.Replica/ForgetMadeHere", kControlPlane},
    {"/understudy.v1.Replica/ListReplicas", kControlPlane},
    {"/understudy.v1.Replica/ListTrash", kControlPlane},
    {"/understudy.v1.Replica/PurgeTrash", kControlPlane},
    {"/understudy.v1.Replica/RestoreTrash", kControlPlane},
    {"/understudy.v1.Replica/StatEntry", kControlPlane},
    {"/understudy.v1.Replication/DiscardVolume", kPrimaryAgent},
    {"/understudy.v1.Replication/Handshake", kPrimaryAgent},
    {"/understudy.v1.Replication/Inventory", kPrimaryAgent},
    {"/understudy.v1.Replication/Replicate", kPrimaryAgent},
    {"/understudy.v1.Replication/SegmentSignature", kPrimaryAgent},
    {"/understudy.v1.Standby/Adopt", kControlPlane},
    {"/understudy.v1.Standby/Demote", kControlPlane},
    {"/understudy.v1.Standby/LetGo", kControlPlane},
    {"/understudy.v1.Standby/Promote", kControlPlane},
    {"/understudy.v1.Standby/RunHooks", kControlPlane},
    {"/understudy.v1.Verify/ListDamage", kControlPlane},
    {"/understudy.v1.Verify/ListEntries", kPrimaryAgent},
    {"/understudy.v1.Verify/VerifyReplica", kControlPlane},
};

}  // namespace

std::string_view ToString(Role role) {
  switch (role) {
    case Role::kPrimary:
      return "primary";
    case Role::kDr:
      return "dr";
    case Role::kControl:
      return "control";
  }
  AbortOnBrokenInvariant("known Role", __FILE__, __LINE__);
}

absl::StatusOr<Role> ParseRole(std::string_view text) {
  for (const Role role : kAllRoles) {
    if (text == ToString(role)) return role;
  }
  return absl::InvalidArgumentError(fmt::format("role '{}': use primary, dr or control", Printable(text)));
}

std::string RoleUri(Role role) {
  return fmt::format("{}{}", kRoleUriPrefix, ToString(role));
}

std::optional<Role> RoleOfUri(std::string_view uri) {
  for (const Role role : kAllRoles) {
    if (uri == RoleUri(role)) return role;
  }
  return std::nullopt;
}

bool MayCall(Role role, std::string_view method) {
  for (const MethodRoles& entry : kMethods) {
    if (entry.method == method) return std::find(entry.roles.begin(), entry.roles.end(), role) != entry.roles.end();
  }
  return false;
}

std::span<const MethodRoles> MethodTable() {
  return kMethods;
}

}  // namespace understudy::net
