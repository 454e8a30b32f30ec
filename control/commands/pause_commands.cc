#include <fmt/format.h>

#include <algorithm>

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

ExitCode RunPauseOrResume(const Console& console, OutputFormat format, const config::ControlConfig& config,
                          const VolumeSelection& selection, Call call, std::string_view done) {
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, selection.pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  const absl::StatusOr<Overview> overview = GatherOverview(*narrowed);
  if (!overview.ok()) return Fail(console, overview.status());
  const absl::StatusOr<VolumeView> volume = FindVolume(*overview, selection.name, selection.pair);
  if (!volume.ok()) return Fail(console, volume.status());
  for (const PairView& pair : overview->pairs) {
    if (pair.name == volume->pair && !pair.primary.ok()) return Fail(console, pair.primary.status());
  }
  const auto pair = std::find_if(narrowed->pairs.begin(), narrowed->pairs.end(),
                                 [&](const config::PairConfig& candidate) { return candidate.name == volume->pair; });
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  const auto client = PrimaryClient::Create(pair->primary, tls);
  if (!client.ok()) return Fail(console, client.status());
  if (call == &PrimaryClient::Resume && volume->replica && volume->replica->held) {
    const absl::StatusOr<PointsClient> dr = PointsClient::Create(pair->dr, tls);
    const absl::Status released = dr.ok() ? dr->Release(volume->name) : dr.status();
    if (!released.ok()) return Fail(console, released);
  }
  const absl::StatusOr<PrimaryVolume> changed = ((*client).*call)(volume->name);
  if (!changed.ok()) return Fail(console, changed.status());
  Print(
      console, format,
      {{"volume", volume->name},
       {"pair", volume->pair},
       {"state", changed->state},
       {"lag_seconds", changed->lag_seconds}},
      fmt::format("volume {} {}\n", volume->name,
                  changed->paused_reason.empty() || call == &PrimaryClient::Pause ? std::string(done)
                                                                                  : Printable(changed->paused_reason)));
  return ExitCode::kDone;
}

}  // namespace

ExitCode RunVolumesPause(const Console& console, OutputFormat format, const config::ControlConfig& config,
                         const VolumeSelection& selection) {
  return RunPauseOrResume(console, format, config, selection, &PrimaryClient::Pause,
                          "is paused: nothing of it is replicated until drctl volumes resume");
}

ExitCode RunVolumesResume(const Console& console, OutputFormat format, const config::ControlConfig& config,
                          const VolumeSelection& selection) {
  return RunPauseOrResume(console, format, config, selection, &PrimaryClient::Resume, "is replicated again");
}

}  // namespace understudy::control
