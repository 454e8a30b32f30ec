#include "control/sync/forget.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"

namespace understudy::control {
namespace {

using model::CatalogEntry;
using model::ObjectKind;

// Of one pair's catalog, in the run's namespaces.
struct Entries {
  size_t all = 0;
  std::vector<CatalogEntry> gone;
};

absl::StatusOr<Entries> Compare(PairAgents& pair, const Listing& source, const Listing& target,
                                const std::vector<std::string>& namespaces, const LiveVolumes& live) {
  Entries found;
  for (const ObjectKind kind : {ObjectKind::kPersistentVolumeClaim, ObjectKind::kVolumeSnapshot,
                                ObjectKind::kPersistentVolume, ObjectKind::kVolumeSnapshotContent}) {
    // A kind of which nothing is left at all may as well be a list that broke.
    const bool any = std::any_of(source.objects.begin(), source.objects.end(),
                                 [kind](const auto& object) { return object.first.kind == kind; });
    if (!any) continue;
    ASSIGN_OR_RETURN(const std::vector<CatalogEntry> entries, pair.catalog().List(kind));
    for (const CatalogEntry& entry : entries) {
      const nlohmann::json object = nlohmann::json::parse(entry.resource, nullptr, /*allow_exceptions=*/false);
      if (entry.deleted || !InScope(entry.key, object, namespaces)) continue;
      if (!live.WhyLeftAlone(pair.name(), entry.volume).empty()) continue;
      ++found.all;
      const auto at_target = target.objects.find(entry.key);
      const bool is_for_cleaning = at_target != target.objects.end() && !MadeFrom(at_target->second).empty();
      if (!source.objects.contains(entry.key) && !is_for_cleaning) found.gone.push_back(entry);
    }
  }
  return found;
}

}  // namespace

std::string ForgetGone(const Listing& source, const Listing& target, const std::vector<std::string>& namespaces,
                       const LiveVolumes& live, const StaleOptions& options, const RunParts& parts) {
  const SiteNames names = NamesOf(parts.direction);
  for (PairAgents* const pair : parts.pairs) {
    const absl::StatusOr<Entries> found = Compare(*pair, source, target, namespaces, live);
    if (!found.ok()) return fmt::format("pair {}: {}", pair->name(), MessageOf(found.status()));
    const double share = static_cast<double>(found->gone.size()) / static_cast<double>(std::max<size_t>(found->all, 1));
    if (found->gone.size() >= options.min_objects && share > options.max_fraction) {
      return fmt::format(
          "pair {}: {} of {} objects of the catalog at {} aren't at {} any more, which is more than "
          "stale.max_fraction ({}): their entries stay",
          pair->name(), found->gone.size(), found->all, names.target, names.source, options.max_fraction);
    }
    for (const CatalogEntry& entry : found->gone) {
      const absl::Status present = parts.primary.Get(entry.key).status();
      if (!absl::IsNotFound(present)) continue;
      const absl::Status forgotten = pair->catalog().Delete(entry.key, entry.uid);
      if (forgotten.ok() || absl::IsFailedPrecondition(forgotten)) continue;
      return fmt::format("pair {}: the entry of {} stays in the catalog: {}", pair->name(), ToString(entry.key),
                         MessageOf(forgotten));
    }
  }
  return "";
}

}  // namespace understudy::control
