#include "control/runs/dry_run.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_join.h"

namespace understudy::control {
namespace {

ItemContext ContextOf(const RunRecord& run, const ItemRecord& record, std::stop_token stop) {
  return ItemContext(
      run, record, stop, [](const std::string&) {}, [](const nlohmann::ordered_json&) { return absl::OkStatus(); });
}

// Makes one item of a step that only looks.
PlannedItem Make(Step& step, const Item& item, const RunRecord& run, ItemRecord& record, std::stop_token stop) {
  const ItemRecord before = record;
  ItemContext context = ContextOf(run, before, std::move(stop));
  const absl::StatusOr<bool> is_so = step.Check(item, context);
  absl::Status made = is_so.status();
  if (made.ok() && !*is_so) made = step.Do(item, context);
  if (made.ok()) made = step.Confirm(item, context);
  record.state = made.ok() ? ItemState::kDone : ItemState::kFailed;
  record.facts = context.facts();
  PlannedItem planned{.what = item.what, .now = absl::StrJoin(context.warnings(), "; "), .ok = made.ok()};
  if (!made.ok()) planned.now = MessageOf(made);
  return planned;
}

PlannedItem LookAt(Step& step, const Item& item, const RunRecord& run, const ItemRecord& record, std::stop_token stop) {
  ItemContext context = ContextOf(run, record, std::move(stop));
  const absl::StatusOr<bool> is_so = step.Check(item, context);
  // What can't be known yet depends on the steps before, which weren't made.
  return {.what = item.what, .now = is_so.ok() && *is_so ? "is so already" : ""};
}

}  // namespace

std::vector<PlannedStep> DryRun(RunRecord run, const Engine::Steps& steps, std::stop_token stop) {
  std::vector<PlannedStep> planned;
  run.steps.clear();
  for (const std::unique_ptr<Step>& step : steps) run.steps.push_back({.name = std::string(step->name())});
  for (size_t i = 0; i < steps.size() && WouldGo(planned) && !stop.stop_requested(); ++i) {
    Step& step = *steps[i];
    PlannedStep now{.name = std::string(step.name()), .purpose = std::string(step.purpose()), .made = step.OnlyLooks()};
    const absl::StatusOr<std::vector<Item>> items = step.Items(run, stop);
    if (!items.ok()) {
      now.items.push_back({.what = now.purpose, .now = std::string(MessageOf(items.status())), .ok = false});
      planned.push_back(std::move(now));
      break;
    }
    std::vector<ItemRecord> records;
    for (const Item& item : *items) {
      ItemRecord record{.key = item.key};
      now.items.push_back(step.OnlyLooks() ? Make(step, item, run, record, stop)
                                           : LookAt(step, item, run, record, stop));
      records.push_back(std::move(record));
    }
    std::sort(records.begin(), records.end(), [](const ItemRecord& a, const ItemRecord& b) { return a.key < b.key; });
    run.steps[i].items = std::move(records);
    planned.push_back(std::move(now));
  }
  return planned;
}

bool WouldGo(const std::vector<PlannedStep>& steps) {
  return std::all_of(steps.begin(), steps.end(), [](const PlannedStep& step) {
    return std::all_of(step.items.begin(), step.items.end(), [](const PlannedItem& item) { return item.ok; });
  });
}

}  // namespace understudy::control
