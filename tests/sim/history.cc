#include "tests/sim/history.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/base/log.h"
#include "core/wire/status_path.h"
#include "tests/support/tree_compare.h"

namespace understudy::sim {
namespace {

// Just above what travels inside a commit, so that some files are staged.
constexpr uint64_t kMaxFileBytes = 300'000;
// No retry of the replicator waits longer.
constexpr absl::Duration kLongestWait = absl::Seconds(15);
// A calm pair needs a few runs, to open again, to compare, to capture, and some patience for what couldn't be
// published.
constexpr int kMaxCalmRuns = 12;
// While the volume is restless.
constexpr uint64_t kLooksBetweenChanges = 10;
// Looking again at what was written a moment ago makes runs come one after the other.
constexpr absl::Duration kCalmStep = absl::Seconds(2);

}  // namespace

History::History(uint64_t seed, std::string folder)
    : folder_(std::move(folder)),
      random_(seed),
      churn_(Volume(), seed, kMaxFileBytes),
      link_(seed + 1, Volume(), ledger_, [this] { ChangeVolume(2); }) {
  FaultySystem::BeforeLooks([this] {
    if (restless_ == 0 || !OneIn(kLooksBetweenChanges)) return;
    --restless_;
    Tell("the volume changes while it is looked at");
    link_.Disturbed();
    ChangeVolume(2);
  });
}

History::~History() {
  FaultySystem::BeforeLooks(nullptr);
  FaultySystem::Disarm(Half::kPrimary);
  FaultySystem::Disarm(Half::kDr);
}

void History::Listen() {
  for (std::string& line : link_.TakeStory()) Tell("  " + std::move(line));
  for (std::string& line : FaultySystem::TakeStory()) Tell("  " + std::move(line));
}

std::string History::Story() {
  Listen();
  return fmt::format("{}\n", fmt::join(story_, "\n"));
}

void History::ChangeVolume(uint64_t most) {
  for (uint64_t step = Below(most + 1); step > 0; --step) Tell(Printable(churn_.Step()));
  changed_ = true;
}

absl::Status History::Run() {
  for (const char* name : {"/primary/web", "/dr", "/state-dr"}) std::filesystem::create_directories(folder_ + name);
  RETURN_IF_ERROR(StartDr());
  RETURN_IF_ERROR(StartPrimary());
  ChangeVolume(30);
  for (uint64_t rounds = 2 + Below(4); rounds > 0; --rounds) RETURN_IF_ERROR(Round());
  RETURN_IF_ERROR(Calm());
  RETURN_IF_ERROR(StartDr());
  for (int times = 0; times < 2; ++times) RETURN_IF_ERROR(Rewind());
  RETURN_IF_ERROR(Calm());
  return CheckKept();
}

absl::Status History::Round() {
  ChangeVolume(6);
  Brew();
  for (uint64_t steps = 1 + Below(4); steps > 0; --steps) {
    RETURN_IF_ERROR(Step(/*calm=*/false));
    if (OneIn(4)) ChangeVolume(2);
  }
  if (OneIn(8)) RETURN_IF_ERROR(LoseIndex());
  if (OneIn(8)) RETURN_IF_ERROR(StartPrimary());
  if (OneIn(6)) RETURN_IF_ERROR(StartDr());
  if (OneIn(3)) RETURN_IF_ERROR(Thin());
  if (OneIn(4)) RETURN_IF_ERROR(Rewind());
  return OneIn(3) ? Calm() : absl::OkStatus();
}

FaultPlan History::BrewFaults() {
  FaultPlan plan{.seed = random_()};
  const uint64_t kind = Below(4);
  if (kind != 0) plan.failures_per_10000 = kind == 1 ? 0 : static_cast<uint32_t>(1 + Below(OneIn(3) ? 500 : 50));
  // A small commit has some thirty effects at DR.
  if (kind < 3) plan.crash_at_effect = 1 + Below(OneIn(2) ? 40 : 150);
  return plan;
}

// The weather of a round.
void History::Brew() {
  LinkWeather weather{.late_percent = 50};
  if (OneIn(3)) weather.cut_percent = static_cast<uint32_t>(1 + Below(30));
  if (OneIn(6)) weather.disturb_percent = 20;
  link_.SetWeather(weather);
  const auto arm = [&](Half half, std::string_view who) {
    const FaultPlan plan = BrewFaults();
    FaultySystem::Arm(half, plan);
    Tell(fmt::format("weather at {}: {}/10000 calls fail, crash at effect {}", who, plan.failures_per_10000,
                     plan.crash_at_effect));
    if (half == Half::kPrimary && plan.failures_per_10000 != 0) link_.ExpectInventory(true);
  };
  if (!OneIn(3)) arm(Half::kDr, "DR");
  if (OneIn(3)) arm(Half::kPrimary, "the primary");
  restless_ = OneIn(4) ? 1 + Below(8) : 0;
  if (OneIn(10)) clock_.Jump(absl::Hours(static_cast<int64_t>(Below(200)) - 100));
  clock_.Advance(absl::Milliseconds(Below(OneIn(10) ? 10'000'000 : 2000)));
}

absl::Status History::Step(bool calm) {
  if (!barrier_.has_value() && !OneIn(4)) barrier_ = replicator_->RequestBarrier();
  if (changed_) replicator_->OnOverflow();
  changed_ = false;
  link_.BeginRun(/*whole=*/barrier_.has_value());
  absl::Status status;
  {
    const FaultySystem::In in(Half::kPrimary);
    status = replicator_->Run(link_, {});
  }
  Listen();
  Tell(fmt::format("run: {}", status.ok() ? "done" : status.ToString()));
  // Its content isn't what the index says, or a disk at either end said EIO.
  if (absl::IsDataLoss(status)) link_.ExpectInventory(true);
  if (absl::IsDataLoss(status) && calm) return status;
  if (barrier_.has_value() && replicator_->AwaitBarrier(*barrier_, /*published=*/false, absl::ZeroDuration())) {
    barrier_.reset();
  }
  RETURN_IF_ERROR(link_.Violation());
  if (FaultySystem::Crashed(Half::kDr)) RETURN_IF_ERROR(StartDr());
  if (FaultySystem::Crashed(Half::kPrimary)) RETURN_IF_ERROR(StartPrimary());
  return absl::OkStatus();
}

absl::Status History::Calm() {
  Tell("calm");
  FaultySystem::Disarm(Half::kDr);
  FaultySystem::Disarm(Half::kPrimary);
  link_.SetWeather({});
  restless_ = 0;
  barrier_ = replicator_->RequestBarrier();
  const uint64_t barrier = *barrier_;
  for (int run = 0; !replicator_->AwaitBarrier(barrier, /*published=*/true, absl::ZeroDuration()); ++run) {
    if (run == kMaxCalmRuns) return absl::InternalError("without any fault no barrier passes");
    const absl::Duration wait = replicator_->NextRun().value_or(absl::ZeroDuration()) - clock_.Monotonic();
    if (wait > kLongestWait) return absl::InternalError(fmt::format("waits {} s", absl::ToDoubleSeconds(wait)));
    clock_.Advance(std::max(wait, kCalmStep));
    barrier_ = barrier;
    RETURN_IF_ERROR(Step(/*calm=*/true));
  }
  barrier_.reset();
  ASSIGN_OR_RETURN(const std::vector<std::string> differences, tests::CompareTrees(Volume(), Replica()));
  if (!differences.empty()) {
    return absl::DataLossError(fmt::format("after a barrier the trees differ:\n{}", fmt::join(differences, "\n")));
  }
  link_.ExpectInventory(false);
  return absl::OkStatus();
}

// Ends DR, however it is, and starts it anew; now and then that crashes, too.
absl::Status History::StartDr() {
  RETURN_IF_ERROR(CheckKept());
  link_.Connect(nullptr);
  {
    const FaultySystem::In in(Half::kDr);
    engine_.reset();
  }
  for (int crashes = 0;; ++crashes) {
    FaultySystem::Disarm(Half::kDr);
    if (crashes < 2 && OneIn(3)) {
      FaultySystem::Arm(Half::kDr, {.seed = random_(), .failures_per_10000 = 0, .crash_at_effect = 1 + Below(40)});
    }
    absl::StatusOr<std::unique_ptr<dr::CommitEngine>> engine;
    {
      const FaultySystem::In in(Half::kDr);
      engine = dr::CommitEngine::Start({.state_dir = folder_ + "/state-dr",
                                        .exports = {folder_ + "/dr"},
                                        .points = {.keep_all_for = absl::ZeroDuration()}});
      if (FaultySystem::Crashed(Half::kDr)) engine = absl::AbortedError("crashed");
    }
    Listen();
    Tell(fmt::format("DR starts: {}", engine.ok() ? "done" : engine.status().ToString()));
    if (engine.ok()) {
      FaultySystem::Disarm(Half::kDr);
      engine_ = *std::move(engine);
      break;
    }
    if (!FaultySystem::Crashed(Half::kDr)) return engine.status();
  }
  link_.Connect(engine_.get());
  if (replicator_ != nullptr) replicator_->ForgetSession();
  return CheckReplica();
}

// Calls fail for want of space, of descriptors, and of luck, and all the while there is space.
absl::Status History::CheckKept() const {
  const uint64_t given_up = engine_ == nullptr ? 0 : engine_->probe().points_given_up.load();
  if (given_up == 0) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{} points were given up where there was space", given_up));
}

absl::Status History::CheckReplica() {
  if (!engine_->Problems().empty()) return absl::InternalError(engine_->Problems().front());
  const absl::StatusOr<model::ReplicaState> state = engine_->State("web");
  if (!state.ok()) return ledger_.Check(0, {});
  if (state->published_sequence != state->sequence) return absl::InternalError("started, and not published");
  if (state->sequence != 0 && !ledger_.Knows(state->sequence)) {
    // Nobody sent it, so it has to be a step of a rewind, which says where it led.
    ASSIGN_OR_RETURN(const dr::Point point, engine_->NewestPoint("web"));
    if (point.sequence == state->sequence) return absl::DataLossError("a commit that nobody sent");
    ledger_.Rewound(state->sequence, point.sequence);
  }
  ASSIGN_OR_RETURN(const Picture found, TakePicture(Replica()));
  return ledger_.Check(state->sequence, found);
}

// Ends the primary, however it is, and starts it anew; now and then that crashes, too.
absl::Status History::StartPrimary() {
  for (int crashes = 0;; ++crashes) {
    absl::StatusOr<std::unique_ptr<primary::VolumeReplicator>> replicator;
    {
      const FaultySystem::In in(Half::kPrimary);
      replicator_.reset();
      FaultySystem::Disarm(Half::kPrimary);
      if (crashes < 2 && OneIn(4)) {
        FaultySystem::Arm(Half::kPrimary,
                          {.seed = random_(), .failures_per_10000 = 0, .crash_at_effect = 1 + Below(20)});
      }
      primary::ReplicatorOptions options;
      // Otherwise small files never travel ahead of their commit: a volume here is a few files.
      if (OneIn(2)) options.most_inline_bytes = 1 + Below(200);
      replicator = primary::VolumeReplicator::Open("web", Volume(), Replica(), folder_ + "/web.db", options, clock_);
      if (FaultySystem::Crashed(Half::kPrimary)) replicator = absl::AbortedError("crashed");
    }
    Listen();
    Tell(fmt::format("the primary starts: {}", replicator.ok() ? "done" : replicator.status().ToString()));
    if (replicator.ok()) {
      replicator_ = *std::move(replicator);
      break;
    }
    if (!FaultySystem::Crashed(Half::kPrimary)) return replicator.status();
  }
  FaultySystem::Disarm(Half::kPrimary);
  barrier_.reset();
  changed_ = true;
  return absl::OkStatus();
}

absl::Status History::Rewind() {
  const absl::StatusOr<std::vector<dr::Point>> points = engine_->Points("web");
  if (!points.ok() || points->empty()) return absl::OkStatus();
  const model::Sequence to = (*points)[Below(points->size())].sequence;
  absl::Status status;
  {
    const FaultySystem::In in(Half::kDr);
    status = engine_->Rewind("web", to);
  }
  Listen();
  Tell(fmt::format("DR is taken back to {}: {}", to, status.ok() ? "done" : status.ToString()));
  link_.ExpectInventory(true);
  // About a path of the replica: then the record doesn't fit the state that it is of.
  if (!wire::PathOf(status).empty()) return status;
  if (!status.ok() || FaultySystem::Crashed(Half::kDr)) return StartDr();
  // The primary sees it when it opens the volume again, or by what it sends next.
  if (OneIn(2)) {
    replicator_->ForgetSession();
  } else {
    ChangeVolume(0);
    std::ofstream(fmt::format("{}/back{}", Volume(), story_.size())) << to;
  }
  ASSIGN_OR_RETURN(const dr::Point point, engine_->NewestPoint("web"));
  if (point.sequence != to) return absl::InternalError("taken back, and at another state");
  return CheckReplica();
}

absl::Status History::Thin() {
  absl::StatusOr<size_t> merged;
  {
    const FaultySystem::In in(Half::kDr);
    merged = engine_->Thin("web");
  }
  Listen();
  if (absl::IsNotFound(merged.status())) return absl::OkStatus();  // there is no replica yet
  Tell(merged.ok() ? fmt::format("DR merges {} points", *merged)
                   : "DR can't merge points: " + merged.status().ToString());
  if (!merged.ok() || FaultySystem::Crashed(Half::kDr)) return StartDr();
  return absl::OkStatus();
}

absl::Status History::LoseIndex() {
  Tell("the index is lost");
  replicator_.reset();
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(folder_ + "/web.db" + suffix);
  link_.ExpectInventory(true);
  return StartPrimary();
}

}  // namespace understudy::sim
