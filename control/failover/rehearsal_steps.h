// rehearsal_steps.h: the steps of a test failover: copies of the newest whole states, other namespaces, and the removal
// of all that. Replication goes on meanwhile; nothing of the real volumes, objects or exports is touched.
#pragma once

#include <string>
#include <vector>

#include "control/failover/cluster_steps.h"
#include "control/failover/parts.h"
#include "control/failover/volume_steps.h"

namespace understudy::control {

inline constexpr char kNamespacesStep[] = "namespaces";
// How long the removal waits until the namespaces with all that is in them, and the PersistentVolumes, are gone.
inline constexpr absl::Duration kRemovalLimit = absl::Minutes(10);

// Each namespace of the rehearsal is there and is the run's, also those without claims: Velero restores into whatever
// is there. Made before anything else is, so that a name that is taken costs nothing.
class NamespacesStep : public Step {
 public:
  NamespacesStep(const FailoverParts& parts, Placement placement) : parts_(parts), placement_(std::move(placement)) {}
  std::string_view name() const override { return kNamespacesStep; }
  std::string_view purpose() const override { return "claim the namespaces of the rehearsal"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }

 private:
  const FailoverParts& parts_;
  const Placement placement_;
};

// The newest whole state of each replica is kept as long as the rehearsal needs it: by a label of the run, or, where it
// has somebody else's, by being pinned under that one.
class PointsStep : public VolumeStep {
 public:
  using VolumeStep::VolumeStep;
  std::string_view name() const override { return "points"; }
  std::string_view purpose() const override { return "keep the newest state of each replica"; }
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }

 protected:
  std::string_view Verb() const override { return "keep the newest state of"; }

 private:
  // Of the newest whole state, which has a label already: notes how it was, and pins it.
  [[nodiscard]] absl::Status Borrow(const RunVolume& volume, ItemContext& context) const;
};

// That state is a writable folder of its own at DR, exported under its own path.
class MaterialiseStep : public VolumeStep {
 public:
  using VolumeStep::VolumeStep;
  std::string_view name() const override { return "materialise"; }
  std::string_view purpose() const override { return "make copies of those states"; }
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;

 protected:
  std::string_view Verb() const override { return "copy"; }
};

// Each claim is bound, in the rehearsal's namespace, to the copy.
class TestObjectsStep : public Step {
 public:
  TestObjectsStep(const FailoverParts& parts, RunStorage& storage, Placement placement, absl::Duration timeout)
      : parts_(parts), storage_(storage), placement_(std::move(placement)), timeout_(timeout) {}
  std::string_view name() const override { return "test-objects"; }
  std::string_view purpose() const override { return "make claims of the copies, in namespaces of their own"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item& item, ItemContext& context) override;
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item& item, ItemContext& context) override;

 private:
  const FailoverParts& parts_;
  RunStorage& storage_;
  const Placement placement_;
  const absl::Duration timeout_;
};

// Nothing of the rehearsal is left, whatever it was able to make.
class RemoveStep : public Step {
 public:
  // A Restore that is under way when it all is to go makes objects anew: its end is waited for, for `restore_timeout`.
  RemoveStep(const FailoverParts& parts, absl::Duration restore_timeout)
      : parts_(parts), restore_timeout_(restore_timeout) {}
  std::string_view name() const override { return "remove"; }
  std::string_view purpose() const override { return "remove what the rehearsal made"; }
  absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) override;
  absl::StatusOr<bool> Check(const Item&, ItemContext&) override { return false; }
  absl::Status Do(const Item& item, ItemContext& context) override;
  absl::Status Confirm(const Item&, ItemContext&) override { return absl::OkStatus(); }
  bool RunsAfterFailure() const override { return true; }

 private:
  [[nodiscard]] absl::Status RemoveObjects(ItemContext& context) const;
  [[nodiscard]] absl::Status RemoveRestores(ItemContext& context) const;
  // Of the namespaces that were the run's.
  [[nodiscard]] absl::Status SeeThatTheyAreGone(const RunRecord& run) const;
  [[nodiscard]] absl::Status RemoveTree(const RunVolume& volume, const RunRecord& run) const;
  [[nodiscard]] absl::Status ReleasePoint(const RunVolume& volume, const RunRecord& run) const;

  const FailoverParts& parts_;
  const absl::Duration restore_timeout_;
};

// The label of the run's recovery points, and where its copy of a replica lies at DR.
[[nodiscard]] std::string PointLabelOf(const RunSpec& run);
[[nodiscard]] std::string TreePathOf(const RunSpec& run, const std::string& replica_root);
// The name of the rehearsal's PersistentVolume beside the real one.
[[nodiscard]] std::string TestVolumeName(const RunSpec& run, const std::string& persistent_volume);

// What Transform returned, for a rehearsal: the PersistentVolume `volume` and its claim, under other names. Pure.
struct TestManifests {
  nlohmann::json volume;
  nlohmann::json claim;
};
[[nodiscard]] TestManifests ForRehearsal(TestManifests manifests, const RunSpec& run, const Placement& placement);

}  // namespace understudy::control
