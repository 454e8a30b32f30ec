#include <fmt/format.h>

#include <algorithm>
#include <istream>
#include <ostream>

#include "control/commands/commands.h"
#include "control/commands/overview.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

std::string CountText(const GuardView& guard) {
  return guard.entries_before == 0 ? "-" : fmt::format("{} of {}", guard.entries_gone, guard.entries_before);
}

// A guard that holds something back, under the name that approves it: the volume's, or the guard's kind for storage
// objects.
struct HeldBack {
  std::string name;
  std::string pair;
  GuardView guard;
  bool is_volume = true;
  bool turned = false;  // the pair's `reverse` agents have the volume
};

Document ToDocument(const HeldBack& held) {
  Document document = {{"name", Printable(held.name)}, {"pair", held.pair}};
  document.update(ToDocument(held.guard));
  return document;
}

std::vector<HeldBack> AllHeldBack(const Overview& overview) {
  std::vector<HeldBack> all;
  for (const PairView& pair : overview.pairs) {
    if (!pair.primary.ok()) continue;
    for (const GuardView& guard : pair.primary->object_guards) {
      all.push_back({.name = guard.kind, .pair = pair.name, .guard = guard, .is_volume = false});
    }
  }
  for (const VolumeView& volume : overview.volumes) {
    if (!volume.primary || !volume.primary->guard) continue;
    all.push_back({.name = volume.name, .pair = volume.pair, .guard = *volume.primary->guard, .turned = volume.turned});
  }
  return all;
}

// Guards of storage objects are no volumes: a volume's name holds no colon, and one that is called "cluster" comes
// first.
absl::StatusOr<HeldBack> FindHeldBack(const Overview& overview, const VolumeSelection& selection) {
  std::vector<HeldBack> found;
  for (const HeldBack& held : AllHeldBack(overview)) {
    const bool named = held.name == selection.name && (selection.pair.empty() || selection.pair == held.pair);
    if (named && !held.is_volume) found.push_back(held);
  }
  const absl::StatusOr<VolumeView> volume = FindVolume(overview, selection.name, selection.pair);
  const bool is_volume = volume.ok() && volume->primary && volume->primary->guard;
  if (is_volume) {
    return HeldBack{
        .name = volume->name, .pair = volume->pair, .guard = *volume->primary->guard, .turned = volume->turned};
  }
  if (found.size() == 1) return found[0];
  if (found.size() > 1) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} pairs hold this back: say which with --pair", Printable(selection.name), found.size()));
  }
  if (volume.ok()) {
    return absl::FailedPreconditionError(
        fmt::format("volume {}: no guard holds it back: there is nothing to approve", volume->name));
  }
  const bool object_guard = selection.name.find(':') != std::string::npos || selection.name == "cluster";
  if (!object_guard || !FirstUnreachable(overview).ok()) return volume.status();
  return absl::FailedPreconditionError(
      fmt::format("{}: no such guard holds anything back: there is nothing to approve", Printable(selection.name)));
}

// One table or document of what is held back.
class GuardListing {
 public:
  void Add(const HeldBack& held) {
    documents_.push_back(ToDocument(held));
    table_.Add({held.name, held.pair, Printable(held.guard.kind), CountText(held.guard), Printable(held.guard.reason)});
  }
  void PrintTo(const Console& console, OutputFormat format) const {
    Print(console, format, {{"guards", documents_}}, table_.Text());
  }

 private:
  Table table_{{"NAME", "PAIR", "GUARD", "GONE", "REASON"}};
  Document documents_ = Document::array();
};

// Where nobody can be asked, nothing goes ahead.
absl::Status Confirm(const Console& console, OutputFormat format, const HeldBack& held) {
  if (console.in == nullptr) {
    GuardListing listing;
    listing.Add(held);
    listing.PrintTo(console, format);
    return absl::FailedPreconditionError("nothing was approved; add --yes to approve it");
  }
  console.err << fmt::format("{}: {}\n", Printable(held.name), Printable(held.guard.reason));
  console.err << "Let it happen? Type yes: " << std::flush;
  std::string answer;
  std::getline(*console.in, answer);
  return answer == "yes" ? absl::OkStatus() : absl::FailedPreconditionError("nothing was approved");
}

absl::Status Approve(const config::ControlConfig& config, const HeldBack& held) {
  const auto pair = std::find_if(config.pairs.begin(), config.pairs.end(),
                                 [&](const config::PairConfig& candidate) { return candidate.name == held.pair; });
  const std::string& primary = held.turned && pair->reverse ? pair->reverse->primary : pair->primary;
  ASSIGN_OR_RETURN(const PrimaryClient client,
                   PrimaryClient::Create(primary, {config.tls.ca, config.tls.cert, config.tls.key}));
  if (held.is_volume) return client.ApproveGuard(held.name, held.guard).status();
  return client.ApproveObjectGuard(held.guard);
}

}  // namespace

ExitCode RunGuardList(const Console& console, OutputFormat format, const config::ControlConfig& config,
                      const std::string& pair) {
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  const absl::StatusOr<Overview> overview = GatherOverview(*narrowed);
  if (!overview.ok()) return Fail(console, overview.status());
  GuardListing listing;
  for (const HeldBack& held : AllHeldBack(*overview)) listing.Add(held);
  listing.PrintTo(console, format);
  PrintUnreachable(console, *overview);
  return ExitCodeFor(FirstUnreachable(*overview));
}

ExitCode RunGuardApprove(const Console& console, OutputFormat format, const config::ControlConfig& config,
                         const ApproveOptions& options) {
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, options.selection.pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  const absl::StatusOr<Overview> overview = GatherOverview(*narrowed);
  if (!overview.ok()) return Fail(console, overview.status());
  const absl::StatusOr<HeldBack> held = FindHeldBack(*overview, options.selection);
  if (!held.ok()) return Fail(console, held.status());
  if (!options.yes) {
    if (const absl::Status confirmed = Confirm(console, format, *held); !confirmed.ok())
      return Fail(console, confirmed);
  }
  if (const absl::Status approved = Approve(*narrowed, *held); !approved.ok()) {
    return Fail(console, Annotate(approved, fmt::format("{}{}", held->is_volume ? "volume " : "", held->name)));
  }
  Print(console, format, {{"approved", ToDocument(*held)}},
        fmt::format("{}: approved what the guard '{}' held back\n", held->name, Printable(held->guard.kind)));
  return ExitCode::kDone;
}

}  // namespace understudy::control
