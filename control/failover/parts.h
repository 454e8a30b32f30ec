// parts.h: what the steps of a run are made of: the agents, the two clusters, and the backups, each behind its
// interface.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "control/apply/applier.h"
#include "control/apply/transform.h"
#include "control/failover/ports.h"
#include "control/oadp/restore.h"
#include "control/report/report.h"
#include "control/runs/step.h"
#include "control/sync/ports.h"
#include "control/vm/boot.h"
#include "control/vm/virtual_machines.h"
#include "core/base/clock.h"
#include "core/base/status.h"

namespace understudy::control {

// The source is the site that goes down, the target the one that takes over. Pointers are nullptr where the plan has no
// such part; all that is there outlives the run.
struct FailoverParts {
  SiteAgents& agents;
  bool source_is_dr = false;  // of the configuration: so in a failback, and in the reprotect after one
  VirtualMachines* source_machines = nullptr;
  VirtualMachines* target_machines = nullptr;
  Backups* backups = nullptr;
  Restores* restores = nullptr;
  ObjectApplier* applier = nullptr;  // of the target
  const ClusterReader* target_objects = nullptr;
  ScratchObjects* scratch = nullptr;  // of the target
  // Brings the storage objects of the plan's namespaces from the cluster that goes down to the one that takes over,
  // with their data, and says what came of it. Empty where DR's catalog has them already.
  std::function<absl::StatusOr<Report>(ItemContext&)> bring_objects{};
  // Whether the cluster answers: its version.
  std::function<absl::StatusOr<std::string>()> reach_source{};
  std::function<absl::StatusOr<std::string>()> reach_target{};
  std::function<TransformOptions(const std::string& pair)> transform{};
  std::filesystem::path work_folder{};  // the run's own
  std::function<absl::Status()> remove_work_folder{};
  VmWaitOptions vm_wait{};  // how machines are looked at
  Clock& clock = Clock::System();
};

}  // namespace understudy::control
