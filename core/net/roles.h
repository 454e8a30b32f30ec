// roles.h: who may call what: the role in a peer's certificate, and the one table of methods and roles.
//
// A role travels as a subject alternative name of type URI, "understudy://role/<name>"; a certificate may carry
// several. What the table doesn't list is refused to everybody. Pure; thread-safe.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/base/status.h"

namespace understudy::net {

enum class Role { kPrimary, kDr, kControl };
inline constexpr Role kAllRoles[] = {Role::kPrimary, Role::kDr, Role::kControl};

// "primary", "dr", "control".
[[nodiscard]] std::string_view ToString(Role role);
[[nodiscard]] absl::StatusOr<Role> ParseRole(std::string_view text);

// "understudy://role/primary", and the role that such a URI names.
[[nodiscard]] std::string RoleUri(Role role);
[[nodiscard]] std::optional<Role> RoleOfUri(std::string_view uri);

// `method` is a path of gRPC, "/understudy.v1.Primary/ListVolumes".
[[nodiscard]] bool MayCall(Role role, std::string_view method);

struct MethodRoles {
  std::string_view method;
  std::span<const Role> roles;
};
// The table itself, for documentation and tests.
[[nodiscard]] std::span<const MethodRoles> MethodTable();

}  // namespace understudy::net
