#include "control/failover/rehearsal_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "control/apply/transform.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using nlohmann::json;

constexpr absl::Duration kPollInterval = absl::Milliseconds(500);
constexpr size_t kMaxObjectNameBytes = 253;

constexpr char kObjects[] = "objects";
constexpr char kFiles[] = "files";
constexpr std::string_view kCopyOf = "copy of ";
constexpr std::string_view kPointOf = "point of ";

const model::RecoveryPoint* FindLabelled(const model::RecoveryPoints& points, const std::string& label) {
  if (points.newest.label == label) return &points.newest;
  const auto found = std::find_if(points.points.begin(), points.points.end(),
                                  [&](const model::RecoveryPoint& point) { return point.label == label; });
  return found == points.points.end() ? nullptr : &*found;
}

// A state that had a label of its own before the run pinned it, as the facts of `points` have it.
struct BorrowedPoint {
  model::Sequence sequence = 0;
  std::string label;
  bool was_pinned = false;
};
constexpr char kBorrowedLabel[] = "label";
constexpr char kWasPinned[] = "was_pinned";

std::optional<BorrowedPoint> BorrowedOf(const nlohmann::ordered_json& facts) {
  if (!facts.is_object() || !facts.contains(kBorrowedLabel)) return std::nullopt;
  return BorrowedPoint{.sequence = facts.value("sequence", model::Sequence{0}),
                       .label = facts.value(kBorrowedLabel, ""),
                       .was_pinned = facts.value(kWasPinned, false)};
}

// nullptr: its label was taken away or changed meanwhile, so it isn't the run's to care for any more.
const model::RecoveryPoint* FindBorrowed(const model::RecoveryPoints& points, const BorrowedPoint& borrowed) {
  const model::RecoveryPoint* const point = FindLabelled(points, borrowed.label);
  return point != nullptr && point->sequence == borrowed.sequence ? point : nullptr;
}

absl::StatusOr<model::PointTree> FindTree(SiteAgents& agents, const std::string& pair, const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<model::PointTree> trees, agents.Trees(pair));
  for (const model::PointTree& tree : trees) {
    if (tree.path == path) return tree;
  }
  return absl::NotFoundError("the copy isn't there");
}

// Of a kept state; empty: not told.
std::string ConsistencyOf(SiteAgents& agents, const RunVolume& volume, model::Sequence sequence) {
  const absl::StatusOr<model::RecoveryPoints> points = agents.Points(volume.pair, volume.volume);
  if (!points.ok()) return "";
  std::vector<model::RecoveryPoint> all = points->points;
  all.push_back(points->newest);
  for (const model::RecoveryPoint& point : all) {
    const bool told = point.sequence == sequence && point.consistency != model::Consistency::kUnknown;
    if (told) return std::string(model::ToString(point.consistency));
  }
  return "";
}

// What an earlier step left of the same item. Null when it left nothing.
nlohmann::ordered_json FactsOf(const RunRecord& run, std::string_view step, const std::string& key) {
  const StepRecord* const record = run.Find(step);
  const ItemRecord* const item = record == nullptr ? nullptr : record->Find(key);
  return item == nullptr ? nlohmann::ordered_json() : item->facts;
}

}  // namespace

std::string PointLabelOf(const RunSpec& run) {
  return "drtest-" + run.id;
}

std::string TreePathOf(const RunSpec& run, const std::string& replica_root) {
  return replica_root + ".drtest-" + run.id;
}

std::string TestVolumeName(const RunSpec& run, const std::string& persistent_volume) {
  const std::string suffix = "-" + absl::AsciiStrToLower(run.id);
  return persistent_volume.substr(0, kMaxObjectNameBytes - suffix.size()) + suffix;
}

TestManifests ForRehearsal(TestManifests manifests, const RunSpec& run, const Placement& placement) {
  json& volume = manifests.volume;
  json& claim = manifests.claim;
  const std::string name = TestVolumeName(run, volume["metadata"]["name"].get<std::string>());
  for (json* const object : {&volume, &claim}) {
    json& metadata = (*object)["metadata"];
    // Nothing that keeps the standby's objects in order may take these for such.
    if (metadata.contains("labels")) metadata["labels"].erase(kManagedByLabel);
    if (metadata.contains("annotations")) metadata["annotations"].erase(kSourceUidAnnotation);
  }
  volume["metadata"]["name"] = name;
  const std::string namespace_name = placement.At(claim["metadata"]["namespace"].get<std::string>());
  claim["metadata"]["namespace"] = namespace_name;
  claim["spec"]["volumeName"] = name;
  volume["spec"]["claimRef"] = {
      {"kind", "PersistentVolumeClaim"}, {"namespace", namespace_name}, {"name", claim["metadata"]["name"]}};
  return manifests;
}

absl::StatusOr<std::vector<Item>> NamespacesStep::Items(const RunRecord& run, std::stop_token) {
  std::vector<Item> items;
  for (const std::string& name : run.spec.namespaces) {
    items.push_back({placement_.At(name), fmt::format("claim namespace {}", placement_.At(name))});
  }
  return items;
}

absl::Status NamespacesStep::Do(const Item& item, ItemContext& context) {
  return parts_.scratch->EnsureNamespace(context.run.spec.id, item.key);
}

absl::StatusOr<bool> PointsStep::Check(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  ASSIGN_OR_RETURN(const model::RecoveryPoints points, agents().Points(volume.pair, volume.volume));
  if (const std::optional<BorrowedPoint> borrowed = BorrowedOf(context.facts())) {
    const model::RecoveryPoint* const point = FindBorrowed(points, *borrowed);
    return point != nullptr && point->pinned;
  }
  const model::RecoveryPoint* const point = FindLabelled(points, PointLabelOf(context.run.spec));
  if (point == nullptr) return false;
  context.SetFacts({{"sequence", point->sequence}});
  return true;
}

absl::Status PointsStep::Do(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  if (const std::optional<BorrowedPoint> borrowed = BorrowedOf(context.facts())) {
    ASSIGN_OR_RETURN(const model::RecoveryPoints points, agents().Points(volume.pair, volume.volume));
    if (FindBorrowed(points, *borrowed) != nullptr) {
      return agents().SetPinned(volume.pair, volume.volume, borrowed->sequence, borrowed->label, /*pinned=*/true);
    }
  }
  const absl::StatusOr<model::Sequence> sequence =
      agents().LabelNewest(volume.pair, volume.volume, PointLabelOf(context.run.spec));
  if (absl::IsAlreadyExists(sequence.status())) return Borrow(volume, context);
  RETURN_IF_ERROR(sequence.status());
  context.SetFacts({{"sequence", *sequence}});
  return absl::OkStatus();
}

absl::Status PointsStep::Borrow(const RunVolume& volume, ItemContext& context) const {
  ASSIGN_OR_RETURN(const model::RecoveryPoints points, agents().Points(volume.pair, volume.volume));
  const model::RecoveryPoint* const newest = model::NewestWhole(points);
  if (newest == nullptr || newest->label.empty()) {
    return absl::AbortedError("its newest state had a label just now, and has none any more: resume the rehearsal");
  }
  RETURN_IF_ERROR(context.RecordFacts(
      {{"sequence", newest->sequence}, {kBorrowedLabel, newest->label}, {kWasPinned, newest->pinned}}));
  if (newest->pinned) return absl::OkStatus();
  return agents().SetPinned(volume.pair, volume.volume, newest->sequence, newest->label, /*pinned=*/true);
}

absl::StatusOr<bool> MaterialiseStep::Check(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  ASSIGN_OR_RETURN(const ReplicaView replica, Replica(volume));
  const auto tree = FindTree(agents(), volume.pair, TreePathOf(context.run.spec, replica.root));
  if (absl::IsNotFound(tree.status())) return false;
  RETURN_IF_ERROR(tree.status());
  if (tree->state == model::PointTreeState::kReady) return true;
  if (tree->state == model::PointTreeState::kMaking) return false;
  return absl::FailedPreconditionError("the copy is being removed: a rehearsal whose copies go can't go on");
}

absl::Status MaterialiseStep::Do(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  ASSIGN_OR_RETURN(const ReplicaView replica, Replica(volume));
  const auto facts = FactsOf(context.run, "points", item.key);
  if (!facts.is_object() || !facts.contains("sequence")) {
    return absl::InternalError("the step before left no recovery point");
  }
  const TreeWish wish{.volume = volume.volume,
                      .sequence = facts["sequence"].get<uint64_t>(),
                      .path = TreePathOf(context.run.spec, replica.root)};
  while (true) {
    const auto made =
        agents().Materialise(volume.pair, wish, [&](const std::string& progress) { context.Progress(progress); });
    if (!absl::IsAlreadyExists(made.status())) return made.status();
    // What an earlier attempt began goes on at DR by itself, or goes away.
    const auto tree = FindTree(agents(), volume.pair, wish.path);
    if (!tree.ok()) return absl::IsNotFound(tree.status()) ? made.status() : tree.status();
    if (tree->state == model::PointTreeState::kReady) return absl::OkStatus();
    context.Progress("the copy of an earlier attempt is being finished");
    if (!WaitUnlessStopped(context.stop, kPollInterval)) return absl::CancelledError("stopped");
  }
}

absl::Status MaterialiseStep::Confirm(const Item& item, ItemContext& context) {
  const RunVolume volume = VolumeOf(item);
  ASSIGN_OR_RETURN(const ReplicaView replica, Replica(volume));
  ASSIGN_OR_RETURN(const model::PointTree tree,
                   FindTree(agents(), volume.pair, TreePathOf(context.run.spec, replica.root)));
  if (tree.state != model::PointTreeState::kReady) return absl::AbortedError("the copy isn't ready");
  nlohmann::ordered_json facts = {{"tree", tree.id}, {"path", Printable(tree.path)}, {"sequence", tree.sequence}};
  if (const std::string told = ConsistencyOf(agents(), volume, tree.sequence); !told.empty()) {
    facts["consistency"] = told;
  }
  context.SetFacts(std::move(facts));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Item>> TestObjectsStep::Items(const RunRecord& run, std::stop_token) {
  ASSIGN_OR_RETURN(const Inventory inventory, InventoryOf(run));
  std::vector<Item> items;
  for (const RunVolume& volume : inventory.volumes) {
    if (volume.claim.empty()) continue;
    items.push_back({volume.claim, fmt::format("make a claim like {} of the copy", volume.claim)});
  }
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.key < b.key; });
  return items;
}

absl::StatusOr<bool> TestObjectsStep::Check(const Item& item, ItemContext&) {
  const auto [namespace_name, name] = SplitKey(item.key);
  const auto claim =
      parts_.target_objects->Get({model::ObjectKind::kPersistentVolumeClaim, placement_.At(namespace_name), name});
  if (absl::IsNotFound(claim.status())) return false;
  RETURN_IF_ERROR(claim.status());
  return kube::PhaseOf(*claim) == "Bound";
}

absl::Status TestObjectsStep::Do(const Item& item, ItemContext& context) {
  ASSIGN_OR_RETURN(const auto found, storage_.Get(context.run, context.stop));
  const auto definition = std::find_if(found->storage.claims.begin(), found->storage.claims.end(),
                                       [&](const ClaimDefinition& claim) { return claim.volume.claim == item.key; });
  if (definition == found->storage.claims.end()) {
    return absl::NotFoundError("the claim isn't in DR's catalog any more, nor in the backup");
  }
  model::CatalogEntry volume = definition->volume_entry;
  volume.replica_path = TreePathOf(context.run.spec, volume.replica_path);
  const TransformOptions options = parts_.transform(definition->volume.pair);
  TestManifests manifests;
  ASSIGN_OR_RETURN(manifests.volume, Transform(volume, options));
  ASSIGN_OR_RETURN(manifests.claim, Transform(definition->claim_entry, options));
  manifests = ForRehearsal(std::move(manifests), context.run.spec, placement_);
  RETURN_IF_ERROR(parts_.scratch->Put(context.run.spec.id, manifests.volume));
  return parts_.scratch->Put(context.run.spec.id, manifests.claim);
}

absl::Status TestObjectsStep::Confirm(const Item& item, ItemContext& context) {
  const absl::Duration deadline = parts_.clock.Monotonic() + timeout_;
  while (true) {
    ASSIGN_OR_RETURN(const bool bound, Check(item, context));
    if (bound) return absl::OkStatus();
    if (parts_.clock.Monotonic() > deadline) return absl::DeadlineExceededError("the claim isn't bound");
    if (!WaitUnlessStopped(context.stop, kPollInterval)) return absl::CancelledError("stopped");
  }
}

absl::StatusOr<std::vector<Item>> RemoveStep::Items(const RunRecord& run, std::stop_token) {
  std::vector<Item> items;
  if (parts_.scratch != nullptr) items.push_back({kObjects, "remove the objects and their namespaces", 0});
  const absl::StatusOr<Inventory> inventory = InventoryOf(run);
  if (inventory.ok()) {
    std::string last;
    for (const RunVolume& volume : inventory->volumes) {
      if (std::exchange(last, volume.Key()) == volume.Key()) continue;  // another claim on it
      items.push_back({fmt::format("{}{}", kCopyOf, volume.Key()), "remove the copy of " + volume.Key(), 1});
      items.push_back({fmt::format("{}{}", kPointOf, volume.Key()), "release the kept state of " + volume.Key(), 2});
    }
  }
  items.push_back({kFiles, "remove what was fetched", 0});
  return items;
}

absl::Status RemoveStep::Do(const Item& item, ItemContext& context) {
  if (item.key == kObjects) return RemoveObjects(context);
  if (item.key == kFiles) return parts_.remove_work_folder();
  if (item.key.starts_with(kCopyOf)) return RemoveTree(VolumeOfKey(item.key.substr(kCopyOf.size())), context.run);
  return ReleasePoint(VolumeOfKey(item.key.substr(kPointOf.size())), context.run);
}

absl::Status RemoveStep::RemoveRestores(ItemContext& context) const {
  if (parts_.restores == nullptr) return absl::OkStatus();
  for (const std::string& name : RestoreNamesOf(context.run)) {
    const absl::StatusOr<RestoreResult> ended =
        parts_.restores->WaitForEnd(name, restore_timeout_, context.stop, [&](const RestoreResult& now) {
          context.Progress(fmt::format("Restore {} has to end first: {}", name, Describe(now)));
        });
    if (absl::IsNotFound(ended.status())) continue;
    if (absl::IsDeadlineExceeded(ended.status())) {
      context.Warn(fmt::format("Restore {} doesn't end; it is deleted nevertheless", name));
    } else {
      RETURN_IF_ERROR(ended.status());
    }
    RETURN_IF_ERROR(parts_.restores->Delete(name));
  }
  return absl::OkStatus();
}

absl::Status RemoveStep::SeeThatTheyAreGone(const RunRecord& run) const {
  const StepRecord* const claimed = run.Find(kNamespacesStep);
  if (claimed == nullptr) return absl::OkStatus();
  for (const ItemRecord& item : claimed->items) {
    if (!HasEnded(item.state)) continue;  // it was never the run's
    ASSIGN_OR_RETURN(const bool is_there, parts_.scratch->HasNamespace(item.key));
    if (!is_there) continue;
    return absl::FailedPreconditionError(fmt::format(
        "namespace {} is there again, without the rehearsal's label, so it isn't removed: a Restore may have "
        "made it anew. See what is in it, `kubectl delete namespace {}`, then `drctl failover clean {}`",
        Printable(item.key), item.key, run.spec.id));
  }
  return absl::OkStatus();
}

absl::Status RemoveStep::RemoveObjects(ItemContext& context) const {
  RETURN_IF_ERROR(RemoveRestores(context));
  const absl::Duration deadline = parts_.clock.Monotonic() + kRemovalLimit;
  while (true) {
    ASSIGN_OR_RETURN(const size_t left, parts_.scratch->Remove(context.run.spec.id, context.stop));
    if (left == 0) return SeeThatTheyAreGone(context.run);
    context.Progress(fmt::format("{} objects are going", left));
    if (parts_.clock.Monotonic() > deadline) {
      return absl::DeadlineExceededError(fmt::format("{} objects are still there", left));
    }
    if (!WaitUnlessStopped(context.stop, kPollInterval)) return absl::CancelledError("stopped");
  }
}

absl::Status RemoveStep::RemoveTree(const RunVolume& volume, const RunRecord& run) const {
  const std::string suffix = TreePathOf(run.spec, "");
  ASSIGN_OR_RETURN(const std::vector<model::PointTree> trees, parts_.agents.Trees(volume.pair));
  for (const model::PointTree& tree : trees) {
    if (tree.volume != volume.volume || !tree.path.ends_with(suffix)) continue;
    const absl::Status removed = parts_.agents.RemoveTree(volume.pair, tree.id);
    if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  }
  return absl::OkStatus();
}

absl::Status RemoveStep::ReleasePoint(const RunVolume& volume, const RunRecord& run) const {
  const absl::StatusOr<model::RecoveryPoints> points = parts_.agents.Points(volume.pair, volume.volume);
  if (absl::IsNotFound(points.status())) return absl::OkStatus();  // the replica is gone
  RETURN_IF_ERROR(points.status());
  if (const std::optional<BorrowedPoint> borrowed = BorrowedOf(FactsOf(run, "points", volume.Key()))) {
    const model::RecoveryPoint* const point = FindBorrowed(*points, *borrowed);
    if (point == nullptr || !point->pinned || borrowed->was_pinned) return absl::OkStatus();
    return parts_.agents.SetPinned(volume.pair, volume.volume, point->sequence, point->label, /*pinned=*/false);
  }
  const model::RecoveryPoint* const point = FindLabelled(*points, PointLabelOf(run.spec));
  if (point == nullptr) return absl::OkStatus();
  const absl::Status released = parts_.agents.Unlabel(volume.pair, volume.volume, point->sequence);
  return absl::IsNotFound(released) ? absl::OkStatus() : released;
}

}  // namespace understudy::control
