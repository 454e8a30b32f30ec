#include <fmt/format.h>

#include <algorithm>
#include <istream>
#include <ostream>

#include "control/commands/commands.h"
#include "control/commands/overview.h"
#include "control/commands/reprotect_client.h"
#include "control/commands/sync_wait.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

// What is turned round: the volume, as both sides' agents have it.
struct Turn {
  std::string volume;
  const PairView* view = nullptr;
  config::PairConfig pair;
  DrReplica live;                  // of the side that was promoted last
  std::optional<DrReplica> other;  // what the other side's understudy-dr has of it
  bool live_at_primary = false;
};

std::optional<DrReplica> FindReplica(const absl::StatusOr<std::vector<DrReplica>>& replicas, const std::string& name) {
  if (!replicas.ok()) return std::nullopt;
  const auto found =
      std::find_if(replicas->begin(), replicas->end(), [&](const DrReplica& replica) { return replica.name == name; });
  return found == replicas->end() ? std::nullopt : std::optional(*found);
}

bool IsActive(const std::optional<DrReplica>& replica) {
  return replica && replica->state == "active";
}

// The side that was promoted last has the live copy.
absl::StatusOr<Turn> FindTurn(const Overview& overview, const config::ControlConfig& config,
                              const VolumeSelection& selection) {
  ASSIGN_OR_RETURN(const VolumeView volume, FindVolume(overview, selection.name, selection.pair));
  Turn turn;
  turn.volume = volume.name;
  for (size_t i = 0; i < overview.pairs.size(); ++i) {
    if (overview.pairs[i].name != volume.pair) continue;
    turn.view = &overview.pairs[i];
    turn.pair = config.pairs[i];
  }
  RETURN_IF_ERROR(AgentsToTurn(turn.pair, false).status());
  for (const absl::Status& status : {turn.view->primary.status(), turn.view->dr.status(),
                                     turn.view->reverse_primary.status(), turn.view->reverse_dr.status()}) {
    RETURN_IF_ERROR(status);
  }
  const std::optional<DrReplica> at_dr = FindReplica(turn.view->dr, volume.name);
  const std::optional<DrReplica> at_primary = FindReplica(turn.view->reverse_dr, volume.name);
  if (!IsActive(at_dr) && !IsActive(at_primary)) {
    return absl::FailedPreconditionError(fmt::format(
        "volume {} isn't promoted ({} at DR), so there is nothing to turn round: `drctl volumes promote {}` "
        "makes the replica the live copy first",
        volume.name, at_dr ? at_dr->state : "no replica", volume.name));
  }
  Copies copies;
  if (at_dr) copies.at_dr = CopyOf(*at_dr);
  if (at_primary) copies.at_primary = CopyOf(*at_primary);
  turn.live_at_primary = !WayOf(copies).live_at_dr;
  turn.live = turn.live_at_primary ? *at_primary : *at_dr;
  turn.other = turn.live_at_primary ? at_dr : at_primary;
  return turn;
}

std::string TextOf(const Turn& turn, const ReprotectAgents& agents) {
  return fmt::format(
      "Turn the replication of volume {} of pair {} round: from the live copy at {} (epoch {}) to the other host.\n"
      "  live copy: {}, which stays as it is and exported as it is\n"
      "  other host: what understudy-primary at {} has of the volume becomes a replica of it, exported read-only\n"
      "  what was written there and never got across stays a recovery point, before-reprotect-{}, pinned until it is "
      "released\n"
      "  no client may use the volume there from now on\n",
      turn.volume, turn.pair.name, agents.live_dr, turn.live.epoch, Printable(turn.live.root), agents.other_primary,
      turn.live.epoch);
}

// Where nobody can be asked, nothing goes ahead.
absl::Status Confirm(const Console& console, const std::string& volume, const std::string& text) {
  console.err << text;
  if (console.in == nullptr) return absl::FailedPreconditionError("nothing was done; add --yes to do it");
  console.err << "Type the volume's name to go on: " << std::flush;
  std::string answer;
  std::getline(*console.in, answer);
  return answer == volume ? absl::OkStatus() : absl::FailedPreconditionError("nothing was done");
}

absl::StatusOr<PrimaryVolume> TurnRound(const Console& console, const Turn& turn, const ReprotectAgents& agents,
                                        const net::TlsFiles& tls, bool wait) {
  ASSIGN_OR_RETURN(const ReprotectClient client, ReprotectClient::Create(agents, tls));
  const StandbyWatch watch{.on_step = [&](const std::string& step) { console.err << Printable(step) << std::endl; },
                           .on_hook =
                               [&](const model::HookResult& hook) {
                                 console.err
                                     << fmt::format("  hook {}/{}: {}\n", model::ToString(hook.phase),
                                                    Printable(hook.name), hook.ok() ? "done" : Printable(hook.problem));
                               }};
  ASSIGN_OR_RETURN(const PrimaryVolume begun, client.Reprotect({.volume = turn.volume,
                                                                .epoch = turn.live.epoch,
                                                                .live_path = turn.live.root,
                                                                .other_path = turn.other ? turn.other->root : "",
                                                                .run = ""},
                                                               watch));
  if (!wait) return begun;
  console.err << "what differs is sent" << std::endl;
  config::PairConfig pair = turn.pair;
  pair.primary = agents.live_primary;
  ProgressLine progress(console);
  return SyncOne({turn.volume, pair}, tls, {.published = true}, absl::InfiniteDuration(), progress);
}

}  // namespace

ExitCode RunVolumesReprotect(const Console& console, OutputFormat format, const config::ControlConfig& config,
                             const ReprotectOptions& options) {
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, options.selection.pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  const absl::StatusOr<Overview> overview = GatherOverview(*narrowed);
  if (!overview.ok()) return Fail(console, overview.status());
  const absl::StatusOr<Turn> turn = FindTurn(*overview, *narrowed, options.selection);
  if (!turn.ok()) return Fail(console, turn.status());
  const absl::StatusOr<ReprotectAgents> agents = AgentsToTurn(turn->pair, turn->live_at_primary);
  if (!agents.ok()) return Fail(console, agents.status());
  // What was begun goes on without asking: that was decided.
  if (!options.yes && !turn->live.reprotected) {
    const absl::Status confirmed = Confirm(console, turn->volume, TextOf(*turn, *agents));
    if (!confirmed.ok()) return Fail(console, confirmed);
  }
  const absl::StatusOr<PrimaryVolume> turned =
      TurnRound(console, *turn, *agents, {config.tls.ca, config.tls.cert, config.tls.key}, options.wait);
  if (!turned.ok()) return Fail(console, Annotate(turned.status(), fmt::format("reprotect {}", turn->volume)));
  const Direction direction = turn->live_at_primary ? Direction::kToDr : Direction::kToPrimary;
  Print(console, format,
        {{"volume", turn->volume},
         {"pair", turn->pair.name},
         {"direction", std::string(ToString(direction))},
         {"epoch", turn->live.epoch},
         {"state", turned->state},
         {"path", Printable(turned->path)},
         {"replica_path", Printable(turned->replica_path)},
         {"content_bytes_sent", turned->content_bytes_sent}},
        fmt::format("volume {} is replicated from '{}' ({}) to '{}' ({}) at epoch {}\n", turn->volume,
                    Printable(turned->path), agents->live_primary, Printable(turned->replica_path), agents->other_dr,
                    turn->live.epoch));
  return ExitCode::kDone;
}

}  // namespace understudy::control
