#include <fmt/format.h>

#include <algorithm>
#include <istream>
#include <ostream>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "control/commands/agents_client.h"
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
  ASSIGN_OR_RETURN(PointsClient client, PointsClient::Create(PairOf(config, volume.pair).dr, TlsOf(config)));
  ASSIGN_OR_RETURN(model::RecoveryPoints points, client.List(volume.name));
  return VolumePoints{volume.name, volume.pair, std::move(client), std::move(points)};
}

absl::StatusOr<VolumePoints> Find(const config::ControlConfig& config, const VolumeSelection& selection) {
  ASSIGN_OR_RETURN(const VolumeView volume, FindVolumeOf(config, selection));
  return PointsOf(config, volume);
}

Document TimeOrNull(absl::Time time) {
  if (time == absl::UnixEpoch()) return nullptr;
  return absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone());
}

// When the primary was as the state is, as far as is known.
absl::Time TimeOf(const model::RecoveryPoint& point) {
  return point.captured_at != absl::UnixEpoch() ? point.captured_at : point.committed_at;
}

std::string TimeText(absl::Time time) {
  if (time == absl::UnixEpoch()) return "-";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

Document ToDocument(const model::RecoveryPoint& point) {
  return {{"sequence", point.sequence},
          {"captured_at", TimeOrNull(point.captured_at)},
          {"committed_at", TimeOrNull(point.committed_at)},
          {"completes_capture", point.completes_capture},
          {"held_bytes", point.held_bytes},
          {"label", point.label.empty() ? Document(nullptr) : Document(point.label)},
          {"pinned", point.pinned}};
}

Document ToDocument(const model::PointTree& tree) {
  return {{"id", tree.id},
          {"volume", tree.volume},
          {"sequence", tree.sequence},
          {"path", Printable(tree.path)},
          {"writable", tree.writable},
          {"state", std::string(model::ToString(tree.state))},
          {"made_at", TimeOrNull(tree.made_at)}};
}

std::string ListingText(const VolumePoints& found) {
  Table table({"STATE", "TIME", "LABEL", "PINNED", "BYTES", ""});
  const auto add = [&](const model::RecoveryPoint& point, const std::string& bytes, const std::string& note) {
    table.Add({fmt::format("{}", point.sequence), TimeText(TimeOf(point)), point.label.empty() ? "-" : point.label,
               point.pinned ? "yes" : "no", bytes, point.completes_capture ? note : "midst of a capture"});
  };
  add(found.points.newest, "-", found.points.held ? "now, held" : "now");
  for (const model::RecoveryPoint& point : found.points.points) add(point, fmt::format("{}", point.held_bytes), "");
  std::string text = table.Text();
  if (found.points.trees.empty()) return text;
  Table trees({"TREE", "STATE", "PATH", "WRITABLE", "IS"});
  for (const model::PointTree& tree : found.points.trees) {
    trees.Add({tree.id, fmt::format("{}", tree.sequence), Printable(tree.path), tree.writable ? "yes" : "no",
               std::string(model::ToString(tree.state))});
  }
  return text + "\n" + trees.Text();
}

// The state that `text` names: a sequence, a label, or a time, at which the newest one from before it is meant.
absl::StatusOr<model::RecoveryPoint> StateOf(const VolumePoints& found, const std::string& text) {
  std::vector<model::RecoveryPoint> all = {found.points.newest};
  all.insert(all.end(), found.points.points.begin(), found.points.points.end());
  const auto first_that = [&](const auto& matches) -> absl::StatusOr<model::RecoveryPoint> {
    const auto match = std::find_if(all.begin(), all.end(), matches);
    if (match != all.end()) return *match;
    return absl::NotFoundError(fmt::format("volume {}: no state {} is kept: drctl points list {} shows what is",
                                           found.volume, Printable(text), found.volume));
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit)) {
    model::Sequence sequence = 0;
    if (!absl::SimpleAtoi(text, &sequence)) return absl::InvalidArgumentError("a state's number is too large");
    return first_that([&](const model::RecoveryPoint& point) { return point.sequence == sequence; });
  }
  absl::Time time;
  std::string why_not;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &why_not)) {
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return TimeOf(a) > TimeOf(b); });
    return first_that([&](const model::RecoveryPoint& point) {
      return point.completes_capture && TimeOf(point) != absl::UnixEpoch() && TimeOf(point) <= time;
    });
  }
  return first_that([&](const model::RecoveryPoint& point) { return point.label == text; });
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
absl::Status SyncFirst(const config::ControlConfig& config, const VolumeView& volume) {
  ASSIGN_OR_RETURN(const PrimaryClient primary,
                   PrimaryClient::Create(PairOf(config, volume.pair).primary, TlsOf(config)));
  const absl::Status synced =
      primary.Sync(volume.name, false, absl::InfiniteDuration(), [](const PrimaryVolume&) {}).status();
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
        ListingText(*found));
  return ExitCode::kDone;
}

ExitCode RunPointsCreate(const Console& console, OutputFormat format, const config::ControlConfig& config,
                         const PointsCreateOptions& options) {
  const absl::Status valid = model::ValidatePointLabel(options.label);
  if (!valid.ok()) return Fail(console, valid);
  const absl::StatusOr<VolumeView> volume = FindVolumeOf(config, options.selection);
  if (!volume.ok()) return Fail(console, volume.status());
  if (options.state.empty() && options.sync) {
    const absl::Status synced = SyncFirst(config, *volume);
    if (!synced.ok()) return Fail(console, synced);
  }
  const absl::StatusOr<VolumePoints> found = PointsOf(config, *volume);
  if (!found.ok()) return Fail(console, found.status());
  std::optional<model::Sequence> sequence;
  if (!options.state.empty()) {
    const absl::StatusOr<model::RecoveryPoint> state = StateOf(*found, options.state);
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
  const absl::StatusOr<model::RecoveryPoint> state = StateOf(*found, selection.state);
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
  const absl::StatusOr<model::RecoveryPoint> state = StateOf(*found, options.selection.state);
  if (!state.ok()) return Fail(console, state.status());
  const std::string what = fmt::format(
      "volume {}: its replica is taken from state {} ({}) to state {} ({}), and held there until drctl volumes resume "
      "{}",
      found->volume, found->points.newest.sequence, TimeText(TimeOf(found->points.newest)), state->sequence,
      TimeText(TimeOf(*state)), found->volume);
  if (!options.yes) {
    console.err << what << "\n";
    if (console.in == nullptr) {
      return Fail(console, absl::FailedPreconditionError("nothing was done; add --yes to do it"));
    }
    console.err << "Type yes: " << std::flush;
    std::string answer;
    std::getline(*console.in, answer);
    if (answer != "yes") return Fail(console, absl::FailedPreconditionError("nothing was done"));
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
  const absl::StatusOr<model::RecoveryPoint> state = StateOf(*found, options.selection.state);
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

ExitCode RunPointsRemove(const Console& console, OutputFormat format, const config::ControlConfig& config,
                         const PointsRemoveOptions& options) {
  const absl::Status valid = model::ValidatePointTreeId(options.id);
  if (!valid.ok()) return Fail(console, valid);
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, options.pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  absl::Status last = absl::NotFoundError(fmt::format("no pair is configured that could have the tree {}", options.id));
  for (const config::PairConfig& pair : narrowed->pairs) {
    const absl::StatusOr<PointsClient> client = PointsClient::Create(pair.dr, TlsOf(config));
    if (!client.ok()) return Fail(console, client.status());
    const absl::StatusOr<model::PointTree> tree = client->RemoveTree(options.id);
    if (tree.ok()) {
      Document document = ToDocument(*tree);
      document["pair"] = pair.name;
      Print(console, format, document,
            fmt::format("tree {} of volume {} is gone from {}\n", tree->id, tree->volume, Printable(tree->path)));
      return ExitCode::kDone;
    }
    // That a pair doesn't have it says less than why another one couldn't remove it.
    if (absl::IsNotFound(last) || !absl::IsNotFound(tree.status())) last = tree.status();
  }
  return Fail(console, last);
}

}  // namespace understudy::control
