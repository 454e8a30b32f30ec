// overview.h: all pairs and volumes at one moment, put together from what the agents say; and how that is shown.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/commands/agents_client.h"
#include "control/commands/output.h"
#include "control/sync/direction.h"
#include "core/config/control_config.h"

namespace understudy::control {

struct PairView {
  std::string name;
  std::string primary_address;
  std::string dr_address;
  absl::StatusOr<PrimaryVolumes> primary;
  absl::StatusOr<std::vector<DrReplica>> dr;
  // Of the agents that carry the replication the other way; empty without any.
  std::string reverse_primary_address{};
  std::string reverse_dr_address{};
  absl::StatusOr<PrimaryVolumes> reverse_primary = PrimaryVolumes();
  absl::StatusOr<std::vector<DrReplica>> reverse_dr = std::vector<DrReplica>();
};

// One volume of one pair: known to its primary, to its DR, or to both. Of a volume that was turned round (drctl volumes
// reprotect), `primary` and `replica` are what the reverse agents say.
struct VolumeView {
  std::string name;
  std::string pair;
  bool primary_reachable = false;
  std::optional<PrimaryVolume> primary;
  std::optional<DrReplica> replica;
  bool turned = false;
  Direction direction = Direction::kToDr;

  // The primary's state of it; "unreachable" when the primary can't be asked, "unknown" when it doesn't know the
  // volume.
  [[nodiscard]] std::string State() const;
};

struct Overview {
  std::vector<PairView> pairs;
  std::vector<VolumeView> volumes;  // by pair, then by name
};

// Asks all agents at once; returns within about kQueryTimeout. INVALID_ARGUMENT: the TLS files are unfit.
[[nodiscard]] absl::StatusOr<Overview> GatherOverview(const config::ControlConfig& config);

// Pure: the volumes of `pairs`.
[[nodiscard]] std::vector<VolumeView> MergeVolumes(const std::vector<PairView>& pairs);

// The one volume of that name, in the pair `pair` unless that is empty. NOT_FOUND when no pair has it; an agent's error
// when one that might have it can't be asked; INVALID_ARGUMENT when several pairs have one of that name.
[[nodiscard]] absl::StatusOr<VolumeView> FindVolume(const Overview& overview, const std::string& name,
                                                    const std::string& pair);
// The pair as its agents stand to the volume: with those of `reverse` in the place of its own where it is turned round.
[[nodiscard]] config::PairConfig AgentsOf(const config::PairConfig& pair, const VolumeView& volume);
// The configuration with that pair alone, or whole when `name` is empty. NOT_FOUND: there is no such pair.
[[nodiscard]] absl::StatusOr<config::ControlConfig> OnlyPair(config::ControlConfig config, const std::string& name);

// OK, or why the first agent that can't be asked can't.
[[nodiscard]] absl::Status FirstUnreachable(const Overview& overview);
// A line on `err` for each agent that can't be asked.
void PrintUnreachable(const Console& console, const Overview& overview);

// The stable shape: members may be added, none changes its meaning. Numbers are raw, times RFC 3339, what isn't known
// null.
[[nodiscard]] Document ToDocument(const VolumeView& volume);
[[nodiscard]] Document ToDocument(const PairView& pair);
[[nodiscard]] Document ToDocument(const PrimaryVolume& volume);
[[nodiscard]] Document ToDocument(const GuardView& guard);
[[nodiscard]] Document ToDocument(const ObjectsView& objects);
[[nodiscard]] std::string VolumesTable(const std::vector<VolumeView>& volumes);
// A line for each volume that isn't replicated because a guard or a pause holds it back or DR was promoted, and for
// each guard on storage objects: why, and what to do.
[[nodiscard]] std::string HeldBackLines(const Overview& overview);
[[nodiscard]] std::string PairsTable(const std::vector<PairView>& pairs);
// Every member of one volume, a line each.
[[nodiscard]] std::string VolumeLines(const VolumeView& volume);

}  // namespace understudy::control
