// cluster_steps.h: the steps of a run that concern the two clusters: virtual machines are stopped at the source; at the
// target storage objects are ready, the rest is restored, machines are started in order and looked into.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "control/failover/inventory.h"
#include "control/failover/parts.h"
#include "control/failover/run_storage.h"
#include "control/runs/step.h"
#include "control/vm/boot.h"
#include "control/vm/probe.h"

namespace understudy::control {

// Where a run makes things: in the namespaces of the same names, or, in a rehearsal, in others.
struct Placement {
  std::string namespace_suffix{};  // empty: none
  [[nodiscard]] std::string At(const std::string& namespace_name) const { return namespace_name + namespace_suffix; }
};

// Each virtual machine of the namespaces was asked to shut down at the source, or doesn't run. All are asked before any
// is waited for: a downtime is as long as the slowest shutdown, not as all of them.
class StopMachinesStep : public Step {
 public:
  explicit StopMachinesStep(const FailoverParts& parts) : parts_(parts) {}
  std::string_view name() const override { return "stop-vms"; }
  std::string_view purpose() const override { return "ask the virtual machines to shut down"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }
  // No machine of the inventory runs at the source.
  absl::StatusOr<bool> StillSo(const RunRecord& run, std::stop_token stop) override;

 private:
  const FailoverParts& parts_;
};

// None of them runs at the source.
class MachinesDownStep : public Step {
 public:
  MachinesDownStep(const FailoverParts& parts, absl::Duration timeout) : parts_(parts), timeout_(timeout) {}
  std::string_view name() const override { return "vms-down"; }
  std::string_view purpose() const override { return "wait until the virtual machines have shut down"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }

 private:
  const FailoverParts& parts_;
  const absl::Duration timeout_;
};

// Each claim is bound at the target to the PersistentVolume of its replica.
class StorageObjectsStep : public Step {
 public:
  StorageObjectsStep(const FailoverParts& parts, RunStorage& storage, absl::Duration timeout)
      : parts_(parts), storage_(storage), timeout_(timeout) {}
  std::string_view name() const override { return "storage-objects"; }
  std::string_view purpose() const override { return "have each claim bound to its replica"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;

 private:
  [[nodiscard]] absl::StatusOr<ClaimDefinition> DefinitionOf(const Item& item, ItemContext& context) const;

  const FailoverParts& parts_;
  RunStorage& storage_;
  const absl::Duration timeout_;
};

struct RestoreStepOptions {
  std::vector<std::string> excluded_resources{};
  ExistingResources existing = ExistingResources::kNone;
  absl::Duration backup_timeout = absl::Minutes(10);
  absl::Duration timeout = absl::Hours(1);
  Placement placement{};
  bool rehearsal = false;
};

// The name of the Restore that the `attempt`th attempt of a run makes, counted from 1: a Restore that failed stays as
// it is, and another one is made.
[[nodiscard]] std::string RestoreName(const RunSpec& run, uint32_t attempt);
// Of every Restore that the run may have made.
[[nodiscard]] std::vector<std::string> RestoreNamesOf(const RunRecord& run);

// Velero has restored what the backup has of the namespaces, except storage; machines are halted.
class RestoreStep : public Step {
 public:
  RestoreStep(const FailoverParts& parts, RestoreStepOptions options) : parts_(parts), options_(std::move(options)) {}
  std::string_view name() const override { return "restore"; }
  std::string_view purpose() const override { return "restore everything but storage from the backup"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;
  // What couldn't be restored of many objects.
  bool Tolerates(const absl::Status& failure) const override { return absl::IsDataLoss(failure); }

 private:
  const FailoverParts& parts_;
  const RestoreStepOptions options_;
};

// Each machine that is to run is well; group by group. All machines of a group are asked to start when its first one's
// turn comes, so that however few are waited for at a time, they come up side by side.
class BootStep : public Step {
 public:
  BootStep(const FailoverParts& parts, BootOrder order, Placement placement)
      : parts_(parts), order_(std::move(order)), placement_(std::move(placement)) {}
  std::string_view name() const override { return "boot"; }
  std::string_view purpose() const override { return "start the virtual machines in their order"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;
  bool Tolerates(const absl::Status&) const override { return order_.on_broken == OnBroken::kContinue; }

 private:
  [[nodiscard]] const BootGroup& GroupOf(const Item& item) const;
  // Once for each group: pauses after the group before, and asks its machines to start.
  [[nodiscard]] absl::Status Open(int group, ItemContext& context);

  const FailoverParts& parts_;
  const BootOrder order_;
  const Placement placement_;
  absl::Mutex mutex_;  // held while a group is opened: its other machines wait for that
  std::set<int> opened_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> asked_ ABSL_GUARDED_BY(mutex_);  // to start, when their groups were opened
};

// Each probe of each machine that is well passes.
class ProbeStep : public Step {
 public:
  ProbeStep(const FailoverParts& parts, std::vector<Probe> probes, Placement placement)
      : parts_(parts), probes_(std::move(probes)), placement_(std::move(placement)) {}
  std::string_view name() const override { return "probe"; }
  std::string_view purpose() const override { return "look inside the virtual machines"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }
  bool Tolerates(const absl::Status&) const override { return true; }

 private:
  const FailoverParts& parts_;
  const std::vector<Probe> probes_;
  const Placement placement_;
};

}  // namespace understudy::control
