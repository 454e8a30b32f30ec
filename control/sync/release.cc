#include "control/sync/release.h"

#include <fmt/format.h>

#include "core/base/log.h"

namespace understudy::control {
namespace {

// Trying again wouldn't help: the target keeps the data for a reason, or the agent knows no such place.
bool IsForGood(const absl::Status& refused) {
  return absl::IsFailedPrecondition(refused) || absl::IsNotFound(refused) || absl::IsInvalidArgument(refused);
}

}  // namespace

std::optional<kube::NfsSource> DataSourceOf(model::ObjectKind kind, const nlohmann::json& object) {
  if (kind == model::ObjectKind::kPersistentVolume) return kube::NfsSourceOf(object);
  if (kind != model::ObjectKind::kVolumeSnapshotContent) return std::nullopt;
  const std::optional<kube::NfsSnapshot> snapshot = kube::NfsSnapshotOf(object);
  return snapshot ? std::optional(snapshot->folder) : std::nullopt;
}

std::optional<kube::NfsSource> DataSourceOf(const model::CatalogEntry& entry) {
  return DataSourceOf(entry.key.kind, nlohmann::json::parse(entry.resource, nullptr, /*allow_exceptions=*/false));
}

absl::StatusOr<ReleaseResult> GiveUp(const OwedRelease& release, PairAgents& pair, OwedReleases& owed,
                                     const SiteNames& names) {
  RETURN_IF_ERROR(owed.Owe(release));
  const absl::Status released = pair.Release(release.volume, release.source);
  ReleaseResult result{.settled = released.ok() || IsForGood(released),
                       .what = fmt::format("its data is in {0}'s trash, or {0} had none of it", names.target)};
  if (!released.ok()) {
    result.what = fmt::format("its data stays where it is at {}{}: {}", names.target,
                              result.settled ? "" : " until the next run tries again", MessageOf(released));
  }
  if (!result.settled) return result;
  // Doing it once more does no harm: the next run finds nothing to move.
  if (const absl::Status settled = owed.Settle(release); !settled.ok()) {
    spdlog::warn("volume={} is given up, which couldn't be noted: {}", release.volume, MessageOf(settled));
  }
  return result;
}

}  // namespace understudy::control
