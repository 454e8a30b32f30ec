// engine.h: makes a run: its steps one after the other, the items of a step side by side, each recorded before and
// after.
//
// A process that dies leaves items that are recorded as running. Whoever goes on asks each of them first whether it is
// so by now (Step::Check), and does only what isn't: so nothing is done twice, and nothing is taken for done that
// isn't. Before that it asks the steps that have ended whether they still hold (guards.h).
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "control/runs/attempt.h"
#include "control/runs/run.h"
#include "control/runs/step.h"
#include "control/runs/store.h"
#include "core/base/clock.h"

namespace understudy::control {

// For whoever shows how far a run is. Called by several threads, one at a time.
struct RunEvent {
  enum class Kind { kStepReopened, kStepBegun, kStepEnded, kItemBegun, kItemProgress, kItemEnded };
  Kind kind = Kind::kStepBegun;
  std::string step;
  std::string item{};                     // its key; empty: of the step
  std::string text{};                     // what it is for, what is being done, or why it failed
  ItemState state = ItemState::kRunning;  // of the item or the step
  size_t ended = 0;                       // items of the step
  size_t total = 0;
};

struct EngineOptions {
  int parallelism = 8;
  // Only what is made also after a failure: takes away what a rehearsal made. The other steps needn't be there.
  bool only_removal = false;
  Patience patience{};
};

// One run at a time. `journal` and `clock` must outlive it.
class Engine {
 public:
  using OnEvent = std::function<void(const RunEvent&)>;
  using Steps = std::vector<std::unique_ptr<Step>>;

  Engine(RunJournal& journal, EngineOptions options, Clock& clock, OnEvent on_event)
      : journal_(journal), options_(options), clock_(clock), on_event_(std::move(on_event)) {}

  // Goes on with `run`, whose steps are called as `steps` are. A run whose removal has begun is only removed. The run
  // as it is afterwards: over, or failed, which a stop is, too. An error: something couldn't be recorded; nothing was
  // begun that isn't.
  [[nodiscard]] absl::StatusOr<RunRecord> Run(RunRecord run, const Steps& steps, std::stop_token stop);

 private:
  struct Work;

  // Reopens what doesn't hold any more. OK with a failure in the run's record when that can't be told.
  [[nodiscard]] absl::Status LookBack(RunRecord& run, const Steps& steps, std::stop_token stop);
  // OK with the step ended, or with a failure in its record.
  [[nodiscard]] absl::Status MakeStep(Step& step, RunRecord& run, StepRecord& record, std::stop_token stop);
  // What was begun or waited in `step`, and isn't among its items any more, mustn't keep the step from ever ending.
  [[nodiscard]] absl::Status LeaveOut(const std::vector<Item>& listed, const std::string& run, StepRecord& step);
  [[nodiscard]] absl::Status MakeWave(Step& step, const RunRecord& run, const std::vector<const Item*>& items,
                                      std::vector<ItemRecord>& records, std::stop_token stop);
  // Brings `record` to its end. An error: it couldn't be recorded.
  [[nodiscard]] absl::Status MakeItem(Step& step, const RunRecord& run, const Item& item, ItemRecord& record,
                                      std::stop_token stop);
  [[nodiscard]] absl::Status End(RunRecord& run, const Steps& steps, bool stopped);
  void Tell(const RunEvent& event);

  RunJournal& journal_;
  const EngineOptions options_;
  Clock& clock_;
  const OnEvent on_event_;
  absl::Mutex event_mutex_;
};

}  // namespace understudy::control
