#include "control/failover/plan_steps.h"

#include "control/failover/cluster_steps.h"
#include "control/failover/opening_steps.h"
#include "control/failover/rehearsal_steps.h"
#include "control/failover/turn_steps.h"
#include "control/failover/volume_steps.h"
#include "control/vm/vm_settings.h"

namespace understudy::control {
namespace {

// The names of the settings are those of the depths.
model::VerifyDepth DepthOf(std::string_view name) {
  const absl::StatusOr<model::VerifyDepth> depth = model::ParseVerifyDepth(name);
  UNDERSTUDY_CHECK(depth.ok());
  return *depth;
}

model::VerifyDepth DepthOf(const config::FailoverPlanConfig& plan, RunMode mode) {
  if (mode == RunMode::kPlanned || mode == RunMode::kFailback) {
    return DepthOf(config::ChoiceNames<config::PlannedVerify>::kNames[static_cast<size_t>(plan.verify)]);
  }
  return DepthOf(config::ChoiceNames<config::UnplannedVerify>::kNames[static_cast<size_t>(plan.verify_unplanned)]);
}

BootOrder OrderOf(const config::FailoverPlanConfig& plan) {
  BootOrder order;
  for (const config::BootGroupConfig& group : plan.boot) order.groups.push_back(BootGroupOf(group));
  order.rest.timeout = plan.timeouts.boot;
  order.on_broken = plan.on_broken_vm == config::OnBrokenVm::kStop ? OnBroken::kStop : OnBroken::kContinue;
  return order;
}

class Builder {
 public:
  Builder(const config::FailoverPlanConfig& plan, RunMode mode, const FailoverParts& parts, RunStorage& storage)
      : plan_(plan), mode_(mode), parts_(parts), storage_(storage) {}

  Engine::Steps Build() {
    if (mode_ == RunMode::kReprotect) {
      AddReprotect();
      return std::move(steps_);
    }
    AddOpening();
    if (mode_ == RunMode::kTest) {
      AddRehearsal();
    } else {
      AddTakeover();
    }
    return std::move(steps_);
  }

 private:
  template <class StepType, class... Arguments>
  void Add(Arguments&&... arguments) {
    steps_.push_back(std::make_unique<StepType>(std::forward<Arguments>(arguments)...));
  }

  [[nodiscard]] bool Restores() const { return parts_.restores != nullptr && parts_.backups != nullptr; }

  // A rehearsal's namespaces hold nothing that a backup may be newer than.
  [[nodiscard]] ExistingResources Existing() const {
    const bool updates = plan_.existing_at_dr == config::ExistingAtDr::kUpdate && mode_ != RunMode::kTest;
    return updates ? ExistingResources::kUpdate : ExistingResources::kNone;
  }

  [[nodiscard]] std::vector<std::string> ExcludedResources() const {
    std::vector<std::string> excluded = plan_.excluded_resources;
    if (mode_ != RunMode::kTest) return excluded;
    excluded.insert(excluded.end(), plan_.test_excluded_resources.begin(), plan_.test_excluded_resources.end());
    return excluded;
  }

  void AddOpening() {
    Add<PreflightStep>(parts_, mode_);
    if (parts_.bring_objects) Add<BringObjectsStep>(parts_);
    if (Restores()) Add<BackupStep>(storage_, plan_.warn_backup_age, parts_.clock);
    Add<InventoryStep>(parts_, storage_, plan_.unknown_storage);
  }

  void AddTakeover() {
    if (mode_ != RunMode::kUnplanned) {
      Add<PreSyncStep>(parts_.agents, plan_.timeouts.final_sync);
      if (parts_.source_machines != nullptr) AddShutdown();
      Add<FenceStep>(parts_.agents);
      Add<FinalSyncStep>(parts_.agents, plan_.timeouts.final_sync);
    }
    Add<VerifyStep>(parts_.agents, DepthOf(plan_, mode_));
    if (mode_ != RunMode::kUnplanned) Add<PauseStep>(parts_.agents);
    Add<PromoteStep>(parts_.agents, parts_.clock);
    if (parts_.target_objects != nullptr) {
      if (mode_ == RunMode::kFailback) {
        Add<ClaimsStep>(parts_, plan_.timeouts.bind);
      } else {
        Add<StorageObjectsStep>(parts_, storage_, plan_.timeouts.bind);
      }
    }
    AddWorkload({});
    Add<CleanUpStep>(parts_);
  }

  // The source is the site that isn't live.
  void AddReprotect() {
    Add<PreflightStep>(parts_, mode_);
    Add<LiveInventoryStep>(parts_, storage_);
    if (parts_.source_machines != nullptr) AddShutdown();
    Add<TurnStep>(parts_.agents, plan_.timeouts.final_sync);
  }

  void AddShutdown() {
    Add<StopMachinesStep>(parts_);
    Add<MachinesDownStep>(parts_, plan_.timeouts.stop_vms);
  }

  void AddRehearsal() {
    const Placement placement{plan_.test_namespace_suffix};
    if (parts_.scratch != nullptr) Add<NamespacesStep>(parts_, placement);
    Add<PointsStep>(parts_.agents);
    Add<MaterialiseStep>(parts_.agents);
    if (parts_.target_objects != nullptr) Add<TestObjectsStep>(parts_, storage_, placement, plan_.timeouts.bind);
    AddWorkload(placement);
    Add<RemoveStep>(parts_, plan_.timeouts.restore);
  }

  // What runs on the storage.
  void AddWorkload(const Placement& placement) {
    if (Restores()) {
      Add<RestoreStep>(parts_, RestoreStepOptions{.excluded_resources = ExcludedResources(),
                                                  .existing = Existing(),
                                                  .backup_timeout = plan_.timeouts.backup,
                                                  .timeout = plan_.timeouts.restore,
                                                  .placement = placement,
                                                  .rehearsal = mode_ == RunMode::kTest});
    }
    if (parts_.target_machines == nullptr) return;
    Add<BootStep>(parts_, OrderOf(plan_), placement);
    std::vector<Probe> probes;
    for (const config::ProbeConfig& probe : plan_.probes) {
      for (Probe& each : ProbesOf(probe)) probes.push_back(std::move(each));
    }
    Add<ProbeStep>(parts_, std::move(probes), placement);
  }

  const config::FailoverPlanConfig& plan_;
  const RunMode mode_;
  const FailoverParts& parts_;
  RunStorage& storage_;
  Engine::Steps steps_;
};

}  // namespace

Engine::Steps StepsOf(const config::FailoverPlanConfig& plan, RunMode mode, const FailoverParts& parts,
                      RunStorage& storage) {
  return Builder(plan, mode, parts, storage).Build();
}

std::vector<std::string> NamesOf(const Engine::Steps& steps) {
  std::vector<std::string> names;
  for (const std::unique_ptr<Step>& step : steps) names.emplace_back(step->name());
  return names;
}

}  // namespace understudy::control
