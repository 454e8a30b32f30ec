#include "control/failover/cluster_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "absl/strings/ascii.h"
#include "control/apply/transform.h"
#include "control/vm/wellbeing.h"
#include "core/base/backoff.h"
#include "core/base/log.h"
#include "core/base/time_text.h"
#include "core/base/wait.h"
#include "core/kube/nfs_source.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using Json = nlohmann::ordered_json;
using nlohmann::json;

constexpr absl::Duration kPollInterval = absl::Milliseconds(500);

VmKey KeyOf(const std::string& text) {
  const auto [namespace_name, name] = SplitKey(text);
  return {namespace_name, name};
}

std::string_view ToString(StopRecord::Via via) {
  switch (via) {
    case StopRecord::Via::kNothing:
      return "nothing";
    case StopRecord::Via::kSubresource:
      return "subresource";
    case StopRecord::Via::kPatch:
      return "patch";
  }
  AbortOnBrokenInvariant("known StopRecord::Via", __FILE__, __LINE__);
}

// Machines that the run is to start, by "namespace/name" as the source has them.
std::vector<RunMachine> Runnable(const Inventory& inventory) {
  std::vector<RunMachine> machines;
  std::copy_if(inventory.machines.begin(), inventory.machines.end(), std::back_inserter(machines),
               [](const RunMachine& machine) { return machine.IsToRun(); });
  return machines;
}

absl::StatusOr<RunMachine> MachineOf(const RunRecord& run, const std::string& key) {
  ASSIGN_OR_RETURN(const Inventory inventory, InventoryOf(run));
  for (const RunMachine& machine : inventory.machines) {
    if (machine.Key() == key) return machine;
  }
  return absl::NotFoundError(fmt::format("the run knows no virtual machine {}", Printable(key)));
}

absl::StatusOr<std::vector<VmKey>> SourceMachinesOf(const RunRecord& run) {
  ASSIGN_OR_RETURN(const Inventory inventory, InventoryOf(run));
  std::vector<VmKey> keys;
  for (const RunMachine& machine : inventory.machines) {
    if (machine.at_source) keys.push_back({machine.namespace_name, machine.name});
  }
  return keys;
}

// Whether none of the run's machines runs at the source. One that is gone counts as stopped.
absl::StatusOr<bool> AllDown(VirtualMachines& source, const RunRecord& run, std::stop_token stop) {
  ASSIGN_OR_RETURN(const std::vector<VmKey> keys, SourceMachinesOf(run));
  const std::set<VmKey> wanted(keys.begin(), keys.end());
  std::set<std::string> namespaces;
  for (const VmKey& key : keys) namespaces.insert(key.namespace_name);
  for (const std::string& namespace_name : namespaces) {
    const absl::StatusOr<std::vector<VmStatus>> listed = source.List(namespace_name, stop);
    if (absl::IsNotFound(listed.status())) continue;
    RETURN_IF_ERROR(listed.status());
    for (const VmStatus& status : *listed) {
      if (wanted.contains(status.key) && Judge(status, {}).state != Wellbeing::kStopped) return false;
    }
  }
  return true;
}

// The Restore of an earlier attempt, unless that has failed.
std::string NameFor(const ItemContext& context) {
  const Json& facts = context.facts();
  if (!facts.is_object()) return RestoreName(context.run.spec, 1);
  const std::string phase = facts.value("phase", "");
  const bool failed = phase == "Failed" || phase == "FailedValidation";
  return failed ? RestoreName(context.run.spec, context.before.attempts + 1)
                : facts.value("name", RestoreName(context.run.spec, 1));
}

}  // namespace

absl::StatusOr<std::vector<Item>> StopMachinesStep::Items(const RunRecord& run, std::stop_token) {
  ASSIGN_OR_RETURN(const Inventory inventory, InventoryOf(run));
  std::vector<Item> items;
  for (const RunMachine& machine : inventory.machines) {
    if (machine.at_source) items.push_back({machine.Key(), fmt::format("shut down {}", machine.Key())});
  }
  return items;
}

absl::StatusOr<bool> StopMachinesStep::Check(const Item& item, ItemContext&) {
  const absl::StatusOr<VmStatus> status = parts_.source_machines->Get(KeyOf(item.key));
  if (absl::IsNotFound(status.status())) return true;  // gone
  RETURN_IF_ERROR(status.status());
  return Judge(*status, {}).state == Wellbeing::kStopped;
}

absl::StatusOr<bool> StopMachinesStep::StillSo(const RunRecord& run, std::stop_token stop) {
  return AllDown(*parts_.source_machines, run, std::move(stop));
}

absl::Status StopMachinesStep::Do(const Item& item, ItemContext& context) {
  const VmKey key = KeyOf(item.key);
  if (context.before.facts.is_null()) {
    ASSIGN_OR_RETURN(const VmStatus status, parts_.source_machines->Get(key));
    const StopRecord before = RecordOf(status);
    RETURN_IF_ERROR(context.RecordFacts(
        {{"previous_run_strategy", before.previous_run_strategy}, {"was_running", before.was_running}}));
  }
  ASSIGN_OR_RETURN(const StopRecord record, parts_.source_machines->Stop(key));
  Json facts = context.facts();
  if (record.via != StopRecord::Via::kNothing || !facts.contains("via"))
    facts["via"] = std::string(ToString(record.via));
  context.SetFacts(std::move(facts));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Item>> MachinesDownStep::Items(const RunRecord& run, std::stop_token) {
  ASSIGN_OR_RETURN(const std::vector<VmKey> keys, SourceMachinesOf(run));
  if (keys.empty()) return std::vector<Item>{};
  return std::vector<Item>{{"", fmt::format("wait until {} virtual machines have shut down", keys.size())}};
}

absl::StatusOr<bool> MachinesDownStep::Check(const Item&, ItemContext& context) {
  return AllDown(*parts_.source_machines, context.run, context.stop);
}

absl::Status MachinesDownStep::Do(const Item&, ItemContext& context) {
  ASSIGN_OR_RETURN(const std::vector<VmKey> keys, SourceMachinesOf(context.run));
  return WaitStopped(
      *parts_.source_machines, keys, timeout_, context.stop,
      [&](const VmStatus& status, const VmVerdict& verdict) {
        context.Progress(fmt::format("{}: {}", ToString(status.key), verdict.reason));
      },
      parts_.vm_wait, parts_.clock);
}

absl::StatusOr<std::vector<Item>> StorageObjectsStep::Items(const RunRecord& run, std::stop_token) {
  ASSIGN_OR_RETURN(const Inventory inventory, InventoryOf(run));
  std::vector<Item> items;
  for (const RunVolume& volume : inventory.volumes) {
    if (volume.claim.empty()) continue;
    items.push_back({volume.claim, fmt::format("bind claim {} to {}", volume.claim, volume.replica_path)});
  }
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.key < b.key; });
  return items;
}

absl::StatusOr<ClaimDefinition> StorageObjectsStep::DefinitionOf(const Item& item, ItemContext& context) const {
  ASSIGN_OR_RETURN(const auto found, storage_.Get(context.run, context.stop));
  for (const ClaimDefinition& claim : found->storage.claims) {
    if (claim.volume.claim == item.key) return claim;
  }
  return absl::NotFoundError(
      fmt::format("claim {} isn't in DR's catalog any more, nor in the backup", Printable(item.key)));
}

absl::StatusOr<bool> StorageObjectsStep::Check(const Item& item, ItemContext& context) {
  ASSIGN_OR_RETURN(const ClaimDefinition definition, DefinitionOf(item, context));
  const absl::StatusOr<json> claim = parts_.target_objects->Get(definition.claim_entry.key);
  if (absl::IsNotFound(claim.status())) return false;
  RETURN_IF_ERROR(claim.status());
  if (kube::PhaseOf(*claim) != "Bound" ||
      kube::TextAt(*claim, {"spec", "volumeName"}) != definition.volume_entry.key.name)
    return false;
  ASSIGN_OR_RETURN(const json volume, parts_.target_objects->Get(definition.volume_entry.key));
  ASSIGN_OR_RETURN(const json wanted, Transform(definition.volume_entry, parts_.transform(definition.volume.pair)));
  return kube::NfsSourceOf(volume) == kube::NfsSourceOf(wanted);
}

absl::Status StorageObjectsStep::Do(const Item& item, ItemContext& context) {
  ASSIGN_OR_RETURN(const ClaimDefinition definition, DefinitionOf(item, context));
  const TransformOptions options = parts_.transform(definition.volume.pair);
  ASSIGN_OR_RETURN(const json volume, Transform(definition.volume_entry, options));
  ASSIGN_OR_RETURN(const json claim, Transform(definition.claim_entry, options));
  const absl::Duration deadline = parts_.clock.Monotonic() + timeout_;
  Backoff backoff(kPollInterval, absl::Seconds(5));
  while (true) {
    absl::Status applied = parts_.applier->Apply(volume);
    if (applied.ok()) applied = parts_.applier->Apply(claim);
    if (applied.ok() || !MayPass(applied) || parts_.clock.Monotonic() > deadline) return applied;
    context.Progress(std::string(MessageOf(applied)));
    if (!WaitUnlessStopped(context.stop, backoff.Next())) return absl::CancelledError("stopped");
  }
}

absl::Status StorageObjectsStep::Confirm(const Item& item, ItemContext& context) {
  ASSIGN_OR_RETURN(const ClaimDefinition definition, DefinitionOf(item, context));
  const absl::Duration deadline = parts_.clock.Monotonic() + timeout_;
  std::string phase = "unknown";
  while (true) {
    const absl::StatusOr<json> claim = parts_.target_objects->Get(definition.claim_entry.key);
    if (claim.ok()) phase = kube::PhaseOf(*claim);
    if (claim.ok() && phase == "Bound") return absl::OkStatus();
    if (!claim.ok() && !MayPass(claim.status())) return claim.status();
    if (parts_.clock.Monotonic() > deadline) {
      return absl::DeadlineExceededError(
          fmt::format("the claim is {}, not Bound: `kubectl describe pvc -n {} {}` says why", phase,
                      definition.claim_entry.key.namespace_name, definition.claim_entry.key.name));
    }
    context.Progress(fmt::format("the claim is {}", phase));
    if (!WaitUnlessStopped(context.stop, kPollInterval)) return absl::CancelledError("stopped");
  }
}

std::string RestoreName(const RunSpec& run, uint32_t attempt) {
  const std::string name = "understudy-" + absl::AsciiStrToLower(run.id);
  return attempt <= 1 ? name : fmt::format("{}-{}", name, attempt);
}

std::vector<std::string> RestoreNamesOf(const RunRecord& run) {
  const StepRecord* const step = run.Find("restore");
  const ItemRecord* const item = step == nullptr ? nullptr : step->Find("");
  std::vector<std::string> names;
  for (uint32_t attempt = 1; item != nullptr && attempt <= item->attempts; ++attempt) {
    names.push_back(RestoreName(run.spec, attempt));
  }
  return names;
}

absl::StatusOr<std::vector<Item>> RestoreStep::Items(const RunRecord& run, std::stop_token) {
  return std::vector<Item>{{"", fmt::format("make Restore {}", RestoreName(run.spec, 1))}};
}

absl::StatusOr<bool> RestoreStep::Check(const Item&, ItemContext& context) {
  const absl::StatusOr<RestoreResult> result = parts_.restores->Get(NameFor(context));
  if (absl::IsNotFound(result.status())) return false;
  RETURN_IF_ERROR(result.status());
  return result->Ended();
}

absl::Status RestoreStep::Do(const Item&, ItemContext& context) {
  ASSIGN_OR_RETURN(const std::string backup, BackupNameOf(context.run));
  context.Progress(fmt::format("waiting until the cluster knows backup {}", backup));
  RETURN_IF_ERROR(parts_.restores->WaitForBackup(backup, options_.backup_timeout, context.stop));
  RestoreSpec spec{.name = NameFor(context),
                   .backup_name = backup,
                   .included_namespaces = context.run.spec.namespaces,
                   .excluded_resources = options_.excluded_resources,
                   .namespace_mapping = {},
                   .existing_resources = options_.existing,
                   .halted = true,
                   .clear_mac_address = options_.rehearsal,
                   .new_firmware_uuid = options_.rehearsal};
  if (!options_.placement.namespace_suffix.empty()) {
    for (const std::string& name : context.run.spec.namespaces) {
      spec.namespace_mapping[name] = options_.placement.At(name);
    }
  }
  RETURN_IF_ERROR(context.RecordFacts({{"name", spec.name}}));
  return parts_.restores->Create(spec);
}

absl::Status RestoreStep::Confirm(const Item&, ItemContext& context) {
  const std::string name = NameFor(context);
  ASSIGN_OR_RETURN(const RestoreResult result,
                   parts_.restores->WaitForEnd(name, options_.timeout, context.stop,
                                               [&](const RestoreResult& now) { context.Progress(Describe(now)); }));
  context.SetFacts({{"name", name},
                    {"phase", result.phase},
                    {"errors", result.errors},
                    {"warnings", result.warnings},
                    {"items_restored", result.items_restored},
                    {"total_items", result.total_items}});
  const std::string text =
      fmt::format("Restore {}: {}; `velero restore describe {} --details` says more", name, Describe(result), name);
  if (result.Completed()) {
    if (result.warnings > 0) context.Warn(text);
    return absl::OkStatus();
  }
  return result.phase == "PartiallyFailed" ? absl::DataLossError(text) : absl::FailedPreconditionError(text);
}

absl::StatusOr<std::vector<Item>> BootStep::Items(const RunRecord& run, std::stop_token) {
  ASSIGN_OR_RETURN(const Inventory inventory, InventoryOf(run));
  const std::vector<RunMachine> machines = Runnable(inventory);
  std::vector<BootVm> vms;
  for (const RunMachine& machine : machines) {
    vms.push_back({{machine.namespace_name, machine.name}, machine.run_strategy});
  }
  const std::vector<size_t> groups = GroupsOf(order_, vms);
  std::vector<Item> items;
  for (size_t i = 0; i < machines.size(); ++i) {
    items.push_back({.key = machines[i].Key(),
                     .what = fmt::format("start {}/{}", placement_.At(machines[i].namespace_name), machines[i].name),
                     .wave = static_cast<int>(groups[i])});
  }
  return items;
}

const BootGroup& BootStep::GroupOf(const Item& item) const {
  const auto group = static_cast<size_t>(item.wave);
  return group < order_.groups.size() ? order_.groups[group] : order_.rest;
}

absl::Status BootStep::Open(int group, ItemContext& context) {
  const absl::MutexLock lock(&mutex_);
  if (opened_.contains(group)) return absl::OkStatus();
  const auto index = static_cast<size_t>(group);
  const absl::Duration pause = index == 0 ? absl::ZeroDuration() : order_.groups[index - 1].pause_after;
  if (pause > absl::ZeroDuration()) {
    context.Progress("pausing after the group before");
    if (!WaitUnlessStopped(context.stop, pause)) return absl::CancelledError("stopped");
  }
  ASSIGN_OR_RETURN(const std::vector<Item> items, Items(context.run, context.stop));
  for (const Item& item : items) {
    if (item.wave != group || context.stop.stop_requested()) continue;
    ASSIGN_OR_RETURN(const RunMachine machine, MachineOf(context.run, item.key));
    const VmKey key{placement_.At(machine.namespace_name), machine.name};
    const absl::StatusOr<VmStatus> now = parts_.target_machines->Get(key);
    if (!now.ok() || now->wants_running) continue;
    asked_.insert(item.key);
    // Each is asked again when its own turn comes, so that one that can't be asked now is told of there.
    const absl::Status asked = parts_.target_machines->Start(key, machine.run_strategy);
    if (!asked.ok()) context.Progress(fmt::format("{}: {}", item.key, MessageOf(asked)));
  }
  opened_.insert(group);
  return absl::OkStatus();
}

absl::StatusOr<bool> BootStep::Check(const Item& item, ItemContext& context) {
  {
    const absl::MutexLock lock(&mutex_);
    if (asked_.contains(item.key)) return false;  // it isn't well by itself
  }
  ASSIGN_OR_RETURN(const RunMachine machine, MachineOf(context.run, item.key));
  ASSIGN_OR_RETURN(const VmStatus status,
                   parts_.target_machines->Get({placement_.At(machine.namespace_name), machine.name}));
  return Judge(status, {.agent = GroupOf(item).expect_agent}).state == Wellbeing::kWell;
}

absl::Status BootStep::Do(const Item& item, ItemContext& context) {
  ASSIGN_OR_RETURN(const RunMachine machine, MachineOf(context.run, item.key));
  const VmKey key{placement_.At(machine.namespace_name), machine.name};
  RETURN_IF_ERROR(Open(item.wave, context));
  const absl::Time started = parts_.clock.Now();
  BootOrder alone{.groups = {}, .rest = GroupOf(item), .on_broken = OnBroken::kContinue};
  ASSIGN_OR_RETURN(const std::vector<VmBoot> boots,
                   Boot(
                       *parts_.target_machines, {{key, machine.run_strategy}}, alone, context.stop,
                       [&](const VmStatus&, const VmVerdict& verdict) { context.Progress(verdict.reason); },
                       parts_.vm_wait, parts_.clock));
  const VmBoot& boot = boots.at(0);
  Json facts = {{"outcome", std::string(ToString(boot.outcome))}, {"started_at", Rfc3339Seconds(started)}};
  if (boot.outcome == BootOutcome::kWell) facts["well_at"] = Rfc3339Seconds(parts_.clock.Now());
  context.SetFacts(std::move(facts));
  if (boot.outcome == BootOutcome::kWell) return absl::OkStatus();
  return absl::AbortedError(fmt::format("{}: {}", ToString(boot.outcome), boot.reason));
}

absl::Status BootStep::Confirm(const Item&, ItemContext& context) {
  if (context.facts().is_null()) {
    context.SetFacts({{"outcome", "well"}, {"well_at", Rfc3339Seconds(parts_.clock.Now())}});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Item>> ProbeStep::Items(const RunRecord& run, std::stop_token) {
  const StepRecord* const boot = run.Find("boot");
  std::vector<Item> items;
  if (boot == nullptr) return items;
  for (const ItemRecord& machine : boot->items) {
    if (machine.state != ItemState::kDone && machine.state != ItemState::kAlready) continue;
    for (size_t i = 0; i < probes_.size(); ++i) {
      const bool matches = std::any_of(probes_[i].vms.begin(), probes_[i].vms.end(),
                                       [&](const std::string& glob) { return MatchesVm(glob, KeyOf(machine.key)); });
      if (!matches) continue;
      items.push_back({.key = fmt::format("{} {}#{}", machine.key, KindOf(probes_[i]), i),
                       .what = fmt::format("{} probe of {}", KindOf(probes_[i]), machine.key)});
    }
  }
  return items;
}

absl::Status ProbeStep::Do(const Item& item, ItemContext& context) {
  const VmKey source = KeyOf(item.key.substr(0, item.key.find(' ')));
  size_t index = probes_.size();
  const std::string number = item.key.substr(item.key.rfind('#') + 1);
  std::from_chars(number.data(), number.data() + number.size(), index);
  if (index >= probes_.size()) {
    return absl::NotFoundError("the plan hasn't got this probe any more");
  }
  ASSIGN_OR_RETURN(const ProbeResult result,
                   RunProbe(*parts_.target_machines, {placement_.At(source.namespace_name), source.name},
                            probes_[index], context.stop, {}, parts_.clock));
  context.SetFacts({{"probe", result.kind}, {"target", result.target}, {"result", result.text}});
  return result.passed ? absl::OkStatus() : absl::AbortedError(result.text);
}

}  // namespace understudy::control
