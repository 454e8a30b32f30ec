// turn_steps.h: the steps of a reprotect: the live copies are replicated to the other site, where nothing runs on the
// volumes any more; and what a failback needs in place of applying storage objects.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/failover/parts.h"
#include "control/failover/run_storage.h"
#include "control/failover/volume_steps.h"

namespace understudy::control {

// Every agent that has a part in it answers, and what is turned round is live.
class LiveInventoryStep : public Step {
 public:
  LiveInventoryStep(const FailoverParts& parts, RunStorage& storage) : parts_(parts), storage_(storage) {}
  std::string_view name() const override { return kInventoryStep; }
  std::string_view purpose() const override { return "find what is live, and whether it can be turned round"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }
  bool OnlyLooks() const override { return true; }

 private:
  const FailoverParts& parts_;
  RunStorage& storage_;
};

// Each volume is replicated from its live copy to the other host, and what differed is across.
class TurnStep : public VolumeStep {
 public:
  TurnStep(SiteAgents& agents, absl::Duration timeout) : VolumeStep(agents), timeout_(timeout) {}
  std::string_view name() const override { return "turn"; }
  std::string_view purpose() const override { return "turn the replication round, and send what differs"; }
  // Never so before it was asked: that what differed is across takes a barrier.
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;

 protected:
  std::string_view Verb() const override { return "turn round"; }

 private:
  const absl::Duration timeout_;
};

// The claims that were made at DR, and their PersistentVolumes, are at the cluster that takes over. What isn't brought
// on purpose is warned of; what failed, or can't be told, stops the run. A cleaning that was held back doesn't.
class BringObjectsStep : public Step {
 public:
  explicit BringObjectsStep(const FailoverParts& parts) : parts_(parts) {}
  std::string_view name() const override { return "bring-objects"; }
  std::string_view purpose() const override { return "bring across the claims that were made at DR"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  // Never so before it was asked: claims may have come since.
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item&, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }

 private:
  const FailoverParts& parts_;
};

// Each claim is there and bound at the cluster that takes over: where it came from, or was brought to.
class ClaimsStep : public Step {
 public:
  ClaimsStep(const FailoverParts& parts, absl::Duration timeout) : parts_(parts), timeout_(timeout) {}
  std::string_view name() const override { return "storage-objects"; }
  std::string_view purpose() const override { return "see that each claim is bound"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }

 private:
  const FailoverParts& parts_;
  const absl::Duration timeout_;
};

}  // namespace understudy::control
