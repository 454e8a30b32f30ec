#include "tests/unit/control/report/failover_samples.h"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::control {
namespace {

using Json = nlohmann::ordered_json;

ItemRecord Item(std::string key, ItemState state, double begin, double end, Json facts = nullptr) {
  return {.key = std::move(key),
          .state = state,
          .begun_at = At(begin),
          .ended_at = At(end),
          .attempts = 1,
          .message = "",
          .warnings = {},
          .facts = std::move(facts)};
}

StepRecord Step(std::string name, double begin, double end, std::vector<ItemRecord> items) {
  return {.name = std::move(name), .begun_at = At(begin), .ended_at = At(end), .items = std::move(items)};
}

StepRecord NotReached(std::string name) {
  return {.name = std::move(name), .begun_at = {}, .ended_at = {}, .items = {}};
}

Json Inventory() {
  return {{"volumes",
           {{{"pair", "east"},
             {"volume", "pv-db"},
             {"claim", "shop/db"},
             {"storage_class", "nfs"},
             {"replica_path", "/export/dr/pv-db"}},
            {{"pair", "east"},
             {"volume", "pv-web"},
             {"claim", "shop/web"},
             {"storage_class", "nfs"},
             {"replica_path", "/export/dr/pv-web"}}}},
          {"machines",
           {{{"namespace", "shop"}, {"name", "db"}, {"run_strategy", "Always"}},
            {{"namespace", "shop"}, {"name", "spare"}, {"run_strategy", "Halted"}},
            {{"namespace", "shop"}, {"name", "web"}, {"run_strategy", "Always"}}}},
          {"unknown_storage", Json::array({{{"persistent_volume", "pv-scratch"}, {"storage_class", "ceph"}}})}};
}

Json Promotion(int epoch, int sequence, double age, Json hooks = Json::array()) {
  return {{"epoch", epoch},
          {"sequence", sequence},
          {"captured_at", "2026-01-02T03:04:47.5+00:00"},
          {"consistency", "crash-consistent"},
          {"data_age_seconds", age},
          {"complete", true},
          {"hooks", std::move(hooks)}};
}

Json Hooks() {
  return Json::array({{{"phase", "pre-promote"},
                       {"name", "10-dns"},
                       {"ok", true},
                       {"optional", false},
                       {"error", ""},
                       {"output", "db.example.com now is 10.2.0.7\nweb.example.com now is 10.2.0.8\n"},
                       {"seconds", 1.25}},
                      {{"phase", "post-promote"},
                       {"name", "20-tell"},
                       {"ok", false},
                       {"optional", true},
                       {"error", "exit code 1"},
                       {"output", "chat: connection refused\n"},
                       {"seconds", 0.5}}});
}

ItemRecord LeftOut(std::string key, double at, std::string why) {
  ItemRecord item = Item(std::move(key), ItemState::kLeftOut, at, at);
  item.attempts = 0;
  item.message = std::move(why);
  return item;
}

RunRecord Begun(RunMode mode) {
  RunRecord run;
  run.spec = {.id = "20260102T030405Z-1f2e",
              .plan = "shop",
              .mode = mode,
              .namespaces = {"shop"},
              .volumes = {},
              .backup = "",
              .started_by = "anna@bastion",
              .started_at = At(0)};
  run.notes = {{At(0), "begun by anna@bastion"}};
  return run;
}

std::vector<StepRecord> StepsUntilVerify() {
  ItemRecord stopped =
      Item("shop/web", ItemState::kDone, 12, 31.5, {{"via", "subresource"}, {"previous_run_strategy", "Always"}});
  stopped.warnings = {"its guest agent isn't connected"};
  return {
      Step("preflight", 0, 3.5, {Item("", ItemState::kDone, 0, 3.5)}),
      Step("backup", 3.5, 9,
           {Item("", ItemState::kDone, 3.5, 9,
                 {{"name", "nightly-20260102"},
                  {"started_at", "2026-01-02T01:00:00+00:00"},
                  {"age_seconds", 7445},
                  {"phase", "Completed"},
                  {"archive_bytes", 48213}})}),
      Step("inventory", 9, 11, {Item("", ItemState::kDone, 9, 11, Inventory())}),
      Step("stop-vms", 12, 40,
           {Item("shop/db", ItemState::kDone, 12, 40, {{"via", "subresource"}, {"previous_run_strategy", "Always"}}),
            Item("shop/spare", ItemState::kAlready, 12, 12.25), std::move(stopped)}),
      Step("fence", 40, 42,
           {Item("east/pv-db", ItemState::kDone, 40, 42, {{"exported_before", "rw"}}),
            Item("east/pv-web", ItemState::kDone, 40, 41.5, {{"exported_before", "rw"}})}),
      Step("final-sync", 42, 48,
           {Item("east/pv-db", ItemState::kDone, 42, 48, {{"sequence", 812}}),
            Item("east/pv-web", ItemState::kDone, 42, 43, {{"sequence", 77}})}),
      Step("verify", 48, 74.5,
           {Item("east/pv-db", ItemState::kDone, 48, 74.5,
                 {{"depth", "metadata"}, {"entries", 1204}, {"bytes_read", 0}, {"differences", 0}}),
            Item("east/pv-web", ItemState::kDone, 48, 60,
                 {{"depth", "metadata"}, {"entries", 35}, {"bytes_read", 0}, {"differences", 0}})}),
      Step("pause", 74.5, 75,
           {Item("east/pv-db", ItemState::kDone, 74.5, 75), Item("east/pv-web", ItemState::kDone, 74.5, 74.75)})};
}

void AddPromotion(RunRecord& run, double begin) {
  run.steps.push_back(Step("promote", begin, begin + 5,
                           {Item("east/pv-db", ItemState::kDone, begin, begin + 5, Promotion(3, 812, 32.5, Hooks())),
                            Item("east/pv-web", ItemState::kDone, begin, begin + 2, Promotion(2, 77, 29.5))}));
}

void AddBoot(RunRecord& run, double begin) {
  run.steps.push_back(Step("storage-objects", begin, begin + 4, {Item("", ItemState::kDone, begin, begin + 4)}));
  run.steps.push_back(Step("restore", begin + 4, begin + 34,
                           {Item("", ItemState::kDone, begin + 4, begin + 34,
                                 {{"name", "understudy-20260102t030405z-1f2e"},
                                  {"phase", "Completed"},
                                  {"errors", 0},
                                  {"warnings", 1},
                                  {"items_restored", 12},
                                  {"total_items", 12}})}));
  const auto well = [&](double seconds) {
    return Json{{"outcome", "well"},
                {"started_at", absl::FormatTime(absl::RFC3339_full, At(begin + 34), absl::UTCTimeZone())},
                {"well_at", absl::FormatTime(absl::RFC3339_full, At(seconds), absl::UTCTimeZone())}};
  };
  run.steps.push_back(Step("boot", begin + 34, begin + 96,
                           {Item("shop/db", ItemState::kDone, begin + 34, begin + 70, well(begin + 70)),
                            LeftOut("shop/spare", begin + 34, "its run strategy is Halted"),
                            Item("shop/web", ItemState::kDone, begin + 70, begin + 96, well(begin + 95.5))}));
  run.steps.push_back(Step("probe", begin + 96, begin + 98,
                           {Item("shop/db tcp#0", ItemState::kDone, begin + 96, begin + 96.5,
                                 {{"probe", "tcp"}, {"target", "10.2.0.7:5432"}, {"result", "open"}}),
                            Item("shop/web http#1", ItemState::kDone, begin + 96, begin + 98,
                                 {{"probe", "http"}, {"target", "http://10.2.0.8/healthz"}, {"result", "200"}})}));
  run.steps.push_back(Step("clean-up", begin + 98, begin + 99, {Item("", ItemState::kDone, begin + 98, begin + 99)}));
}

void End(RunRecord& run, RunState state, double seconds) {
  run.state = state;
  run.over = state != RunState::kFailed;
  run.ended_at = At(seconds);
}

}  // namespace

absl::Time At(double seconds) {
  return absl::FromUnixSeconds(1'767'323'045) + absl::Seconds(seconds);
}

StepRecord& StepOf(RunRecord& run, std::string_view name) {
  return *std::find_if(run.steps.begin(), run.steps.end(), [&](const StepRecord& step) { return step.name == name; });
}

RunRecord PlannedRun() {
  RunRecord run = Begun(RunMode::kPlanned);
  run.steps = StepsUntilVerify();
  AddPromotion(run, 75);
  AddBoot(run, 80);
  End(run, RunState::kDone, 179);
  return run;
}

RunRecord UnplannedRun() {
  RunRecord run = PlannedRun();
  run.spec.mode = RunMode::kUnplanned;
  std::erase_if(run.steps, [](const StepRecord& step) {
    return step.name == "stop-vms" || step.name == "fence" || step.name == "final-sync" || step.name == "pause";
  });
  StepRecord& verify = StepOf(run, "verify");
  verify.begun_at = verify.items[0].begun_at = verify.items[1].begun_at = At(11);
  std::vector<ItemRecord>& promoted = StepOf(run, "promote").items;
  promoted[0].facts["data_age_by"] = "confirmation";
  promoted[0].facts["confirmed_at"] = "2026-01-02T03:04:48+00:00";
  promoted[1].facts["data_age_by"] = "newest-commit";
  promoted[1].facts["complete"] = false;
  return run;
}

RunRecord FailedRun() {
  RunRecord run = Begun(RunMode::kPlanned);
  run.steps = StepsUntilVerify();
  AddPromotion(run, 75);
  StepRecord& promote = run.steps.back();
  promote.ended_at.reset();
  promote.items[0].state = ItemState::kFailed;
  promote.items[0].facts = nullptr;
  promote.items[0].message =
      "hook pre-promote/10-dns: exit code 1; the volume is a replica still. Mend the hook, or take it out of "
      "/etc/understudy/hooks.d/pre-promote, and go on";
  for (const char* const step : {"storage-objects", "restore", "boot", "probe", "clean-up"}) {
    run.steps.push_back(NotReached(step));
  }
  End(run, RunState::kFailed, 80);
  run.error = "promote east/pv-db: " + promote.items[0].message;
  return run;
}

RunRecord PartialRun() {
  RunRecord run = PlannedRun();
  ItemRecord& web = StepOf(run, "boot").items[2];
  web.state = ItemState::kBroken;
  web.message = "ErrorUnschedulable: 0/3 nodes are available: 3 Insufficient memory";
  web.facts = {{"outcome", "bad"}};
  ItemRecord& probe = StepOf(run, "probe").items[0];
  probe.state = ItemState::kBroken;
  probe.message = "connection refused";
  StepOf(run, "probe").items.pop_back();
  run.state = RunState::kPartial;
  return run;
}

RunRecord AbortedRun() {
  RunRecord run = FailedRun();
  constexpr double kEightHours = 8 * 3600;
  End(run, RunState::kAborted, kEightHours);
  run.notes.push_back({At(kEightHours), "aborted by bob@bastion"});
  return run;
}

RunRecord ResumedRun() {
  RunRecord run = FailedRun();
  constexpr double kResumed = 2480;
  run.notes.push_back({At(kResumed), "resumed by bob@bastion"});
  run.error.clear();
  StepRecord& promote = StepOf(run, "promote");
  promote.ended_at = At(kResumed + 8);
  ItemRecord& db = promote.items[0];
  db.state = ItemState::kDone;
  db.warnings = {"attempt 1: " + db.message};
  db.message.clear();
  db.attempts = 2;
  db.ended_at = At(kResumed + 8);
  db.facts = Promotion(3, 812, 2445);
  run.steps.resize(run.steps.size() - 5);
  AddBoot(run, kResumed + 8);
  End(run, RunState::kDone, kResumed + 107);
  return run;
}

RunRecord TestRun(bool keep) {
  RunRecord run = Begun(RunMode::kTest);
  run.spec.keep = keep;
  run.steps = StepsUntilVerify();
  run.steps.resize(3);
  run.steps.push_back(Step("points", 11, 12, {Item("east/pv-db", ItemState::kDone, 11, 12, {{"sequence", 812}})}));
  run.steps.push_back(
      Step("materialise", 12, 15, {Item("east/pv-db", ItemState::kDone, 12, 15, {{"data_age_seconds", 4.5}})}));
  run.steps.push_back(Step("test-objects", 15, 16, {Item("shop-test/db", ItemState::kDone, 15, 16)}));
  AddBoot(run, 16);
  run.steps.pop_back();
  if (keep) {
    run.steps.push_back(NotReached("remove"));
  } else {
    run.steps.push_back(
        Step("remove", 115, 118,
             {Item("copy of east/pv-db", ItemState::kDone, 115, 118), Item("objects", ItemState::kDone, 115, 116)}));
  }
  End(run, RunState::kDone, 118);
  run.over = !keep;
  return run;
}

RunRecord HostileRun(const std::string& text) {
  RunRecord run = FailedRun();
  run.spec.id = run.spec.plan = run.spec.backup = run.spec.started_by = run.error = text;
  run.spec.namespaces = run.spec.volumes = {text};
  for (StepRecord& step : run.steps) {
    for (ItemRecord& item : step.items) {
      if (item.key.find('/') != std::string::npos) item.key = fmt::format("{0}/{0}", text);
      item.message = text;
      item.warnings = {text};
      item.facts = {{"name", text},
                    {"phase", text},
                    {text, text},
                    {"probe", text},
                    {"result", text},
                    {"outcome", text},
                    {"depth", text},
                    {"previous_run_strategy", text},
                    {"hooks", Json::array({{{"phase", text}, {"name", text}, {"error", text}, {"output", text}}})}};
    }
  }
  const Json volume = {
      {"pair", text}, {"volume", text}, {"claim", text}, {"storage_class", text}, {"replica_path", text}};
  const Json machine = {{"namespace", text}, {"name", text}, {"run_strategy", text}};
  const Json unknown = {{"persistent_volume", text}, {"storage_class", text}};
  StepOf(run, "inventory").items[0].facts = {{"volumes", Json::array({volume})},
                                             {"machines", Json::array({machine})},
                                             {"unknown_storage", Json::array({unknown})}};
  run.notes.push_back({At(81), "resumed by " + text});
  run.steps.push_back(StepRecord{.name = text, .begun_at = At(85), .ended_at = At(90), .items = {}});
  run.ended_at = At(95);
  return run;
}

}  // namespace understudy::control
