#include "control/runs/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "control/runs/guards.h"

namespace understudy::control {
namespace {

constexpr char kStopped[] = "the run was stopped";
constexpr char kNotListed[] = "isn't part of the step any more";
constexpr char kNotListedButBegun[] =
    "isn't part of the step any more; it was begun before, and may have had any part of its effect";

size_t CountEnded(const StepRecord& step) {
  return static_cast<size_t>(
      std::count_if(step.items.begin(), step.items.end(), [](const ItemRecord& item) { return HasEnded(item.state); }));
}

bool IsBroken(const StepRecord& step) {
  return std::any_of(step.items.begin(), step.items.end(),
                     [](const ItemRecord& item) { return item.state == ItemState::kBroken; });
}

// `item` isn't known yet: as a pending one, where its key belongs.
void AddPending(StepRecord& step, const std::string& key) {
  if (step.Find(key) != nullptr) return;
  const auto after =
      std::find_if(step.items.begin(), step.items.end(), [&](const ItemRecord& item) { return item.key > key; });
  step.items.insert(after, ItemRecord{.key = key});
}

// The records are found by key, so that two items with one key would be made on top of each other.
absl::Status CheckKeys(const std::vector<Item>& items) {
  std::set<std::string_view> keys;
  for (const Item& item : items) {
    if (keys.insert(item.key).second) continue;
    return absl::InternalError(fmt::format("two of its items are called '{}': nothing of it was begun", item.key));
  }
  return absl::OkStatus();
}

std::map<int, std::vector<const Item*>> Waves(const std::vector<Item>& items, const StepRecord& record) {
  std::map<int, std::vector<const Item*>> waves;
  for (const Item& item : items) {
    if (!HasEnded(record.Find(item.key)->state)) waves[item.wave].push_back(&item);
  }
  return waves;
}

StepRecord& RecordOf(const Step& step, RunRecord& run) {
  const auto found = std::find_if(run.steps.begin(), run.steps.end(),
                                  [&](const StepRecord& record) { return record.name == step.name(); });
  UNDERSTUDY_CHECK(found != run.steps.end());
  return *found;
}

bool RemovalHasBegun(const RunRecord& run, const Engine::Steps& steps) {
  return std::any_of(steps.begin(), steps.end(), [&](const std::unique_ptr<Step>& step) {
    const StepRecord* const record = run.Find(step->name());
    return step->RunsAfterFailure() && record != nullptr && record->begun_at;
  });
}

bool IsRemoval(const StepRecord& record, const Engine::Steps& steps) {
  return std::any_of(steps.begin(), steps.end(), [&](const std::unique_ptr<Step>& step) {
    return step->RunsAfterFailure() && step->name() == record.name;
  });
}

absl::Status StepFailure(const StepRecord& step) {
  for (const ItemRecord& item : step.items) {
    if (item.state != ItemState::kFailed) continue;
    return absl::AbortedError(
        fmt::format("{}{}{}: {}", step.name, item.key.empty() ? "" : " ", item.key, item.message));
  }
  return absl::OkStatus();
}

}  // namespace

// The items of one wave, handed out to the threads that make them.
struct Engine::Work {
  Work(const std::vector<const Item*>& the_items, std::vector<ItemRecord>& the_records)
      : items(the_items), records(the_records) {}

  const std::vector<const Item*>& items;
  std::vector<ItemRecord>& records;
  std::atomic<size_t> next = 0;
  absl::Mutex mutex;
  absl::Status unrecorded ABSL_GUARDED_BY(mutex);
};

void Engine::Tell(const RunEvent& event) {
  const absl::MutexLock lock(&event_mutex_);
  on_event_(event);
}

absl::StatusOr<RunRecord> Engine::Run(RunRecord run, const Steps& steps, std::stop_token stop) {
  run.error.clear();
  const bool only_removal = options_.only_removal || RemovalHasBegun(run, steps);
  if (!only_removal) {
    UNDERSTUDY_CHECK(run.steps.size() == steps.size());
    RETURN_IF_ERROR(LookBack(run, steps, stop));
  }
  bool failed = !run.error.empty();
  // What can't be told now may be told later: then the rehearsal goes on with what it made.
  const bool removes = !failed && (only_removal || !run.spec.keep);
  for (const std::unique_ptr<Step>& step : steps) {
    StepRecord& record = RecordOf(*step, run);
    if (record.ended_at) continue;
    if (stop.stop_requested() || (step->RunsAfterFailure() ? !removes : failed || only_removal)) continue;
    RETURN_IF_ERROR(MakeStep(*step, run, record, stop));
    if (!record.ended_at) failed = true;
  }
  RETURN_IF_ERROR(End(run, steps, stop.stop_requested()));
  return run;
}

absl::Status Engine::LookBack(RunRecord& run, const Steps& steps, std::stop_token stop) {
  const absl::StatusOr<std::optional<size_t>> lapsed = FindLapsed(run, steps, std::move(stop));
  if (!lapsed.ok()) {
    run.error = MessageOf(lapsed.status());
    return absl::OkStatus();
  }
  if (!*lapsed) return absl::OkStatus();
  const std::vector<std::string> reopened = StepsToReopen(run, steps, **lapsed);
  const std::string why = fmt::format("made again: what step {} had brought about didn't hold when the run went on",
                                      run.steps[**lapsed].name);
  RETURN_IF_ERROR(journal_.Reopen(run.spec.id, reopened, why));
  for (StepRecord& step : run.steps) {
    if (std::find(reopened.begin(), reopened.end(), step.name) == reopened.end()) continue;
    Reopen(step, why);
    Tell({.kind = RunEvent::Kind::kStepReopened, .step = step.name, .text = why, .state = ItemState::kPending});
  }
  return absl::OkStatus();
}

absl::Status Engine::MakeStep(Step& step, RunRecord& run, StepRecord& record, std::stop_token stop) {
  const absl::Time now = clock_.Now();
  const absl::StatusOr<std::vector<Item>> items = step.Items(run, stop);
  if (const absl::Status usable = items.ok() ? CheckKeys(*items) : items.status(); !usable.ok()) {
    run.error = fmt::format("{}: {}", record.name, MessageOf(usable));
    return absl::OkStatus();
  }
  std::vector<std::string> keys;
  for (const Item& item : *items) keys.push_back(item.key);
  RETURN_IF_ERROR(journal_.BeginStep(run.spec.id, record.name, now, keys));
  if (!record.begun_at) record.begun_at = now;
  for (const std::string& key : keys) AddPending(record, key);
  Tell({.kind = RunEvent::Kind::kStepBegun,
        .step = record.name,
        .text = std::string(step.purpose()),
        .total = items->size()});
  RETURN_IF_ERROR(LeaveOut(*items, run.spec.id, record));
  bool failed = false;
  for (const auto& [wave, wave_items] : Waves(*items, record)) {
    if (stop.stop_requested() || failed) break;
    std::vector<ItemRecord> records;
    for (const Item* const item : wave_items) records.push_back(*record.Find(item->key));
    RETURN_IF_ERROR(MakeWave(step, run, wave_items, records, stop));
    for (ItemRecord& made : records) {
      failed = failed || made.state == ItemState::kFailed;
      *std::find_if(record.items.begin(), record.items.end(),
                    [&](const ItemRecord& item) { return item.key == made.key; }) = std::move(made);
    }
  }
  const bool ended = CountEnded(record) == record.items.size();
  if (ended) {
    const absl::Time end = clock_.Now();
    RETURN_IF_ERROR(journal_.EndStep(run.spec.id, record.name, end));
    record.ended_at = end;
  } else if (run.error.empty()) {
    run.error = MessageOf(StepFailure(record));
  }
  Tell({.kind = RunEvent::Kind::kStepEnded,
        .step = record.name,
        .text = ended ? "" : run.error,
        .state = !ended             ? ItemState::kFailed
                 : IsBroken(record) ? ItemState::kBroken
                                    : ItemState::kDone,
        .ended = CountEnded(record),
        .total = record.items.size()});
  return absl::OkStatus();
}

absl::Status Engine::LeaveOut(const std::vector<Item>& listed, const std::string& run, StepRecord& step) {
  for (ItemRecord& item : step.items) {
    const bool is_listed =
        std::any_of(listed.begin(), listed.end(), [&](const Item& each) { return each.key == item.key; });
    if (is_listed || HasEnded(item.state)) continue;
    item.state = ItemState::kLeftOut;
    item.message = item.attempts > 0 ? kNotListedButBegun : kNotListed;
    item.ended_at = clock_.Now();
    RETURN_IF_ERROR(journal_.WriteItem(run, step.name, item));
    Tell({.kind = RunEvent::Kind::kItemEnded,
          .step = step.name,
          .item = item.key,
          .text = item.message,
          .state = item.state});
  }
  return absl::OkStatus();
}

absl::Status Engine::MakeWave(Step& step, const RunRecord& run, const std::vector<const Item*>& items,
                              std::vector<ItemRecord>& records, std::stop_token stop) {
  Work work(items, records);
  const auto make = [&] {
    for (size_t i = work.next++; i < items.size() && !stop.stop_requested(); i = work.next++) {
      const absl::Status recorded = MakeItem(step, run, *items[i], records[i], stop);
      if (recorded.ok()) continue;
      const absl::MutexLock lock(&work.mutex);
      work.unrecorded.Update(recorded);
      return;
    }
  };
  {
    std::vector<std::jthread> threads;
    const size_t count = std::min(items.size(), static_cast<size_t>(options_.parallelism));
    for (size_t i = 1; i < count; ++i) threads.emplace_back(make);
    make();
  }
  const absl::MutexLock lock(&work.mutex);
  return work.unrecorded;
}

absl::Status Engine::MakeItem(Step& step, const RunRecord& run, const Item& item, ItemRecord& record,
                              std::stop_token stop) {
  const std::string step_name(step.name());
  const ItemRecord before = record;
  if (record.state == ItemState::kFailed) {
    record.warnings.push_back(fmt::format("attempt {}: {}", record.attempts, record.message));
  }
  record.state = ItemState::kRunning;
  record.message.clear();
  ++record.attempts;
  if (!record.begun_at) record.begun_at = clock_.Now();
  record.ended_at.reset();
  RETURN_IF_ERROR(journal_.WriteItem(run.spec.id, step_name, record));
  RunEvent event{.kind = RunEvent::Kind::kItemBegun, .step = step_name, .item = item.key, .text = item.what};
  Tell(event);
  ItemContext context(
      run, before, stop,
      [&](const std::string& text) {
        Tell({.kind = RunEvent::Kind::kItemProgress, .step = step_name, .item = item.key, .text = text});
      },
      [&](const nlohmann::ordered_json& facts) {
        record.facts = facts;
        return journal_.WriteItem(run.spec.id, step_name, record);
      });
  const auto [made, was_so] = MakeAttempt(step, item, context, options_.patience, clock_);
  record.ended_at = clock_.Now();
  record.warnings.insert(record.warnings.end(), context.warnings().begin(), context.warnings().end());
  record.facts = context.facts();
  if (made.ok()) {
    record.state = was_so && before.attempts == 0 ? ItemState::kAlready : ItemState::kDone;
  } else if (stop.stop_requested()) {
    record.state = ItemState::kFailed;
    record.message = kStopped;
  } else {
    record.state = IsVerdict(made) && step.Tolerates(made) ? ItemState::kBroken : ItemState::kFailed;
    record.message = MessageOf(made);
  }
  RETURN_IF_ERROR(journal_.WriteItem(run.spec.id, step_name, record));
  event.kind = RunEvent::Kind::kItemEnded;
  event.state = record.state;
  event.text = record.message;
  Tell(event);
  return absl::OkStatus();
}

absl::Status Engine::End(RunRecord& run, const Steps& steps, bool stopped) {
  RunEnd end{.state = run.error.empty() ? RunState::kDone : RunState::kFailed,
             .over = true,
             .error = run.error,
             .at = clock_.Now()};
  bool removes = false;
  for (const StepRecord& record : run.steps) {
    const bool removal = IsRemoval(record, steps);
    removes = removes || removal;
    if (!record.ended_at && removal) {
      end.over = false;  // what was made is still there
      if (record.begun_at) end.state = RunState::kFailed;
    } else if (!record.ended_at) {
      end.state = RunState::kFailed;
    } else if (end.state == RunState::kDone && IsBroken(record)) {
      end.state = RunState::kPartial;
    }
  }
  if (end.state == RunState::kFailed) {
    // A rehearsal whose traces are gone can't go on where it was.
    end.over = end.over && removes;
    if (stopped) end.error = kStopped;
    if (end.error.empty()) end.error = "a step isn't done";
  }
  run.state = end.state;
  run.over = end.over;
  run.error = end.error;
  run.ended_at = end.at;
  return journal_.EndRun(run.spec.id, end);
}

}  // namespace understudy::control
