#include "control/report/failover_advice.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/str_replace.h"
#include "control/report/failover_render.h"
#include "control/report/run_facts.h"

namespace understudy::control {
namespace {

// Causes, machines and the like that are named one by one.
constexpr size_t kMaxNamed = 20;

std::string ForRun(std::string_view verb, const RunRecord& run) {
  return fmt::format("drctl failover {} {}", verb, ShellWord(run.spec.id));
}

std::string ForPlan(std::string_view command, const RunRecord& run) {
  return fmt::format("drctl {} {}", command, ShellWord(run.spec.plan));
}

std::string NameOf(const StepRecord& step, const ItemRecord& item) {
  return item.key.empty() ? step.name : step.name + " " + item.key;
}

bool IsOfAMachine(const StepRecord& step) {
  return step.name == "boot" || step.name == "probe";
}

// One advice for each item that failed, apart from machines, which are named by AddMachines.
void AddCauses(const FailoverReport& report, bool machines, std::vector<Advice>& next) {
  size_t failed = 0;
  for (const StepRecord& step : report.run.steps) {
    if (!machines && IsOfAMachine(step)) continue;
    for (const ItemRecord& item : step.items) {
      if (!HasFailed(item.state) || ++failed > kMaxNamed) continue;
      next.push_back({fmt::format("Mend {}: {}", NameOf(step, item), item.message), ""});
    }
  }
  if (failed > kMaxNamed) next.push_back({fmt::format("… and {} more that failed", failed - kMaxNamed), ""});
  if (failed == 0 && !report.run.error.empty()) next.push_back({"Mend: " + report.run.error, ""});
}

// What is wrong with the machine; empty: nothing.
std::string ProblemOf(const MachineOutcome& machine) {
  if (machine.boot && HasFailed(*machine.boot)) return machine.message.empty() ? "it isn't well" : machine.message;
  for (const ProbeOutcome& probe : machine.probes) {
    if (HasFailed(probe.state)) return fmt::format("probe {}: {}", probe.probe, probe.result);
  }
  return "";
}

void AddMachines(const FailoverReport& report, std::vector<Advice>& next) {
  size_t unwell = 0;
  for (const MachineOutcome& machine : report.machines) {
    const std::string problem = ProblemOf(machine);
    if (problem.empty() || ++unwell > kMaxNamed) continue;
    // A rehearsal's stand in namespaces of their own.
    const std::string command = report.run.spec.mode == RunMode::kTest
                                    ? ""
                                    : fmt::format("kubectl -n {} describe vm,vmi {}", ShellWord(machine.namespace_name),
                                                  ShellWord(machine.name));
    next.push_back({fmt::format("Look at virtual machine {}/{} at {}: {}", machine.namespace_name, machine.name,
                                EndsOf(report.run).target, problem),
                    command});
  }
  if (unwell > kMaxNamed) next.push_back({fmt::format("… and {} more virtual machines", unwell - kMaxNamed), ""});
}

void AddLossOfData(const FailoverReport& report, std::vector<Advice>& next) {
  std::optional<absl::Duration> worst;
  std::string name;
  for (const VolumeOutcome& volume : report.volumes) {
    if (volume.complete == false) {
      next.push_back({fmt::format("Volume {}/{} was never across as a whole: what is in it isn't one state; check it, "
                                  "or restore it from a backup",
                                  volume.pair, volume.volume),
                      ""});
    }
    if (!volume.recovery_point || volume.recovery_point <= worst) continue;
    worst = volume.recovery_point;
    name = volume.pair + "/" + volume.volume;
  }
  if (!worst || *worst <= absl::ZeroDuration()) return;
  next.push_back({fmt::format("Tell the owners what is lost: what was written in the last {} before the promotion of "
                              "{}, less in the others (see the volumes)",
                              DurationText(*worst), name),
                  ""});
}

void AddAfterFailover(const FailoverReport& report, std::vector<Advice>& next) {
  const RunRecord& run = report.run;
  AddLossOfData(report, next);
  next.push_back({fmt::format("Check the applications at {}", EndsOf(run).target), ""});
  if (run.spec.mode == RunMode::kUnplanned) {
    next.push_back(
        {"When the old site comes back, keep its virtual machines stopped and its exports read-only: it "
         "doesn't know yet that DR took over",
         ""});
  }
  next.push_back({run.spec.mode == RunMode::kFailback ? "Turn replication round, so that the other site is kept ready"
                                                      : "When the old site is back, turn replication round",
                  ForPlan("reprotect", run)});
}

// The step's items that are `so`, or aren't.
void AddLeftOver(const StepRecord& step, bool so, std::vector<Advice>& next) {
  for (const ItemRecord& item : step.items) {
    if (IsSo(item) != so || next.size() > kMaxNamed) continue;
    next.push_back(
        {fmt::format("Left over: {}{}{}", NameOf(step, item), item.message.empty() ? "" : ": ", item.message), ""});
  }
}

void AddAfterTest(const FailoverReport& report, std::vector<Advice>& next) {
  const RunRecord& run = report.run;
  const StepRecord* const removal = run.Find("remove");
  if (removal != nullptr && removal->ended_at) {
    size_t removed = 0;
    for (const ItemRecord& item : removal->items) removed += IsSo(item) ? 1U : 0U;
    next.push_back({fmt::format("Nothing is left over: all that the test made was removed ({} items)", removed), ""});
    return;
  }
  const char* const why = run.spec.keep ? "What the test made was kept, as it was asked for; remove it when it isn't "
                                          "needed any more"
                                        : "What the test made isn't removed yet; remove it";
  next.push_back({why, ForRun("clean", run)});
  if (removal != nullptr && !removal->items.empty()) {
    AddLeftOver(*removal, /*so=*/false, next);
    return;
  }
  for (const char* const step : {"points", "materialise", "test-objects"}) {
    if (const StepRecord* const made = run.Find(step); made != nullptr) AddLeftOver(*made, /*so=*/true, next);
  }
}

void AddAfterTheEnd(const FailoverReport& report, std::vector<Advice>& next) {
  switch (report.run.spec.mode) {
    case RunMode::kPlanned:
    case RunMode::kUnplanned:
    case RunMode::kFailback:
      AddAfterFailover(report, next);
      return;
    case RunMode::kTest:
      AddAfterTest(report, next);
      return;
    case RunMode::kReprotect:
      next.push_back({"Replication runs the other way; see that every volume keeps up", "drctl status"});
      next.push_back({"When all of it is to go back", ForPlan("failback", report.run)});
      return;
  }
  AbortOnBrokenInvariant("known RunMode", __FILE__, __LINE__);
}

void AddGoingOn(const RunRecord& run, std::vector<Advice>& next) {
  if (run.over) {
    next.push_back({"Nothing more comes of this run: begin another one",
                    ForPlan(run.spec.mode == RunMode::kTest ? "failover test" : "failover run", run)});
    return;
  }
  next.push_back({"Go on where it was; what is done isn't done again", ForRun("resume", run)});
  // A rehearsal isn't given up, but removed.
  if (run.spec.mode == RunMode::kTest) return;
  next.push_back({"Or give it up; what it did stays as it is", ForRun("abort", run)});
}

std::string ForVolume(std::string_view command, const ItemRecord& item, std::string_view rest) {
  const auto [pair, volume] = SplitKey(item.key);
  return fmt::format("drctl {} {}{}{}", command, ShellWord(volume), rest,
                     pair.empty() ? "" : " --pair " + ShellWord(pair));
}

std::string MachineWords(const ItemRecord& item) {
  const auto [namespace_name, name] = SplitKey(item.key);
  return fmt::format("{} -n {}", ShellWord(name), ShellWord(namespace_name));
}

// What the item leaves, and how it is taken back; an empty text: nothing.
Advice StayOf(std::string_view step, const ItemRecord& item, const RunEnds& ends) {
  if (step == "boot") {
    return {fmt::format("Virtual machine {} runs at {}: stop it there", item.key, ends.target),
            "virtctl stop " + MachineWords(item)};
  }
  if (step == "restore") {
    const std::string name = TextFact(item.facts, "name");
    return {fmt::format("What Velero's restore {} made in the DR cluster is there: delete what isn't wanted", name),
            ""};
  }
  if (step == "promote") {
    return {
        fmt::format("Volume {} is the live copy at {}: make it a replica again (what was written there is replaced)",
                    item.key, ends.target),
        ForVolume("volumes demote", item, "")};
  }
  if (step == "pause") {
    return {fmt::format("Replication of volume {} is paused", item.key), ForVolume("volumes resume", item, "")};
  }
  if (step == "fence") {
    const std::string before = TextFact(item.facts, "exported_before");
    return {fmt::format("Volume {} is read-only at {}", item.key, ends.source),
            ForVolume("exports set", item,
                      fmt::format(" {} --site {}", before.empty() ? "rw" : ShellWord(before), ends.source_site))};
  }
  if (step == "stop-vms") {
    if (TruthFact(item.facts, "was_running") == false) return {};
    const std::string strategy = TextFact(item.facts, "previous_run_strategy");
    return {fmt::format("Virtual machine {} is stopped at {}{}", item.key, ends.source,
                        strategy.empty() ? "" : fmt::format(" (its run strategy was {})", strategy)),
            "virtctl start " + MachineWords(item)};
  }
  if (step == "turn") {
    return {fmt::format("Replication of volume {} was turned round", item.key), ""};
  }
  return {};
}

// Whether the item may have changed something that wasn't so before.
bool MayHaveActed(const ItemRecord& item) {
  return item.state == ItemState::kDone ||
         (item.attempts > 0 && (HasFailed(item.state) || item.state == ItemState::kRunning));
}

// Of a volume that the run took back to an earlier state and hasn't promoted since: its primary is refused.
void AddHeld(const RunRecord& run, std::vector<Advice>& stays) {
  for (const std::string_view step : {"promote", "verify"}) {
    const StepRecord* const record = run.Find(step);
    if (record == nullptr) continue;
    for (const ItemRecord& item : record->items) {
      const std::optional<uint64_t> taken_back = NumberFact(item.facts, "taken_back");
      const ItemRecord* const promoted = FindItem(run, "promote", item.key);
      if (!taken_back || (promoted != nullptr && IsSo(*promoted))) continue;
      Advice held{fmt::format("Volume {} was taken back to commit {} at DR and is held there: let its primary go on",
                              item.key, *taken_back),
                  ForVolume("volumes resume", item, "")};
      if (std::none_of(stays.begin(), stays.end(), [&](const Advice& stay) { return stay.command == held.command; })) {
        stays.push_back(std::move(held));
      }
    }
  }
}

}  // namespace

std::string ShellWord(std::string_view text) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+=,-";
  const bool is_plain = !text.empty() && text[0] != '-' && text.find_first_not_of(kPlain) == std::string_view::npos;
  if (is_plain) return std::string(text);
  return "'" + absl::StrReplaceAll(absl::string_view(text.data(), text.size()), {{"'", "'\\''"}}) + "'";
}

std::vector<Advice> NextOf(const FailoverReport& report) {
  const RunRecord& run = report.run;
  std::vector<Advice> next;
  switch (run.state) {
    case RunState::kRunning:
      next.push_back({"The run is under way; see how far it is", ForRun("report", run)});
      return next;
    case RunState::kInterrupted:
      next.push_back({"The process that made the run ended before the run did", ""});
      AddGoingOn(run, next);
      return next;
    case RunState::kFailed:
      AddCauses(report, /*machines=*/true, next);
      if (run.spec.mode == RunMode::kTest) AddAfterTest(report, next);
      AddGoingOn(run, next);
      return next;
    case RunState::kDone:
      AddAfterTheEnd(report, next);
      return next;
    case RunState::kPartial:
      AddMachines(report, next);
      AddCauses(report, /*machines=*/false, next);
      AddAfterTheEnd(report, next);
      return next;
    case RunState::kAborted:
      next.push_back({"Take back what the run did and isn't wanted, in the order in which it is listed", ""});
      if (run.spec.mode == RunMode::kTest) AddAfterTest(report, next);
      return next;
  }
  AbortOnBrokenInvariant("known RunState", __FILE__, __LINE__);
}

std::vector<Advice> StaysOf(const RunRecord& run) {
  std::vector<Advice> stays;
  if (run.state == RunState::kDone || run.state == RunState::kPartial || run.spec.mode == RunMode::kTest) return stays;
  for (auto step = run.steps.rbegin(); step != run.steps.rend(); ++step) {
    for (const ItemRecord& item : step->items) {
      Advice stay = StayOf(step->name, item, EndsOf(run));
      if (stay.text.empty() || !MayHaveActed(item)) continue;
      if (item.state != ItemState::kDone) stay.text = "Perhaps (it isn't known to be done): " + stay.text;
      stays.push_back(std::move(stay));
    }
  }
  AddHeld(run, stays);
  return stays;
}

}  // namespace understudy::control
