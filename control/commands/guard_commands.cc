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

// One table or document of what is held back.
class GuardListing {
 public:
  void Add(const VolumeView& volume, const GuardView& guard) {
    Document document = {{"name", volume.name}, {"pair", volume.pair}};
    document.update(ToDocument(guard));
    documents_.push_back(std::move(document));
    table_.Add({volume.name, volume.pair, Printable(guard.kind), CountText(guard), Printable(guard.reason)});
  }
  void PrintTo(const Console& console, OutputFormat format) const {
    Print(console, format, {{"guards", documents_}}, table_.Text());
  }

 private:
  Table table_{{"VOLUME", "PAIR", "GUARD", "GONE", "REASON"}};
  Document documents_ = Document::array();
};

// Where nobody can be asked, nothing goes ahead.
absl::Status Confirm(const Console& console, OutputFormat format, const VolumeView& volume, const GuardView& guard) {
  if (console.in == nullptr) {
    GuardListing listing;
    listing.Add(volume, guard);
    listing.PrintTo(console, format);
    return absl::FailedPreconditionError("nothing was approved; add --yes to approve it");
  }
  console.err << fmt::format("{}: {}\n", volume.name, Printable(guard.reason));
  console.err << "Let it happen? Type yes: " << std::flush;
  std::string answer;
  std::getline(*console.in, answer);
  return answer == "yes" ? absl::OkStatus() : absl::FailedPreconditionError("nothing was approved");
}

absl::StatusOr<PrimaryVolume> Approve(const config::ControlConfig& config, const VolumeView& volume,
                                      const GuardView& guard) {
  const auto pair = std::find_if(config.pairs.begin(), config.pairs.end(),
                                 [&](const config::PairConfig& candidate) { return candidate.name == volume.pair; });
  ASSIGN_OR_RETURN(const PrimaryClient client,
                   PrimaryClient::Create(pair->primary, {config.tls.ca, config.tls.cert, config.tls.key}));
  return client.ApproveGuard(volume.name, guard);
}

}  // namespace

ExitCode RunGuardList(const Console& console, OutputFormat format, const config::ControlConfig& config,
                      const std::string& pair) {
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  const absl::StatusOr<Overview> overview = GatherOverview(*narrowed);
  if (!overview.ok()) return Fail(console, overview.status());
  GuardListing listing;
  for (const VolumeView& volume : overview->volumes) {
    if (!volume.primary || !volume.primary->guard) continue;
    listing.Add(volume, *volume.primary->guard);
  }
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
  const absl::StatusOr<VolumeView> volume = FindVolume(*overview, options.selection.name, options.selection.pair);
  if (!volume.ok()) return Fail(console, volume.status());
  if (!volume->primary || !volume->primary->guard) {
    return Fail(console, absl::FailedPreconditionError(fmt::format(
                             "volume {}: no guard holds it back: there is nothing to approve", volume->name)));
  }
  const GuardView& guard = *volume->primary->guard;
  if (!options.yes) {
    if (const absl::Status confirmed = Confirm(console, format, *volume, guard); !confirmed.ok())
      return Fail(console, confirmed);
  }
  const absl::StatusOr<PrimaryVolume> approved = Approve(*narrowed, *volume, guard);
  if (!approved.ok()) return Fail(console, Annotate(approved.status(), fmt::format("volume {}", volume->name)));
  Document document = {{"name", volume->name}, {"pair", volume->pair}};
  document.update(ToDocument(guard));
  Print(console, format, {{"approved", std::move(document)}},
        fmt::format("{}: approved what the guard '{}' held back\n", volume->name, Printable(guard.kind)));
  return ExitCode::kDone;
}

}  // namespace understudy::control
