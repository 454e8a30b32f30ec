#include <future>

#include "control/commands/commands.h"
#include "control/commands/damage_view.h"
#include "control/commands/overview.h"
#include "control/commands/standby_view.h"
#include "control/commands/sync_view.h"

namespace understudy::control {
namespace {

Document VolumesOf(const Overview& overview) {
  Document volumes = Document::array();
  for (const VolumeView& volume : overview.volumes) volumes.push_back(ToDocument(volume));
  return volumes;
}

ExitCode Finish(const Console& console, const Overview& overview) {
  PrintUnreachable(console, overview);
  return ExitCodeFor(FirstUnreachable(overview));
}

}  // namespace

ExitCode RunStatus(const Console& console, OutputFormat format, const config::ControlConfig& config,
                   const StatusOptions& options) {
  std::future<StandbyViews> asked;
  if (options.objects) asked = std::async(std::launch::async, [&config] { return GatherStandby(config); });
  std::future<DamageViews> damage_asked = std::async(std::launch::async, [&config] { return GatherDamage(config); });
  const absl::StatusOr<Overview> overview = GatherOverview(config);
  const DamageViews damage = damage_asked.get();
  if (!overview.ok()) {
    PrintError(console, overview.status());
    return ExitCodeFor(overview.status());
  }
  const StandbyViews standby = options.objects ? asked.get() : StandbyViews();
  Document pairs = Document::array();
  for (const PairView& pair : overview->pairs) {
    Document document = ToDocument(pair);
    const auto view = standby.find(pair.name);
    document["standby"] = view == standby.end() ? Document(nullptr) : ToDocument(view->second);
    pairs.push_back(std::move(document));
  }
  std::string text = PairsTable(overview->pairs);
  if (!overview->volumes.empty()) text += "\n" + VolumesTable(overview->volumes);
  if (const std::string objects = StandbyText(standby); !objects.empty()) text += "\n" + objects;
  if (const std::string held_back = HeldBackLines(*overview); !held_back.empty()) text += "\n" + held_back;
  if (const std::string damaged = DamageLines(damage); !damaged.empty()) text += "\n" + damaged;
  Document volumes = VolumesOf(*overview);
  for (Document& volume : volumes) volume["damaged"] = DamageDocument(damage, volume.at("pair"), volume.at("name"));
  Document sync = SyncDocument(config);
  if (const std::string line = SyncLine(sync); !line.empty()) text += "\n" + line;
  Print(console, format, {{"pairs", std::move(pairs)}, {"volumes", std::move(volumes)}, {"sync", std::move(sync)}},
        text);
  return Finish(console, *overview);
}

ExitCode RunVolumesList(const Console& console, OutputFormat format, const config::ControlConfig& config) {
  const absl::StatusOr<Overview> overview = GatherOverview(config);
  if (!overview.ok()) {
    PrintError(console, overview.status());
    return ExitCodeFor(overview.status());
  }
  Print(console, format, {{"volumes", VolumesOf(*overview)}}, VolumesTable(overview->volumes));
  return Finish(console, *overview);
}

}  // namespace understudy::control
