#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "control/commands/agents_client.h"
#include "control/commands/commands.h"
#include "control/commands/overview.h"
#include "control/commands/points_client.h"
#include "control/commands/points_view.h"
#include "control/commands/sync_wait.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

net::TlsFiles TlsOf(const config::ControlConfig& config) {
  return {config.tls.ca, config.tls.cert, config.tls.key};
}

const config::PairConfig& PairOf(const config::ControlConfig& config, const std::string& name) {
  return *std::find_if(config.pairs.begin(), config.pairs.end(),
                       [&](const config::PairConfig& pair) { return pair.name == name; });
}

// One volume's recovery points, and whom to ask about them.
struct VolumePoints {
  std::string volume;
  std::string pair;
  PointsClient client;
  model::RecoveryPoints points;
};

absl::StatusOr<VolumeView> FindVolumeOf(const config::ControlConfig& config, const VolumeSelection& selection) {
  ASSIGN_OR_RETURN(const config::ControlConfig narrowed, OnlyPair(config, selection.pair));
  ASSIGN_OR_RETURN(const Overview overview, GatherOverview(narrowed));
  return FindVolume(overview, selection.name, selection.pair);
}

absl::StatusOr<VolumePoints> PointsOf(const config::ControlConfig& config, const VolumeView& volume) {
  ASSIGN_OR_RETURN(PointsClient client,
                   PointsClient::Create(AgentsOf(PairOf(config, volume.pair), volume).dr, TlsOf(config)));
  ASSIGN_OR_RETURN(model::RecoveryPoints points, client.List(volume.name));
  SortByTime(points.points);
  return VolumePoints{volume.name, volume.pair, std::move(client), std::move(points)};
}

absl::StatusOr<VolumePoints> Find(const config::ControlConfig& config, const VolumeSelection& selection) {
  ASSIGN_OR_RETURN(const VolumeView volume, FindVolumeOf(config, selection));
  return PointsOf(config, volume);
}

// Shows on a terminal how many undo records were run.
PointsClient::Step Progress(const Console& console, const std::string& volume) {
  return [&console, volume](uint64_t run, uint64_t all) {
    if (console.err_is_terminal) {
      console.err << fmt::format("\r\033[K{}: {} of {} steps back", volume, run, all) << std::flush;
    }
  };
}

void EndProgress(const Console& console) {
  if (console.err_is_terminal) console.err << "\r\033[K" << std::flush;
}

// Ends at the barrier: the label is then of a state that has everything written before.
absl::Status SyncFirst(const Console& console, const config::ControlConfig& config, const VolumeView& volume,
                       absl::Duration timeout) {
  // Nothing is taken in there, so the barrier wouldn't come.
  if (volume.replica && volume.replica->held) {
    return absl::FailedPreconditionError(fmt::format(
        "volume {0}: its replica was taken back to an earlier state, and is held there: drctl volumes resume "
        "{0} has it brought up to date again, --no-sync labels what it shows",
        volume.name));
  }
  ProgressLine progress(console);
  const absl::Status synced =
      SyncOne({volume.name, AgentsOf(PairOf(config, volume.pair), volume)}, TlsOf(config), {}, timeout, progress)
          .status();
  if (synced.ok()) return synced;
  return Annotate(synced, fmt::format("volume {} can't be synced first (--no-sync labels what DR has)", volume.name));
}

}  // namespace

ExitCode RunPointsList(const Console& console, OutputFormat format, const config::ControlConfig& config,
                       const VolumeSelection& selection) {
  const absl::StatusOr<VolumePoints> found = Find(config, selection);
  if (!found.ok()) return Fail(console, found.status());
  Document points = Document::array();
  for (const model::RecoveryPoint& point : found->points.points) points.push_back(ToDocument(point));
  Document trees = Document::array();
  for (const model::PointTree& tree : found->points.trees) trees.push_back(ToDocument(tree));
  Print(console, format,
        {{"volume", found->volume},
         {"pair", found->pair},
         {"held", found->points.held},
         {"newest", ToDocument(found->points.newest)},
         {"points", points},
         {"trees", trees}},
        ListingText(found->points));
  return ExitCode::kDone;
}

ExitCode RunPointsCreate(const Console& console, OutputFormat format, const config::ControlConfig& config,
                         const PointsCreateOptions& options) {
  const absl::Status valid = model::ValidatePointLabel(options.label);
  if (!valid.ok()) return Fail(console, valid);
  const absl::StatusOr<VolumeView> volume = FindVolumeOf(config, options.selection);
  if (!volume.ok()) return Fail(console, volume.status());
  if (options.state.empty() && options.sync) {
    const absl::Status synced = SyncFirst(console, config, *volume, options.timeout);
    if (!synced.ok()) return Fail(console, synced);
  }
  const absl::StatusOr<VolumePoints> found = PointsOf(config, *volume);
  if (!found.ok()) return Fail(console, found.status());
  std::optional<model::Sequence> sequence;
  if (!options.state.empty()) {
    const absl::StatusOr<model::RecoveryPoint> state = StateOf(found->volume, found->points, options.state);
    if (!state.ok()) return Fail(console, state.status());
    sequence = state->sequence;
  }
  const absl::StatusOr<model::Sequence> labelled =
      found->client.Label(found->volume, sequence, options.label, options.pin);
  if (!labelled.ok()) return Fail(console, labelled.status());
  Print(console, format,
        {{"volume", found->volume},
         {"pair", found->pair},
         {"sequence", *labelled},
         {"label", options.label},
         {"pinned", options.pin}},
        fmt::format("volume {}: state {} is {}{}\n", found->volume, *labelled, options.label,
                    options.pin ? ", pinned" : ""));
  return ExitCode::kDone;
}

ExitCode RunPointsForget(const Console& console, OutputFormat format, const config::ControlConfig& config,
                         const PointSelection& selection) {
  const absl::StatusOr<VolumePoints> found = Find(config, selection.volume);
  if (!found.ok()) return Fail(console, found.status());
  const absl::StatusOr<model::RecoveryPoint> state = StateOf(found->volume, found->points, selection.state);
  if (!state.ok()) return Fail(console, state.status());
  const absl::Status done = found->client.Unlabel(found->volume, state->sequence);
  if (!done.ok()) return Fail(console, done);
  Print(console, format, {{"volume", found->volume}, {"pair", found->pair}, {"sequence", state->sequence}},
        fmt::format("volume {}: state {} has no label any more\n", found->volume, state->sequence));
  return ExitCode::kDone;
}

ExitCode RunPointsRewind(const Console& console, OutputFormat format, const config::ControlConfig& config,
                         const PointsRewindOptions& options) {
  const absl::StatusOr<VolumePoints> found = Find(config, options.selection.volume);
  if (!found.ok()) return Fail(console, found.status());
  const absl::StatusOr<model::RecoveryPoint> state = StateOf(found->volume, found->points, options.selection.state);
  if (!state.ok()) return Fail(console, state.status());
  const std::string what = fmt::format(
      "volume {}: its replica is taken from state {} ({}) to state {} ({}), and held there until drctl volumes resume "
      "{}",
      found->volume, found->points.newest.sequence, TimeText(TimeOf(found->points.newest)), state->sequence,
      TimeText(TimeOf(*state)), found->volume);
  if (!options.yes) {
    const absl::Status confirmed = AskForYes(console, what);
    if (!confirmed.ok()) return Fail(console, confirmed);
  }
  const absl::Status done = found->client.Rewind(found->volume, state->sequence, Progress(console, found->volume));
  EndProgress(console);
  if (!done.ok()) return Fail(console, done);
  Print(console, format,
        {{"volume", found->volume},
         {"pair", found->pair},
         {"from_sequence", found->points.newest.sequence},
         {"state", ToDocument(*state)},
         {"held", true}},
        fmt::format("volume {} is as it was at {} (state {}); what it was before is state {}\n", found->volume,
                    TimeText(TimeOf(*state)), state->sequence, found->points.newest.sequence));
  return ExitCode::kDone;
}

ExitCode RunPointsMaterialise(const Console& console, OutputFormat format, const config::ControlConfig& config,
                              const PointsMaterialiseOptions& options) {
  const absl::StatusOr<VolumePoints> found = Find(config, options.selection.volume);
  if (!found.ok()) return Fail(console, found.status());
  const absl::StatusOr<model::RecoveryPoint> state = StateOf(found->volume, found->points, options.selection.state);
  if (!state.ok()) return Fail(console, state.status());
  const absl::StatusOr<model::PointTree> tree = found->client.Materialise(
      {found->volume, state->sequence, options.path, options.writable}, Progress(console, found->volume));
  EndProgress(console);
  if (!tree.ok()) return Fail(console, tree.status());
  Document document = ToDocument(*tree);
  document["pair"] = found->pair;
  Print(console, format, document,
        fmt::format("volume {} as it was at {} is in {} (tree {})\n", found->volume, TimeText(TimeOf(*state)),
                    Printable(tree->path), tree->id));
  return ExitCode::kDone;
}

}  // namespace understudy::control
