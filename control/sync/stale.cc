#include "control/sync/stale.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/apply/ownership.h"
#include "control/sync/site_names.h"
#include "core/base/log.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::TextAt;
using kube::UidOf;
using model::ObjectKey;
using model::ObjectKind;

bool GoesFirst(const ObjectKey& key) {
  return key.kind == ObjectKind::kPersistentVolumeClaim || key.kind == ObjectKind::kVolumeSnapshot;
}

// Of what Understudy made at DR in the run's namespaces.
struct AtDr {
  std::vector<StaleObject> all;
  std::vector<StaleObject> stale;
  std::vector<LiveObject> live;  // would be stale
};

// Whose data an object at DR stands for; empty: it doesn't say.
std::string VolumeOf(const ObjectKey& key, const nlohmann::json& object) {
  switch (key.kind) {
    case ObjectKind::kPersistentVolume:
    case ObjectKind::kVolumeSnapshotContent:
      return key.name;
    case ObjectKind::kPersistentVolumeClaim:
      return TextAt(object, {"spec", "volumeName"});
    case ObjectKind::kVolumeSnapshot:
      return TextAt(object, {"spec", "source", "volumeSnapshotContentName"});
  }
  AbortOnBrokenInvariant("known ObjectKind", __FILE__, __LINE__);
}

AtDr Compare(const Listing& primary, const Listing& dr, const std::vector<std::string>& namespaces,
             const LiveVolumes& live) {
  AtDr found;
  for (const auto& [key, object] : dr.objects) {
    const std::string source_uid = MadeFrom(object);
    if (source_uid.empty() || !InScope(key, object, namespaces)) continue;
    found.all.push_back({key, source_uid});
    // A kind that the primary doesn't serve (any more) says nothing about what there was.
    if (primary.objects.contains(key) || !primary.Serves(key.kind)) continue;
    const std::string volume = VolumeOf(key, object);
    std::string left_alone = live.WhyNotDeleted(PairOf(object), volume);
    if (left_alone.empty()) {
      found.stale.push_back({key, source_uid});
    } else {
      found.live.push_back({key, volume, std::move(left_alone)});
    }
  }
  std::stable_sort(found.stale.begin(), found.stale.end(),
                   [](const StaleObject& a, const StaleObject& b) { return GoesFirst(a.key) && !GoesFirst(b.key); });
  return found;
}

// Whether DR has nothing that Understudy made, or the primary still has one of the objects that it was made from.
bool HasWitness(const Listing& primary, const Listing& dr) {
  bool any_ours = false;
  for (const auto& [key, object] : dr.objects) {
    const std::string source_uid = MadeFrom(object);
    if (source_uid.empty()) continue;
    any_ours = true;
    const auto found = primary.objects.find(key);
    if (found != primary.objects.end() && UidOf(found->second) == source_uid) return true;
  }
  return !any_ours;
}

bool IsAnother(const absl::StatusOr<std::string>& cluster, const StaleOptions& options) {
  return cluster.ok() && !options.accept_cluster && !options.known_cluster.empty() && options.known_cluster != *cluster;
}

// Why the cluster that was read may be another one than the target's objects are from; empty: it is that one.
std::string ClusterDoubt(const Listing& primary, const Listing& dr, Direction direction, const StaleOptions& options) {
  const SiteNames names = NamesOf(direction);
  if (!primary.cluster.ok()) {
    return fmt::format("{} doesn't say which one it is: {}", names.source_cluster, MessageOf(primary.cluster.status()));
  }
  if (IsAnother(primary.cluster, options)) {
    return fmt::format(
        "{} is another one than before (uid of kube-system {} instead of {}): mend its kubeconfig, or "
        "run drctl sync run --accept-cluster if it was made anew",
        names.source_cluster, *primary.cluster, options.known_cluster);
  }
  if (options.accept_cluster || HasWitness(primary, dr)) return "";
  // Which DR cluster is the right one, nobody is asked.
  const std::string otherwise = direction == Direction::kToPrimary
                                    ? fmt::format("delete them at {} by hand", names.target)
                                    : "run drctl sync run --accept-cluster";
  return fmt::format("{} has none of the objects that {}'s were made from: mend its kubeconfig, or {} if that is right",
                     names.source_cluster, names.target, otherwise);
}

// A list without items that would hold some of what DR has; empty when there is none.
std::string EmptyList(const Listing& primary, const AtDr& at_dr, const SiteNames& names) {
  for (const ListResult& list : primary.lists) {
    if (!list.served || list.items > 0) continue;
    const size_t count =
        static_cast<size_t>(std::count_if(at_dr.all.begin(), at_dr.all.end(), [&list](const StaleObject& object) {
          return object.key.kind == list.kind &&
                 (list.namespace_name.empty() || object.key.namespace_name == list.namespace_name);
        }));
    if (count == 0) continue;
    return fmt::format("{} lists no {}{}, and {} has {} of them", names.source_cluster, model::ToString(list.kind),
                       list.namespace_name.empty() ? "" : fmt::format(" in namespace {}", list.namespace_name),
                       names.target, count);
  }
  return "";
}

// Why nothing may be deleted; empty: it may.
std::string Objection(const Listing& primary, const Listing& dr, const AtDr& at_dr, const std::string& cluster_doubt,
                      const LiveVolumes& live, const StaleOptions& options) {
  const SiteNames names = NamesOf(live.direction);
  if (!primary.Complete()) return fmt::format("not every list of {} is complete", names.source_cluster);
  if (!dr.Complete()) return fmt::format("not every list of {} is complete", names.target_cluster);
  if (at_dr.stale.empty() && !IsAnother(primary.cluster, options)) return "";
  if (!live.known.ok()) {
    return fmt::format("it can't be told which volumes are promoted at {}: {}", names.target, MessageOf(live.known));
  }
  if (std::string empty = EmptyList(primary, at_dr, names); !empty.empty()) {
    return fmt::format("{}: delete them at {} by hand if that is right", empty, names.target);
  }
  if (!cluster_doubt.empty()) return cluster_doubt;
  const double share = static_cast<double>(at_dr.stale.size()) / static_cast<double>(at_dr.all.size());
  if (at_dr.stale.size() < options.min_objects || share <= options.max_fraction) return "";
  return fmt::format(
      "{0} of {1} objects that Understudy made at {2} aren't at {3} any more, which is more than "
      "stale.max_fraction ({4}): raise that for a run, or delete them at {2} by hand, if it is right",
      at_dr.stale.size(), at_dr.all.size(), names.target, names.source, options.max_fraction);
}

}  // namespace

StalePlan PlanCleaning(const Listing& primary, const Listing& dr, const std::vector<std::string>& namespaces,
                       const LiveVolumes& live, const StaleOptions& options) {
  AtDr at_dr = Compare(primary, dr, namespaces, live);
  StalePlan plan;
  plan.live = live;
  plan.cleaning.stale = at_dr.stale.size();
  plan.cleaning.at_dr = at_dr.all.size();
  const std::string doubt = ClusterDoubt(primary, dr, live.direction, options);
  if (doubt.empty() && primary.Complete() && dr.Complete()) plan.primary_cluster = *primary.cluster;
  if (!options.enabled) {
    plan.cleaning.state = CleaningState::kOff;
  } else if (std::string objection = Objection(primary, dr, at_dr, doubt, live, options); !objection.empty()) {
    plan.cleaning.state = CleaningState::kHeld;
    plan.cleaning.reason = std::move(objection);
  } else if (!at_dr.stale.empty()) {
    plan.cleaning.state = CleaningState::kDone;
  }
  plan.objects = std::move(at_dr.stale);
  plan.left_alone = std::move(at_dr.live);
  return plan;
}

}  // namespace understudy::control
