// opening_steps.h: what a run looks at before it changes anything: whether everybody answers, which backup there is,
// and what goes over; and what it clears away in the end.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/failover/inventory.h"
#include "control/failover/parts.h"
#include "control/failover/run_storage.h"
#include "control/runs/step.h"
#include "core/config/failover_settings.h"

namespace understudy::control {

// Everybody that the run needs answers; of an unplanned one, nobody at the primary site does, unless the run was begun
// with the word that the primary is down.
class PreflightStep : public Step {
 public:
  PreflightStep(const FailoverParts& parts, RunMode mode) : parts_(parts), mode_(mode) {}
  std::string_view name() const override { return "preflight"; }
  std::string_view purpose() const override { return "ask agents and clusters whether they answer"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }
  bool OnlyLooks() const override { return true; }

 private:
  [[nodiscard]] absl::Status JudgeSource(const absl::Status& reached, const Item& item, ItemContext& context) const;

  const FailoverParts& parts_;
  const RunMode mode_;
};

// The backup is here, and it can be read: before anything is stopped or changed.
class BackupStep : public Step {
 public:
  // `storage` must outlive it, and has backups.
  BackupStep(RunStorage& storage, absl::Duration warn_age, Clock& clock)
      : storage_(storage), warn_age_(warn_age), clock_(clock) {}
  std::string_view name() const override { return kBackupStep; }
  std::string_view purpose() const override { return "fetch the backup and read it"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;
  bool OnlyLooks() const override { return true; }

 private:
  RunStorage& storage_;
  const absl::Duration warn_age_;
  Clock& clock_;
};

// What goes over is known and fit to: volumes, virtual machines, and storage that no pair has.
class InventoryStep : public Step {
 public:
  InventoryStep(const FailoverParts& parts, RunStorage& storage, config::UnknownStorage unknown)
      : parts_(parts), storage_(storage), unknown_(unknown) {}
  std::string_view name() const override { return kInventoryStep; }
  std::string_view purpose() const override { return "find what goes over, and whether it can"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;
  bool OnlyLooks() const override { return true; }

 private:
  [[nodiscard]] absl::Status AddListedVolumes(const RunSpec& spec, Inventory& inventory) const;
  [[nodiscard]] absl::Status AddMachines(const BackupObjects& backup, ItemContext& context, Inventory& inventory) const;
  [[nodiscard]] absl::Status CheckReplicas(const Inventory& inventory, ItemContext& context) const;
  [[nodiscard]] absl::Status CheckSources(const Inventory& inventory) const;

  const FailoverParts& parts_;
  RunStorage& storage_;
  const config::UnknownStorage unknown_;
};

// What was fetched for the run is gone.
class CleanUpStep : public Step {
 public:
  explicit CleanUpStep(const FailoverParts& parts) : parts_(parts) {}
  std::string_view name() const override { return "clean-up"; }
  std::string_view purpose() const override { return "remove what was fetched for the run"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item&, ItemContext&) override { return parts_.remove_work_folder(); }
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }

 private:
  const FailoverParts& parts_;
};

}  // namespace understudy::control
