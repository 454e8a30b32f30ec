// release.h: gives up the data of an object that was deleted at the source for good: the target moves it to its trash.
#pragma once

#include <optional>
#include <string>

#include "control/sync/ports.h"
#include "control/sync/site_names.h"

namespace understudy::control {

// The folder that holds an object's data; nullopt: it has none of its own, or not on NFS.
[[nodiscard]] std::optional<kube::NfsSource> DataSourceOf(model::ObjectKind kind, const nlohmann::json& object);
[[nodiscard]] std::optional<kube::NfsSource> DataSourceOf(const model::CatalogEntry& entry);

struct ReleaseResult {
  bool settled = false;  // false: the next run tries again
  std::string what;      // became of the data, as a person reads it
};

// `release` is owed in `owed` before anything happens, and settled when the target has moved the data, or refuses to
// for good. An error: it couldn't be noted, and nothing happened.
[[nodiscard]] absl::StatusOr<ReleaseResult> GiveUp(const OwedRelease& release, PairAgents& pair, OwedReleases& owed,
                                                   const SiteNames& names);

}  // namespace understudy::control
