#include <fmt/format.h>

#include <algorithm>
#include <istream>
#include <ostream>
#include <vector>

#include "absl/time/clock.h"
#include "control/commands/commands.h"
#include "control/commands/overview.h"
#include "control/commands/standby_client.h"
#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

// "3m12s", without parts of a second.
std::string AgeText(absl::Time since) {
  return absl::FormatDuration(absl::Trunc(std::max(absl::ZeroDuration(), absl::Now() - since), absl::Seconds(1)));
}

// The volume and its replica; both commands need that one. Only what is asked for need be reachable: DR.
absl::StatusOr<VolumeView> FindReplica(const Overview& overview, const VolumeSelection& selection) {
  std::vector<VolumeView> found;
  for (const VolumeView& volume : overview.volumes) {
    if (volume.name == selection.name && volume.replica) found.push_back(volume);
  }
  if (found.size() > 1) {
    return absl::InvalidArgumentError(fmt::format("volume {}: {} pairs have one of that name: say which with --pair",
                                                  Printable(selection.name), found.size()));
  }
  if (found.size() == 1) return found[0];
  for (const PairView& pair : overview.pairs) {
    RETURN_IF_ERROR(pair.dr.status());
    RETURN_IF_ERROR(pair.reverse_dr.status());
  }
  return absl::NotFoundError(fmt::format("no replica of a volume {} at DR: drctl volumes list shows what there is",
                                         Printable(selection.name)));
}

std::string DataText(const VolumeView& volume) {
  const DrReplica& replica = *volume.replica;
  std::string text = fmt::format("  data at DR: commit {}", replica.sequence);
  if (replica.midst_of_capture) {
    text += ", the midst of a capture: NOT a state that the primary ever had";
    text += replica.whole_sequence == 0
                ? ", and no earlier one is kept that it had"
                : fmt::format(". `drctl points rewind {} {}` leads to the newest one that it had{}", replica.name,
                              replica.whole_sequence,
                              replica.whole_captured_at ? ", of " + Rfc3339Seconds(*replica.whole_captured_at) : "");
  } else if (replica.captured_at) {
    text += fmt::format(", as the primary had it at {} ({} ago)", Rfc3339Seconds(*replica.captured_at),
                        AgeText(*replica.captured_at));
    if (replica.consistency != model::Consistency::kUnknown) {
      text += fmt::format(", {}", model::ToString(replica.consistency));
    }
  }
  if (replica.demoted_whole) text += "; as it was when the volume was demoted";
  if (!replica.complete && !replica.demoted_whole) text += "; NOT the whole volume: it was never across as a whole";
  text += "\n";
  if (!volume.primary) {
    return text + fmt::format("  primary: {}: what was written there since then is lost\n",
                              volume.primary_reachable ? "doesn't know the volume" : "can't be reached");
  }
  return text + fmt::format(
                    "  primary: {}, {:.1f} s of changes aren't at DR. Stop its clients, then `drctl volumes sync "
                    "{}`: what isn't across by now is lost\n",
                    Printable(volume.primary->state), volume.primary->lag_seconds, volume.name);
}

std::string PromotionText(const VolumeView& volume) {
  const DrReplica& replica = *volume.replica;
  return fmt::format(
             "Promote volume {} of pair {}: the copy at DR becomes the live one.\n"
             "  folder: {}, exported read-write from then on\n"
             "  epoch: {} becomes {}; the primary's replication is refused from then on\n"
             "  older recovery points of the replica are given up\n",
             volume.name, volume.pair, Printable(replica.root), replica.epoch, replica.epoch + 1) +
         DataText(volume);
}

std::string DemotionText(const VolumeView& volume) {
  const DrReplica& replica = *volume.replica;
  const std::string since = replica.state_since ? fmt::format(" since {}", Rfc3339Seconds(*replica.state_since)) : "";
  return fmt::format(
      "Demote volume {} of pair {}: the copy at DR becomes a replica again.\n"
      "  folder: {}, exported read-only from then on\n"
      "  what was written at DR{} is replaced by the primary's data as soon as that is compared; it can be brought "
      "back "
      "as a recovery point while those are kept\n",
      volume.name, volume.pair, Printable(replica.root), since);
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

Document ToDocument(const model::HookResult& hook) {
  return {{"phase", std::string(model::ToString(hook.phase))},
          {"name", Printable(hook.name)},
          {"ok", hook.ok()},
          {"optional", hook.optional},
          {"error", hook.ok() ? Document(nullptr) : Document(Printable(hook.problem))},
          {"output", hook.output},
          {"output_left_out_bytes", hook.output_left_out_bytes},
          {"seconds", absl::ToDoubleSeconds(hook.took)}};
}

void PrintHook(const Console& console, const model::HookResult& hook) {
  const std::string outcome = hook.ok() ? "done" : hook.problem + (hook.optional ? " (optional)" : "");
  console.err << fmt::format("  hook {}/{}: {}\n", model::ToString(hook.phase), Printable(hook.name),
                             Printable(outcome));
  if (hook.ok() || hook.output.empty()) return;
  for (size_t begin = 0; begin < hook.output.size();) {
    const size_t end = std::min(hook.output.find('\n', begin), hook.output.size());
    console.err << "    | " << Printable(hook.output.substr(begin, end - begin)) << "\n";
    begin = end + 1;
  }
}

struct Change {
  const char* word;       // "promote"
  const char* from;       // the state that needs somebody's consent
  const char* also_from;  // likewise; empty: none
  const char* done_text;  // "is active at DR"
  std::string (*text)(const VolumeView&);
  std::function<absl::StatusOr<DrReplica>(const StandbyClient&, const StandbyWatch&)> call;
};

ExitCode RunChange(const Console& console, OutputFormat format, const config::ControlConfig& config,
                   const PromotionOptions& options, const Change& change) {
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, options.selection.pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  const absl::StatusOr<Overview> overview = GatherOverview(*narrowed);
  if (!overview.ok()) return Fail(console, overview.status());
  const absl::StatusOr<VolumeView> volume = FindReplica(*overview, options.selection);
  if (!volume.ok()) return Fail(console, volume.status());
  // What was begun goes on without asking: that was decided.
  const std::string& state = volume->replica->state;
  if (!options.yes && (state == change.from || state == change.also_from)) {
    const absl::Status confirmed = Confirm(console, volume->name, change.text(*volume));
    if (!confirmed.ok()) return Fail(console, confirmed);
  }
  const auto pair = std::find_if(narrowed->pairs.begin(), narrowed->pairs.end(),
                                 [&](const config::PairConfig& candidate) { return candidate.name == volume->pair; });
  const auto client =
      StandbyClient::Create(AgentsOf(*pair, *volume).dr, {config.tls.ca, config.tls.cert, config.tls.key});
  if (!client.ok()) return Fail(console, client.status());
  Document hooks = Document::array();
  const StandbyWatch watch{.on_step = [&](const std::string& step) { console.err << Printable(step) << std::endl; },
                           .on_hook =
                               [&](const model::HookResult& hook) {
                                 hooks.push_back(ToDocument(hook));
                                 PrintHook(console, hook);
                               }};
  const absl::StatusOr<DrReplica> replica = change.call(*client, watch);
  if (!replica.ok()) return Fail(console, Annotate(replica.status(), fmt::format("{} {}", change.word, volume->name)));
  Print(console, format,
        {{"volume", replica->name},
         {"pair", volume->pair},
         {"state", replica->state},
         {"epoch", replica->epoch},
         {"sequence", replica->sequence},
         {"replica_path", Printable(replica->root)},
         {"hooks", std::move(hooks)}},
        fmt::format("volume {} {} (epoch {}), in {}\n", replica->name, change.done_text, replica->epoch,
                    Printable(replica->root)));
  return ExitCode::kDone;
}

}  // namespace

ExitCode RunVolumesPromote(const Console& console, OutputFormat format, const config::ControlConfig& config,
                           const PromotionOptions& options) {
  const Change change{.word = "promote",
                      .from = "standby",
                      .also_from = "",
                      .done_text = "is active at DR",
                      .text = PromotionText,
                      .call = [&](const StandbyClient& client, const StandbyWatch& watch) {
                        return client.Promote(
                            {.volume = options.selection.name, .allow_incomplete = options.incomplete}, watch);
                      }};
  return RunChange(console, format, config, options, change);
}

ExitCode RunVolumesDemote(const Console& console, OutputFormat format, const config::ControlConfig& config,
                          const PromotionOptions& options) {
  const Change change{.word = "demote",
                      .from = "active",
                      .also_from = "promoting",  // clients may write already
                      .done_text = "is a standby at DR; its primary compares it next",
                      .text = DemotionText,
                      .call = [&](const StandbyClient& client, const StandbyWatch& watch) {
                        return client.Demote({.volume = options.selection.name}, watch);
                      }};
  return RunChange(console, format, config, options, change);
}

}  // namespace understudy::control
