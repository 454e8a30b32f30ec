#include "tests/fault/fault_pair.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "nlohmann/json.hpp"
#include "tests/support/tree_compare.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

constexpr uint64_t kDiskMegabytes = 1024;
constexpr uint64_t kMostStepsOfRound = 30;
constexpr uint64_t kSeedOfShortForm = 1;
constexpr char kCyclesVariable[] = "UNDERSTUDY_FAULT_CYCLES";
constexpr char kVolume[] = "web";

absl::StatusOr<nlohmann::json> StatusOfVolume(Site& site) {
  const ProcessResult result = site.Drctl({"status", "-o", "json"});
  const nlohmann::json status = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  if (status.is_object()) {
    for (const nlohmann::json& volume : status.at("volumes")) {
      if (volume.at("name") == kVolume) return volume;
    }
  }
  return absl::UnavailableError(result.err);
}

}  // namespace

uint64_t SeedOfRun() {
  uint64_t seed = kSeedOfShortForm;
  if (const char* text = std::getenv("UNDERSTUDY_SEED"); text != nullptr) {
    seed = std::strtoull(text, nullptr, 10);
  } else if (std::getenv(kCyclesVariable) != nullptr) {
    seed = static_cast<uint64_t>(absl::ToUnixMicros(Clock::System().Now()));
  }
  fmt::print("seed: run again with UNDERSTUDY_SEED={}\n", seed);
  std::fflush(stdout);  // a run that is killed still says how to run it again
  return seed;
}

int CyclesOfRun(int kinds, int otherwise) {
  const char* text = std::getenv(kCyclesVariable);
  if (text == nullptr) return otherwise;
  int cycles = 0;
  UNDERSTUDY_CHECK(absl::SimpleAtoi(text, &cycles) && cycles > 0);
  return (cycles + kinds - 1) / kinds;
}

absl::StatusOr<std::unique_ptr<FaultPair>> FaultPair::Start(std::string_view type, uint64_t seed) {
  std::unique_ptr<FaultPair> pair(new FaultPair(seed));
  ASSIGN_OR_RETURN(pair->primary_disk_, LoopMount::Make(type, kDiskMegabytes));
  ASSIGN_OR_RETURN(pair->dr_disk_, LoopMount::Make(type, kDiskMegabytes));
  ASSIGN_OR_RETURN(pair->site_,
                   Site::Make({.primary_folder = pair->primary_disk_->Path(), .dr_folder = pair->dr_disk_->Path()}));
  pair->workload_ = std::make_unique<Workload>(pair->site_->Volume(kVolume), pair->random_());
  RETURN_IF_ERROR(pair->site_->StartDr());
  RETURN_IF_ERROR(pair->site_->StartPrimary());
  RETURN_IF_ERROR(pair->ExpectEqual());
  return pair;
}

absl::Status FaultPair::Explain(const absl::Status& status) {
  return Annotate(status, fmt::format("primary said: {}\ndr said: {}\n", site_->primary().Err(), site_->dr().Err()));
}

absl::Status FaultPair::CompareWith(const std::string& tree, std::string_view what) {
  ASSIGN_OR_RETURN(const std::vector<std::string> differences, CompareTrees(tree, site_->Replica(kVolume)));
  if (differences.empty()) return absl::OkStatus();
  return absl::InternalError(
      fmt::format("{} (left) and the replica (right) differ: {}", what, absl::StrJoin(differences, "; ")));
}

absl::Status FaultPair::ExpectEqual() {
  absl::Status status = site_->Sync(kVolume);
  if (status.ok()) status = CompareWith(site_->Volume(kVolume), "the volume");
  return status.ok() ? status : Explain(status);
}

absl::StatusOr<DrState> FaultPair::StateOfDr() {
  DrState state;
  RETURN_IF_ERROR(WaitForOk("DR's answer", absl::Seconds(60), [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const nlohmann::json volume, StatusOfVolume(*site_));
    const nlohmann::json& replica = volume.at("replica");
    if (replica.is_null()) return absl::UnavailableError("DR says nothing of the volume");
    state = {replica.at("sequence"), replica.at("published_sequence")};
    return absl::OkStatus();
  }));
  return state;
}

absl::StatusOr<uint64_t> FaultPair::AcknowledgedAtPrimary() {
  uint64_t sequence = 0;
  RETURN_IF_ERROR(WaitForOk("the primary's answer", absl::Seconds(60), [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const nlohmann::json volume, StatusOfVolume(*site_));
    if (volume.at("path").is_null()) return absl::UnavailableError("the primary doesn't answer");
    sequence = volume.at("sequence");
    return absl::OkStatus();
  }));
  return sequence;
}

absl::Status FaultPair::CopyVolume() {
  const std::string copy = primary_disk_->Path() + "/before";
  std::filesystem::remove_all(copy);
  ASSIGN_OR_RETURN(const ProcessResult result,
                   RunProcess({.program = "cp", .arguments = {"-a", site_->Volume(kVolume), copy}}));
  return result.exit_code == 0 ? absl::OkStatus() : absl::InternalError("cp: " + result.err);
}

bool FaultPair::WorkHolds(const std::vector<std::string>& folders) const {
  std::error_code error;
  for (const auto& replica : std::filesystem::directory_iterator(dr_disk_->Path() + "/.understudy", error)) {
    for (const std::string& folder : folders) {
      const auto entries = std::filesystem::directory_iterator(replica.path() / folder, error);
      if (!error && entries != std::filesystem::directory_iterator()) return true;
    }
  }
  return false;
}

void FaultPair::WaitForTheMoment() {
  // Long enough for a commit on a busy machine. A round that is over by then is a round, too: it is checked as well.
  const absl::Duration give_up = Clock::System().Monotonic() + absl::Seconds(3);
  std::vector<std::string> awaited;
  absl::Duration then = absl::Milliseconds(Below(40));
  switch (Below(4)) {
    case 0:
      then = absl::Milliseconds(Below(600));
      break;
    case 1:
    case 2:
      awaited = {"staging"};
      break;
    default:
      awaited = {"removed", "detached"};
      then = absl::Microseconds(Below(3000));
  }
  while (!awaited.empty() && !WorkHolds(awaited) && Clock::System().Monotonic() < give_up) {
    absl::SleepFor(absl::Microseconds(100));
  }
  absl::SleepFor(then);
}

absl::StatusOr<RoundEnd> FaultPair::Round(const std::function<absl::Status()>& stop_dr) {
  RETURN_IF_ERROR(CopyVolume());
  site_->primary().Kill();
  ASSIGN_OR_RETURN(const DrState base, StateOfDr());
  workload_->KeepSmall();
  for (uint64_t steps = 1 + Below(kMostStepsOfRound); steps > 0; --steps) workload_->Step();
  RETURN_IF_ERROR(site_->StartPrimary());
  WaitForTheMoment();
  RETURN_IF_ERROR(stop_dr());
  ASSIGN_OR_RETURN(const uint64_t acknowledged, AcknowledgedAtPrimary());
  site_->primary().Kill();
  const bool was_staged = WorkHolds({"staging", "detached", "removed"});
  RETURN_IF_ERROR(site_->StartDr());
  absl::StatusOr<RoundEnd> end = LookAtDr(base.sequence, acknowledged);
  if (!end.ok()) return Explain(end.status());
  end->content_was_staged = was_staged;
  RETURN_IF_ERROR(site_->StartPrimary());
  RETURN_IF_ERROR(ExpectEqual());
  return end;
}

absl::StatusOr<RoundEnd> FaultPair::LookAtDr(uint64_t base_sequence, uint64_t acknowledged) {
  ASSIGN_OR_RETURN(const DrState state, StateOfDr());
  if (state.sequence < std::max(base_sequence, acknowledged)) {
    return absl::InternalError(
        fmt::format("DR is at {}, but {} was acknowledged", state.sequence, std::max(base_sequence, acknowledged)));
  }
  if (state.published_sequence != state.sequence) {
    return absl::InternalError(
        fmt::format("after its start DR shows {} and has {}", state.published_sequence, state.sequence));
  }
  if (WorkHolds({"detached", "removed"})) return absl::InternalError("DR's start left entries in its work folder");
  const bool committed = state.sequence > base_sequence;
  const absl::Status whole = committed ? CompareWith(site_->Volume(kVolume), "the state after the round")
                                       : CompareWith(primary_disk_->Path() + "/before", "the state before the round");
  if (!whole.ok()) {
    return Annotate(whole,
                    fmt::format("half state at sequence {} (before the round: {})", state.sequence, base_sequence));
  }
  return RoundEnd{.was_committed = committed};
}

}  // namespace understudy::tests
