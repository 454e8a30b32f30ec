// volume_steps.h: the steps of a run that are made for each volume: fence, final sync, pause, verification, promotion.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/failover/inventory.h"
#include "control/failover/ports.h"
#include "control/runs/step.h"
#include "core/base/clock.h"

namespace understudy::control {

// One item for each volume of the inventory.
class VolumeStep : public Step {
 public:
  // `agents` must outlive it.
  explicit VolumeStep(SiteAgents& agents) : agents_(agents) {}
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;

 protected:
  // "promote": what is done with each volume.
  [[nodiscard]] virtual std::string_view Verb() const = 0;
  [[nodiscard]] SiteAgents& agents() const { return agents_; }
  // Of an item's key.
  [[nodiscard]] static RunVolume VolumeOf(const Item& item);
  [[nodiscard]] absl::StatusOr<SourceView> Source(const RunVolume& volume) const;
  [[nodiscard]] absl::StatusOr<ReplicaView> Replica(const RunVolume& volume) const;
  // In an unplanned run, unless incomplete replicas are to be taken: a replica in the midst of a capture goes back to
  // the newest state that the primary really had.
  [[nodiscard]] absl::Status TakeBackToWhole(const RunVolume& volume, ItemContext& context);
  // Whether `holds` for what the step left of each of its volumes.
  [[nodiscard]] absl::StatusOr<bool> HoldsForAll(
      const RunRecord& run,
      const std::function<absl::StatusOr<bool>(const ItemRecord&, const RunVolume&)>& holds) const;

 private:
  SiteAgents& agents_;
};

// The primary's export of each volume is read-only: no client writes any more. Hooks pre-fence and post-fence run at
// the pair's DR host around it. Its fact `fenced` says whether anything enforces that: the NFS server, or the hooks
// where the export has `backend: none`.
class FenceStep : public VolumeStep {
 public:
  using VolumeStep::VolumeStep;
  std::string_view name() const override { return "fence"; }
  std::string_view purpose() const override { return "make the primary's exports read-only"; }
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;
  absl::StatusOr<bool> StillSo(const RunRecord& run, std::stop_token stop) override;

 protected:
  std::string_view Verb() const override { return "fence"; }
};

// DR has everything that was written until just now: the final sync, in the downtime, has little left to do, and a link
// that is dead is found before anything is stopped.
class PreSyncStep : public VolumeStep {
 public:
  PreSyncStep(SiteAgents& agents, absl::Duration timeout) : VolumeStep(agents), timeout_(timeout) {}
  std::string_view name() const override { return "pre-sync"; }
  std::string_view purpose() const override { return "bring DR up to date before anything is stopped"; }
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }

 protected:
  std::string_view Verb() const override { return "sync"; }

 private:
  const absl::Duration timeout_;
};

// DR has everything that was written before the fence.
class FinalSyncStep : public VolumeStep {
 public:
  FinalSyncStep(SiteAgents& agents, absl::Duration timeout) : VolumeStep(agents), timeout_(timeout) {}
  std::string_view name() const override { return "final-sync"; }
  std::string_view purpose() const override { return "bring what was written last to DR"; }
  // Never so before it was asked: that takes a barrier, which is what Do is.
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;
  absl::StatusOr<bool> StillSo(const RunRecord& run, std::stop_token stop) override;

 protected:
  std::string_view Verb() const override { return "sync"; }

 private:
  const absl::Duration timeout_;
};

// Nothing of the volume is replicated any more, whatever restarts.
class PauseStep : public VolumeStep {
 public:
  using VolumeStep::VolumeStep;
  std::string_view name() const override { return "pause"; }
  std::string_view purpose() const override { return "stop replication"; }
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;
  absl::StatusOr<bool> StillSo(const RunRecord& run, std::stop_token stop) override;

 protected:
  std::string_view Verb() const override { return "pause"; }
};

// The replica is what it should be, at the depth that the plan names.
class VerifyStep : public VolumeStep {
 public:
  VerifyStep(SiteAgents& agents, model::VerifyDepth depth) : VolumeStep(agents), depth_(depth) {}
  std::string_view name() const override { return "verify"; }
  std::string_view purpose() const override { return "verify the data at DR"; }
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }

 protected:
  std::string_view Verb() const override { return "verify"; }

 private:
  const model::VerifyDepth depth_;
};

// The replica is the live copy, exported read-write; its hooks have run.
class PromoteStep : public VolumeStep {
 public:
  PromoteStep(SiteAgents& agents, Clock& clock) : VolumeStep(agents), clock_(clock) {}
  std::string_view name() const override { return "promote"; }
  std::string_view purpose() const override { return "make the replicas the live copies"; }
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;
  bool IsPointOfNoReturn() const override { return true; }

 protected:
  std::string_view Verb() const override { return "promote"; }

 private:
  Clock& clock_;
};

}  // namespace understudy::control
