#include <fmt/format.h>

#include <string>

#include "control/commands/commands.h"
#include "control/commands/overview.h"
#include "control/commands/points_client.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

using Call = absl::StatusOr<PrimaryVolume> (PrimaryClient::*)(const std::string&) const;

struct Chosen {
  VolumeView volume;
  config::PairConfig pair;
  net::TlsFiles tls;
  absl::Status primary;  // why it can't be asked
};

absl::StatusOr<Chosen> Choose(const config::ControlConfig& config, const VolumeSelection& selection) {
  ASSIGN_OR_RETURN(const config::ControlConfig narrowed, OnlyPair(config, selection.pair));
  ASSIGN_OR_RETURN(const Overview overview, GatherOverview(narrowed));
  Chosen chosen;
  ASSIGN_OR_RETURN(chosen.volume, FindVolume(overview, selection.name, selection.pair));
  for (size_t i = 0; i < overview.pairs.size(); ++i) {
    if (overview.pairs[i].name != chosen.volume.pair) continue;
    chosen.pair = AgentsOf(narrowed.pairs[i], chosen.volume);
    const PairView& view = overview.pairs[i];
    chosen.primary = chosen.volume.turned ? view.reverse_primary.status() : view.primary.status();
  }
  chosen.tls = {config.tls.ca, config.tls.cert, config.tls.key};
  return chosen;
}

absl::StatusOr<PrimaryVolume> Tell(const Chosen& chosen, Call call) {
  RETURN_IF_ERROR(chosen.primary);
  ASSIGN_OR_RETURN(const PrimaryClient client, PrimaryClient::Create(chosen.pair.primary, chosen.tls));
  return (client.*call)(chosen.volume.name);
}

absl::Status ReleaseAtDr(const Chosen& chosen) {
  ASSIGN_OR_RETURN(const PointsClient dr, PointsClient::Create(chosen.pair.dr, chosen.tls));
  return dr.Release(chosen.volume.name);
}

ExitCode PrintChanged(const Console& console, OutputFormat format, const Chosen& chosen, const PrimaryVolume& changed,
                      const std::string& done) {
  Print(console, format,
        {{"volume", chosen.volume.name},
         {"pair", chosen.volume.pair},
         {"state", changed.state},
         {"lag_seconds", changed.lag_seconds}},
        fmt::format("volume {} {}\n", chosen.volume.name, done));
  return ExitCode::kDone;
}

// The hold is over, and the primary couldn't be told to go on.
ExitCode PrintReleasedOnly(const Console& console, OutputFormat format, const Chosen& chosen, const absl::Status& why) {
  const std::string& volume = chosen.volume.name;
  PrintError(console,
             Annotate(why, fmt::format("volume {0}: if it was paused, it still is: the primary couldn't be told to "
                                       "replicate it again (drctl volumes resume {0} once it can be)",
                                       volume)));
  Print(console, format,
        {{"volume", volume}, {"pair", chosen.volume.pair}, {"state", nullptr}, {"lag_seconds", nullptr}},
        fmt::format("volume {} isn't held at DR any more\n", volume));
  return ExitCode::kPartial;
}

}  // namespace

ExitCode RunVolumesPause(const Console& console, OutputFormat format, const config::ControlConfig& config,
                         const VolumeSelection& selection) {
  const absl::StatusOr<Chosen> chosen = Choose(config, selection);
  if (!chosen.ok()) return Fail(console, chosen.status());
  const absl::StatusOr<PrimaryVolume> changed = Tell(*chosen, &PrimaryClient::Pause);
  if (!changed.ok()) return Fail(console, changed.status());
  return PrintChanged(console, format, *chosen, *changed,
                      "is paused: nothing of it is replicated until drctl volumes resume");
}

ExitCode RunVolumesResume(const Console& console, OutputFormat format, const config::ControlConfig& config,
                          const VolumeSelection& selection) {
  const absl::StatusOr<Chosen> chosen = Choose(config, selection);
  if (!chosen.ok()) return Fail(console, chosen.status());
  // DR alone decides about its hold: that the primary is away is no reason to keep it.
  const bool held = chosen->volume.replica && chosen->volume.replica->held;
  if (held) {
    const absl::Status released = ReleaseAtDr(*chosen);
    if (!released.ok()) return Fail(console, released);
  }
  const absl::StatusOr<PrimaryVolume> changed = Tell(*chosen, &PrimaryClient::Resume);
  if (!changed.ok()) {
    return held ? PrintReleasedOnly(console, format, *chosen, changed.status()) : Fail(console, changed.status());
  }
  return PrintChanged(console, format, *chosen, *changed,
                      changed->paused_reason.empty() ? "is replicated again" : Printable(changed->paused_reason));
}

}  // namespace understudy::control
