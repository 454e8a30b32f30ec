#include "control/commands/overview.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <map>

#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

constexpr char kNothing[] = "-";
constexpr char kPromoted[] = "promoted";

net::TlsFiles TlsOf(const config::ControlConfig& config) {
  return {config.tls.ca, config.tls.cert, config.tls.key};
}

Document TextOrNull(const std::string& text) {
  return text.empty() ? Document(nullptr) : Document(Printable(text));
}

Document TimeOrNull(const std::optional<absl::Time>& time) {
  return time ? Document(Rfc3339(*time)) : Document(nullptr);
}

Document ConsistencyOrNull(model::Consistency consistency) {
  if (consistency == model::Consistency::kUnknown) return nullptr;
  return std::string(model::ToString(consistency));
}

Document ToDocument(const DrReplica& replica) {
  return {{"state", replica.state},
          {"sequence", replica.sequence},
          {"published_sequence", replica.published_sequence},
          {"epoch", replica.epoch},
          {"complete", replica.complete},
          {"path", Printable(replica.root)},
          {"captured_at", TimeOrNull(replica.captured_at)},
          {"midst_of_capture", replica.midst_of_capture},
          {"whole_sequence", replica.whole_sequence == 0 ? Document(nullptr) : Document(replica.whole_sequence)},
          {"whole_captured_at", TimeOrNull(replica.whole_captured_at)},
          {"consistency", ConsistencyOrNull(replica.consistency)},
          {"whole_consistency", ConsistencyOrNull(replica.whole_consistency)},
          {"state_since", TimeOrNull(replica.state_since)},
          {"hooks_due", replica.hooks_due},
          {"reprotected", replica.reprotected},
          {"held", replica.held}};
}

std::string ErrorOf(const absl::Status& status) {
  return status.ok() ? "" : std::string(MessageOf(status));
}

// A volume that was promoted at DR has no replica to lag behind.
bool HasLag(const PrimaryVolume& volume) {
  return volume.state != kPromoted && volume.state != kHandedOver;
}

std::string LagText(const VolumeView& volume) {
  return volume.primary && HasLag(*volume.primary) ? fmt::format("{:.1f} s", volume.primary->lag_seconds) : kNothing;
}

// What DR itself has begun, or waits for, and what to do about it; empty: nothing.
std::string UnfinishedLine(const VolumeView& volume, const DrReplica& replica) {
  if (replica.state == "promoting" || replica.state == "demoting") {
    const std::string_view command = replica.state == "promoting" ? "promote" : "demote";
    return fmt::format("{0} is {1} at DR (epoch {2}), which isn't finished: `drctl volumes {3} {0}` goes on with it\n",
                       volume.name, replica.state, replica.epoch, command);
  }
  if (replica.hooks_due) {
    const bool active = replica.state == "active";
    return fmt::format(
        "{0} is {1} at DR (epoch {2}), but not all {3} hooks have run: `drctl volumes {4} {0}` runs them\n",
        volume.name, replica.state, replica.epoch, active ? "post-promote" : "post-demote",
        active ? "promote" : "demote");
  }
  if (replica.held) {
    return fmt::format(
        "{0} was taken back to an earlier state at DR, and is held there: `drctl volumes resume {0}` lets its primary "
        "bring it up to date again, `drctl volumes promote {0}` makes it the live copy as it is\n",
        volume.name);
  }
  // While its primary is there, that is on its way.
  if (replica.midst_of_capture && !volume.primary_reachable) {
    return fmt::format("{0} is in the midst of a capture at DR, a state that its primary never had: {1}\n", volume.name,
                       replica.whole_sequence == 0
                           ? "no earlier one is kept that it had, and it is promoted with --incomplete only"
                           : fmt::format("`drctl points rewind {} {}` leads to the newest one that it had", volume.name,
                                         replica.whole_sequence));
  }
  return "";
}

// What to do about a replica that is no standby as it should be; empty: nothing. DR knows its own state best: what the
// primary was last told of it may have ended meanwhile, and it isn't told of all.
std::string PromotionLine(const VolumeView& volume) {
  if (volume.replica) {
    std::string unfinished = UnfinishedLine(volume, *volume.replica);
    if (!unfinished.empty()) return unfinished;
  }
  if (volume.replica && volume.replica->reprotected) {
    return fmt::format(
        "{0} lives at DR (epoch {1}), and is replicated from there to the other side: `drctl volumes reprotect {0}` "
        "goes on with what isn't finished, and turns it round once the other side is promoted\n",
        volume.name, volume.replica->epoch);
  }
  if (volume.primary && volume.primary->state == kPromoted) {
    return fmt::format("{}: {}\n", volume.name, Printable(volume.primary->error));
  }
  if (!volume.replica || volume.replica->state != "active") return "";
  const DrReplica& replica = *volume.replica;
  return fmt::format(
      "{0} is promoted at DR (epoch {1}): the copy there is the live one, and nothing is replicated to it. `drctl "
      "volumes "
      "demote {0}` makes it a replica again, with the primary's data; `drctl volumes reprotect {0}` turns replication "
      "round\n",
      volume.name, replica.epoch);
}

const DrReplica* FindByName(const absl::StatusOr<std::vector<DrReplica>>& replicas, const std::string& name) {
  if (!replicas.ok()) return nullptr;
  const auto found =
      std::find_if(replicas->begin(), replicas->end(), [&](const DrReplica& replica) { return replica.name == name; });
  return found == replicas->end() ? nullptr : &*found;
}

const PrimaryVolume* FindByName(const absl::StatusOr<PrimaryVolumes>& volumes, const std::string& name) {
  if (!volumes.ok()) return nullptr;
  const auto found = std::find_if(volumes->volumes.begin(), volumes->volumes.end(),
                                  [&](const PrimaryVolume& volume) { return volume.name == name; });
  return found == volumes->volumes.end() ? nullptr : &*found;
}

void LookAtDirection(const PairView& pair, VolumeView& volume) {
  const DrReplica* const there = FindByName(pair.reverse_dr, volume.name);
  Copies copies;
  if (volume.replica) copies.at_dr = CopyOf(*volume.replica);
  if (there != nullptr) copies.at_primary = CopyOf(*there);
  const VolumeWay way = WayOf(copies);
  volume.turned = !pair.reverse_dr_address.empty() && way.reversed;
  if (volume.turned) {
    const PrimaryVolume* const primary = FindByName(pair.reverse_primary, volume.name);
    volume.primary = primary != nullptr ? std::optional(*primary) : std::nullopt;
    volume.replica = there != nullptr ? std::optional(*there) : std::nullopt;
    volume.primary_reachable = pair.reverse_primary.ok();
  }
  const bool handed_over = volume.primary && volume.primary->state == kHandedOver;
  volume.direction = handed_over ? Direction::kNone : way.direction;
}

std::string OrNothing(const std::string& text) {
  return text.empty() ? kNothing : Printable(text);
}

}  // namespace

config::PairConfig AgentsOf(const config::PairConfig& pair, const VolumeView& volume) {
  return volume.turned && pair.reverse ? config::Reversed(pair) : pair;
}

std::string VolumeView::State() const {
  if (primary) return primary->state;
  return primary_reachable ? "unknown" : "unreachable";
}

absl::StatusOr<Overview> GatherOverview(const config::ControlConfig& config) {
  struct Asked {
    std::future<absl::StatusOr<PrimaryVolumes>> primary;
    std::future<absl::StatusOr<std::vector<DrReplica>>> dr;
  };
  const auto ask = [&](const std::string& primary_address, const std::string& dr_address) -> absl::StatusOr<Asked> {
    ASSIGN_OR_RETURN(PrimaryClient primary, PrimaryClient::Create(primary_address, TlsOf(config)));
    ASSIGN_OR_RETURN(ReplicaClient dr, ReplicaClient::Create(dr_address, TlsOf(config)));
    return Asked{std::async(std::launch::async, [client = std::move(primary)] { return client.ListVolumes(); }),
                 std::async(std::launch::async, [client = std::move(dr)] { return client.ListReplicas(); })};
  };
  std::vector<Asked> asked;
  std::map<size_t, Asked> asked_in_reverse;  // by the pair's place
  for (size_t i = 0; i < config.pairs.size(); ++i) {
    const config::PairConfig& pair = config.pairs[i];
    ASSIGN_OR_RETURN(Asked agents, ask(pair.primary, pair.dr));
    asked.push_back(std::move(agents));
    if (!pair.reverse) continue;
    ASSIGN_OR_RETURN(asked_in_reverse[i], ask(pair.reverse->primary, pair.reverse->dr));
  }
  Overview overview;
  for (size_t i = 0; i < asked.size(); ++i) {
    const config::PairConfig& pair = config.pairs[i];
    overview.pairs.push_back({pair.name, pair.primary, pair.dr, asked[i].primary.get(), asked[i].dr.get()});
    const auto reverse = asked_in_reverse.find(i);
    if (reverse == asked_in_reverse.end()) continue;
    PairView& view = overview.pairs.back();
    view.reverse_primary_address = pair.reverse->primary;
    view.reverse_dr_address = pair.reverse->dr;
    view.reverse_primary = reverse->second.primary.get();
    view.reverse_dr = reverse->second.dr.get();
  }
  overview.volumes = MergeVolumes(overview.pairs);
  return overview;
}

std::vector<VolumeView> MergeVolumes(const std::vector<PairView>& pairs) {
  std::vector<VolumeView> volumes;
  for (const PairView& pair : pairs) {
    std::map<std::string, VolumeView> by_name;
    if (pair.primary.ok()) {
      for (const PrimaryVolume& volume : pair.primary->volumes) by_name[volume.name].primary = volume;
    }
    if (pair.dr.ok()) {
      for (const DrReplica& replica : *pair.dr) by_name[replica.name].replica = replica;
    }
    // What was made at DR while that was live.
    if (pair.reverse_dr.ok()) {
      for (const DrReplica& replica : *pair.reverse_dr) by_name.try_emplace(replica.name);
    }
    for (auto& [name, volume] : by_name) {
      volume.name = name;
      volume.pair = pair.name;
      volume.primary_reachable = pair.primary.ok();
      LookAtDirection(pair, volume);
      volumes.push_back(std::move(volume));
    }
  }
  return volumes;
}

absl::Status FirstUnreachable(const Overview& overview) {
  for (const PairView& pair : overview.pairs) {
    if (!pair.primary.ok()) return pair.primary.status();
    if (!pair.dr.ok()) return pair.dr.status();
    RETURN_IF_ERROR(pair.reverse_primary.status());
    RETURN_IF_ERROR(pair.reverse_dr.status());
  }
  return absl::OkStatus();
}

absl::StatusOr<VolumeView> FindVolume(const Overview& overview, const std::string& name, const std::string& pair) {
  std::vector<VolumeView> found;
  for (const VolumeView& volume : overview.volumes) {
    const bool pair_fits = pair.empty() || volume.pair == pair;
    if (volume.name == name && pair_fits) found.push_back(volume);
  }
  if (found.size() == 1) return found[0];
  if (found.size() > 1) {
    return absl::InvalidArgumentError(
        fmt::format("volume {}: {} pairs have one of that name: say which with --pair", Printable(name), found.size()));
  }
  RETURN_IF_ERROR(FirstUnreachable(overview));
  return absl::NotFoundError(fmt::format("no volume {}: drctl volumes list shows what there is", Printable(name)));
}

absl::StatusOr<config::ControlConfig> OnlyPair(config::ControlConfig config, const std::string& name) {
  if (name.empty()) return config;
  std::erase_if(config.pairs, [&](const config::PairConfig& pair) { return pair.name != name; });
  if (config.pairs.empty()) return absl::NotFoundError(fmt::format("no pair {} in the configuration", Printable(name)));
  return config;
}

void PrintUnreachable(const Console& console, const Overview& overview) {
  for (const PairView& pair : overview.pairs) {
    for (const absl::Status& status :
         {pair.primary.status(), pair.dr.status(), pair.reverse_primary.status(), pair.reverse_dr.status()}) {
      if (!status.ok()) PrintError(console, Annotate(status, fmt::format("pair {}", pair.name)));
    }
  }
}

Document ToDocument(const GuardView& guard) {
  return {{"kind", guard.kind},
          {"reason", Printable(guard.reason)},
          {"entries_gone", guard.entries_gone},
          {"entries_before", guard.entries_before},
          {"since", Rfc3339(guard.since)}};
}

Document ToDocument(const ObjectsView& objects) {
  Document problems = Document::array();
  for (const ObjectProblemView& problem : objects.problems) {
    problems.push_back({{"kind", problem.kind},
                        {"namespace", TextOrNull(problem.namespace_name)},
                        {"name", Printable(problem.name)},
                        {"held", problem.held},
                        {"reason", Printable(problem.message)}});
  }
  Document errors = Document::array();
  for (const std::string& error : objects.following_errors) errors.push_back(Printable(error));
  return {{"pending", objects.pending},
          {"waiting", objects.waiting},
          {"reconciled", objects.reconciled},
          {"problems", std::move(problems)},
          {"errors", std::move(errors)}};
}

Document ToDocument(const PrimaryVolume& volume) {
  return {{"path", Printable(volume.path)},
          {"replica_path", Printable(volume.replica_path)},
          {"error", TextOrNull(volume.error)},
          {"lag_seconds", HasLag(volume) ? Document(volume.lag_seconds) : Document(nullptr)},
          {"sequence", volume.sequence},
          {"published_sequence", volume.published_sequence},
          {"epoch", volume.epoch},
          {"strategy", TextOrNull(volume.strategy)},
          {"strategy_reason", TextOrNull(volume.strategy_reason)},
          {"consistency", TextOrNull(volume.consistency)},
          {"dirty_paths", volume.dirty_paths},
          {"files", volume.files},
          {"content_bytes_sent", volume.content_bytes_sent},
          {"commits", volume.commits},
          {"last_acknowledged",
           volume.last_acknowledged ? Document(Rfc3339(*volume.last_acknowledged)) : Document(nullptr)},
          {"origin", volume.origin},
          {"complete", volume.complete},
          {"guard", volume.guard ? ToDocument(*volume.guard) : Document(nullptr)},
          {"paused_reason", TextOrNull(volume.paused_reason)},
          {"paused_since", TimeOrNull(volume.paused_since)},
          {"handed_over_reason", TextOrNull(volume.handed_over_reason)}};
}

Document ToDocument(const VolumeView& volume) {
  Document document = {{"name", volume.name}, {"pair", volume.pair}, {"state", volume.State()}};
  document["direction"] = std::string(ToString(volume.direction));
  if (volume.primary) {
    document.update(ToDocument(*volume.primary));
  } else {
    // The primary can't say: the names stay, so that a program needn't ask whether they are there.
    const Document names = ToDocument(PrimaryVolume());
    for (const auto& [key, value] : names.items()) document[key] = nullptr;
    document["replica_path"] = TextOrNull(volume.replica ? volume.replica->root : "");
    if (volume.replica) {
      document["sequence"] = volume.replica->sequence;
      document["published_sequence"] = volume.replica->published_sequence;
      document["epoch"] = volume.replica->epoch;
      document["complete"] = volume.replica->complete;
    }
  }
  document["replica"] = volume.replica ? ToDocument(*volume.replica) : Document(nullptr);
  return document;
}

Document ToDocument(const PairView& pair) {
  Document primary = {{"address", pair.primary_address},
                      {"reachable", pair.primary.ok()},
                      {"error", TextOrNull(ErrorOf(pair.primary.status()))},
                      {"peer_connected", nullptr},
                      {"peer_error", nullptr}};
  primary["objects"] = nullptr;
  primary["object_guards"] = Document::array();
  if (pair.primary.ok()) {
    primary["peer_connected"] = pair.primary->peer_connected;
    primary["peer_error"] = TextOrNull(pair.primary->peer_error);
    if (pair.primary->objects) primary["objects"] = ToDocument(*pair.primary->objects);
    for (const GuardView& guard : pair.primary->object_guards) primary["object_guards"].push_back(ToDocument(guard));
  }
  Document dr = {
      {"address", pair.dr_address}, {"reachable", pair.dr.ok()}, {"error", TextOrNull(ErrorOf(pair.dr.status()))}};
  Document reverse = nullptr;
  if (!pair.reverse_dr_address.empty()) {
    const auto agent = [](const std::string& address, const absl::Status& status) -> Document {
      return {{"address", address}, {"reachable", status.ok()}, {"error", TextOrNull(ErrorOf(status))}};
    };
    reverse = {{"primary", agent(pair.reverse_primary_address, pair.reverse_primary.status())},
               {"dr", agent(pair.reverse_dr_address, pair.reverse_dr.status())}};
  }
  return {{"name", pair.name}, {"primary", std::move(primary)}, {"dr", std::move(dr)}, {"reverse", std::move(reverse)}};
}

std::string VolumesTable(const std::vector<VolumeView>& volumes) {
  Table table({"VOLUME", "PAIR", "STATE", "LAG", "SEQUENCE", "EPOCH", "STRATEGY", "REPLICA", "DIRECTION"});
  for (const VolumeView& volume : volumes) {
    const bool known = volume.primary || volume.replica;
    const uint64_t sequence = volume.primary ? volume.primary->sequence : known ? volume.replica->sequence : 0;
    const uint64_t epoch = volume.primary ? volume.primary->epoch : known ? volume.replica->epoch : 0;
    table.Add({volume.name, volume.pair, volume.State(), LagText(volume), fmt::format("{}", sequence),
               fmt::format("{}", epoch), OrNothing(volume.primary ? volume.primary->strategy : ""),
               OrNothing(volume.replica ? volume.replica->state : ""), std::string(ToString(volume.direction))});
  }
  return table.Text();
}

std::string HeldBackLines(const Overview& overview) {
  std::string text;
  for (const PairView& pair : overview.pairs) {
    if (!pair.primary.ok()) continue;
    for (const GuardView& guard : pair.primary->object_guards) {
      text += fmt::format("pair {}: {}\n", pair.name, Printable(guard.reason));
    }
    if (!pair.primary->objects) continue;
    for (const ObjectProblemView& problem : pair.primary->objects->problems) {
      if (!problem.held) continue;
      text +=
          fmt::format("pair {}: {} {}{}{} is held: {}\n", pair.name, problem.kind, Printable(problem.namespace_name),
                      problem.namespace_name.empty() ? "" : "/", Printable(problem.name), Printable(problem.message));
    }
    for (const std::string& error : pair.primary->objects->following_errors) {
      text += fmt::format("pair {}: the primary cluster can't be followed: {}\n", pair.name, Printable(error));
    }
  }
  for (const VolumeView& volume : overview.volumes) {
    text += PromotionLine(volume);
    if (!volume.primary) continue;
    if (!volume.primary->handed_over_reason.empty()) text += Printable(volume.primary->handed_over_reason) + "\n";
    if (!volume.primary->paused_reason.empty()) text += Printable(volume.primary->paused_reason) + "\n";
    if (!volume.primary->guard) continue;
    text += fmt::format("{} is held back: {}\n", volume.name, Printable(volume.primary->guard->reason));
  }
  return text;
}

std::string PairsTable(const std::vector<PairView>& pairs) {
  Table table({"PAIR", "AGENT", "ADDRESS", "STATE"});
  for (const PairView& pair : pairs) {
    std::string primary_state = pair.primary.ok() ? "connected to dr" : "unreachable";
    if (pair.primary.ok() && !pair.primary->peer_connected) {
      primary_state = fmt::format("not connected to dr: {}", OrNothing(pair.primary->peer_error));
    }
    table.Add({pair.name, "primary", pair.primary_address, primary_state});
    table.Add({pair.name, "dr", pair.dr_address, pair.dr.ok() ? "reachable" : "unreachable"});
    if (pair.reverse_dr_address.empty()) continue;
    table.Add({pair.name, "primary (reverse)", pair.reverse_primary_address,
               pair.reverse_primary.ok() ? "reachable" : "unreachable"});
    table.Add({pair.name, "dr (reverse)", pair.reverse_dr_address, pair.reverse_dr.ok() ? "reachable" : "unreachable"});
  }
  return table.Text();
}

std::string VolumeLines(const VolumeView& volume) {
  std::string text;
  const auto add = [&](std::string_view prefix, const Document& document) {
    for (const auto& [key, value] : document.items()) {
      if (value.is_object()) continue;
      const std::string shown = value.is_null()     ? kNothing
                                : value.is_string() ? value.get<std::string>()
                                                    : value.dump();
      text += fmt::format("{:<28}{}\n", fmt::format("{}{}", prefix, key), shown);
    }
  };
  const Document document = ToDocument(volume);
  add("", document);
  if (volume.primary && volume.primary->guard) add("guard.", document.at("guard"));
  if (volume.replica) add("replica.", document.at("replica"));
  return text;
}

}  // namespace understudy::control
