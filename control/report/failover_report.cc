#include "control/report/failover_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "control/report/failover_advice.h"
#include "control/report/run_facts.h"
#include "control/report/run_gaps.h"

namespace understudy::control {
namespace {

using Key = std::pair<std::string, std::string>;

// The element of `known` for `key`, made when it isn't there.
template <class Value>
Value& At(std::map<Key, Value>& known, const Key& key, std::string Value::*first, std::string Value::*second) {
  const auto [at, is_new] = known.try_emplace(key);
  if (is_new) {
    at->second.*first = key.first;
    at->second.*second = key.second;
  }
  return at->second;
}

template <class Value>
std::vector<Value> Values(std::map<Key, Value> known) {
  std::vector<Value> values;
  for (auto& [key, value] : known) values.push_back(std::move(value));
  return values;
}

// For each item of the step that is a volume or a machine.
template <class Function>
void ForEachItem(const RunRecord& run, std::string_view step, const Function& function) {
  const StepRecord* const record = run.Find(step);
  if (record == nullptr) return;
  for (const ItemRecord& item : record->items) {
    if (item.key.find('/') != std::string::npos) function(item);
  }
}

// A rehearsal promotes nothing; the state that it copies is as old as `points` or `materialise` says.
constexpr std::string_view kStepsWithDataAge[] = {"points", "materialise", "promote"};

void ReadData(const ItemRecord& item, VolumeOutcome& volume) {
  const auto read = [](auto& into, auto fact) {
    if (fact) into = fact;
  };
  read(volume.epoch, NumberFact(item.facts, "epoch"));
  read(volume.sequence, NumberFact(item.facts, "sequence"));
  read(volume.captured_at, TimeFact(item.facts, "captured_at"));
  if (std::string told = TextFact(item.facts, "consistency"); !told.empty()) volume.consistency = std::move(told);
  read(volume.data_age, DurationFact(item.facts, "data_age_seconds"));
  if (std::string by = TextFact(item.facts, "data_age_by"); !by.empty()) volume.data_age_by = std::move(by);
  read(volume.confirmed_at, TimeFact(item.facts, "confirmed_at"));
  read(volume.complete, TruthFact(item.facts, "complete"));
}

// Whether nothing was written at the primary after what DR has of the volume.
bool WasFencedBeforeItsLastSync(const RunRecord& run, const std::string& key) {
  const ItemRecord* const fence = FindItem(run, "fence", key);
  const ItemRecord* const sync = FindItem(run, "final-sync", key);
  const bool enforced = fence != nullptr && IsSo(*fence) && TruthFact(fence->facts, "fenced") != false;
  return enforced && sync != nullptr && IsSo(*sync);
}

std::vector<VolumeOutcome> VolumesOf(const RunRecord& run) {
  std::map<Key, VolumeOutcome> volumes;
  const auto at = [&](const Key& key) -> VolumeOutcome& {
    return At(volumes, key, &VolumeOutcome::pair, &VolumeOutcome::volume);
  };
  for (const auto& listed : ListFact(FactsOfStep(run, "inventory"), "volumes")) {
    const Key key{TextFact(listed, "pair"), TextFact(listed, "volume")};
    if (key.second.empty()) continue;
    VolumeOutcome& volume = at(key);
    volume.claim = TextFact(listed, "claim");
    volume.storage_class = TextFact(listed, "storage_class");
    volume.replica_path = TextFact(listed, "replica_path");
  }
  for (const std::string_view step : kStepsWithDataAge) {
    ForEachItem(run, step, [&](const ItemRecord& item) { ReadData(item, at(SplitKey(item.key))); });
  }
  ForEachItem(run, "promote", [&](const ItemRecord& item) {
    VolumeOutcome& volume = at(SplitKey(item.key));
    volume.promotion = item.state;
    volume.message = item.message;
    if (IsSo(item)) volume.active_at = item.ended_at;
  });
  ForEachItem(run, "verify", [&](const ItemRecord& item) {
    VolumeOutcome& volume = at(SplitKey(item.key));
    volume.verification = item.state;
    volume.verified_depth = TextFact(item.facts, "depth");
    volume.differences = NumberFact(item.facts, "differences");
  });
  for (auto& [key, volume] : volumes) {
    volume.recovery_point = volume.data_age;
    if (WasFencedBeforeItsLastSync(run, key.first + "/" + key.second)) volume.recovery_point = absl::ZeroDuration();
  }
  return Values(std::move(volumes));
}

void ReadProbes(const RunRecord& run, std::map<Key, MachineOutcome>& machines) {
  ForEachItem(run, "probe", [&](const ItemRecord& item) {
    // "namespace/name", and which of its probes.
    auto [namespace_name, name] = SplitKey(item.key);
    name = name.substr(0, name.find_first_of("/ "));
    const auto machine = machines.find({namespace_name, name});
    if (machine == machines.end()) return;
    const std::string result = item.message.empty() ? TextFact(item.facts, "result") : item.message;
    std::string probe = TextFact(item.facts, "probe");
    if (const std::string target = TextFact(item.facts, "target"); !target.empty()) probe += " " + target;
    machine->second.probes.push_back({std::move(probe), item.state, result});
  });
}

std::vector<MachineOutcome> MachinesOf(const RunRecord& run) {
  std::map<Key, MachineOutcome> machines;
  const auto at = [&](const Key& key) -> MachineOutcome& {
    return At(machines, key, &MachineOutcome::namespace_name, &MachineOutcome::name);
  };
  for (const auto& listed : ListFact(FactsOfStep(run, "inventory"), "machines")) {
    const Key key{TextFact(listed, "namespace"), TextFact(listed, "name")};
    if (!key.second.empty()) at(key).run_strategy = TextFact(listed, "run_strategy");
  }
  ForEachItem(run, "stop-vms", [&](const ItemRecord& item) { at(SplitKey(item.key)).stop = item.state; });
  ForEachItem(run, "boot", [&](const ItemRecord& item) {
    MachineOutcome& machine = at(SplitKey(item.key));
    machine.boot = item.state;
    machine.outcome = TextFact(item.facts, "outcome");
    machine.message = item.message;
    machine.started_at = TimeFact(item.facts, "started_at");
    machine.well_at = TimeFact(item.facts, "well_at");
    if (!machine.well_at && IsSo(item)) machine.well_at = item.ended_at;
  });
  ReadProbes(run, machines);
  return Values(std::move(machines));
}

void Count(RecoveryTime& time, bool reached, const std::optional<absl::Time>& at) {
  ++time.of;
  if (!reached) return;
  ++time.reached;
  if (at) time.last_at = std::max(time.last_at.value_or(*at), *at);
}

RecoveryTime RecoveryTimeOf(const FailoverReport& report) {
  RecoveryTime time;
  const StepRecord* const boot = report.run.Find("boot");
  if (boot != nullptr) {
    for (const MachineOutcome& machine : report.machines) {
      // Which machines are to be started is known for certain once the step that starts them has begun.
      const bool is_to_run =
          machine.boot ? machine.boot != ItemState::kLeftOut : !boot->begun_at && machine.run_strategy != "Halted";
      if (!is_to_run) continue;
      const bool well = machine.boot == ItemState::kDone || machine.boot == ItemState::kAlready;
      Count(time, well, machine.well_at);
    }
  }
  if (time.of > 0) {
    time.basis = RecoveryBasis::kMachines;
  } else if (report.run.Find("promote") != nullptr) {
    for (const VolumeOutcome& volume : report.volumes) {
      if (volume.promotion == ItemState::kLeftOut) continue;
      Count(time, volume.active_at.has_value(), volume.active_at);
    }
    if (time.of > 0) time.basis = RecoveryBasis::kVolumes;
  }
  if (time.last_at && time.reached == time.of) time.took = *time.last_at - report.run.spec.started_at;
  return time;
}

RecoveryPoint RecoveryPointOf(const std::vector<VolumeOutcome>& volumes) {
  RecoveryPoint point{.worst = std::nullopt, .volumes = volumes.size()};
  for (const VolumeOutcome& volume : volumes) {
    if (!volume.recovery_point) ++point.unknown;
    point.worst = std::max(point.worst, volume.recovery_point);
  }
  if (point.unknown > 0) point.worst.reset();
  return point;
}

// Storage that isn't replicated is worth a warning even where the step said none.
std::vector<RunWarning> WarningsOf(const RunRecord& run) {
  std::vector<RunWarning> warnings;
  for (const StepRecord& step : run.steps) {
    for (const ItemRecord& item : step.items) {
      for (const std::string& text : item.warnings) warnings.push_back({step.name, item.key, text});
    }
    if (step.name != "inventory") continue;
    for (const auto& unknown : ListFact(FactsOfStep(run, step.name), "unknown_storage")) {
      const std::string why = TextFact(unknown, "why");
      warnings.push_back({step.name, TextFact(unknown, "persistent_volume"),
                          fmt::format("its data isn't replicated (storage class {}){}",
                                      TextFact(unknown, "storage_class"), why.empty() ? "" : ": " + why)});
    }
  }
  return warnings;
}

}  // namespace

std::string_view ToString(RecoveryBasis basis) {
  switch (basis) {
    case RecoveryBasis::kNone:
      return "";
    case RecoveryBasis::kMachines:
      return "machines";
    case RecoveryBasis::kVolumes:
      return "volumes";
  }
  AbortOnBrokenInvariant("known RecoveryBasis", __FILE__, __LINE__);
}

FailoverReport BuildFailoverReport(const RunRecord& run, absl::Time now) {
  FailoverReport report;
  report.run = run;
  report.written_at = now;
  report.gaps = FindGaps(run, now);
  report.volumes = VolumesOf(run);
  report.machines = MachinesOf(run);
  report.recovery_time = RecoveryTimeOf(report);
  report.recovery_point = RecoveryPointOf(report.volumes);
  report.warnings = WarningsOf(run);
  report.next = NextOf(report);
  report.stays = StaysOf(run);
  return report;
}

absl::Time EndOf(const FailoverReport& report) {
  return report.run.ended_at.value_or(report.written_at);
}

absl::Duration WaitedIn(const FailoverReport& report) {
  absl::Duration waited;
  for (const RunGap& gap : report.gaps) waited += gap.Length();
  return waited;
}

}  // namespace understudy::control
