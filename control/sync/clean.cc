#include "control/sync/clean.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "control/sync/release.h"
#include "core/base/backoff.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::UidOf;
using model::ObjectKey;
using model::ObjectKind;

// A volume is bound until its claim, whose finalizer waits for its users, is gone.
constexpr int kDeleteAttempts = 12;

class Cleaner {
 public:
  Cleaner(const BringOptions& options, const RunParts& parts)
      : options_(options), parts_(parts), names_(NamesOf(parts.direction)) {}

  // OK: none of the objects is at the primary; those that were made anew there are taken out of the plan. Else why
  // nothing may be deleted.
  absl::Status Confirm(StalePlan& plan) const {
    std::vector<StaleObject> confirmed;
    for (const StaleObject& object : plan.objects) {
      const absl::StatusOr<nlohmann::json> present = parts_.primary.Get(object.key);
      if (absl::IsNotFound(present.status())) {
        confirmed.push_back(object);
      } else if (!present.ok()) {
        return Annotate(present.status(),
                        fmt::format("{} couldn't be looked for at {}", ToString(object.key), names_.source_cluster));
      } else if (UidOf(*present) == object.source_uid) {
        return absl::FailedPreconditionError(
            fmt::format("{} is at {} although the list doesn't have it: {}'s lists aren't whole", ToString(object.key),
                        names_.source, names_.source_cluster));
      }
    }
    plan.objects = std::move(confirmed);
    return absl::OkStatus();
  }

  // Where the data of what goes is: as earlier runs noted it, and as the catalogs say while they still have the
  // objects. An agent that can't be asked fails what is on it later.
  absl::Status LearnVolumes(const StalePlan& plan) {
    ASSIGN_OR_RETURN(const std::vector<OwedRelease> owed, parts_.owed.Owed());
    for (const OwedRelease& release : owed) volumes_[release.key] = release;
    std::map<ObjectKey, std::string> stale;
    for (const StaleObject& object : plan.objects) stale[object.key] = object.source_uid;
    for (PairAgents* const pair : parts_.pairs) {
      for (const ObjectKind kind : {ObjectKind::kPersistentVolume, ObjectKind::kVolumeSnapshotContent}) {
        const auto entries = pair->catalog().List(kind);
        if (!entries.ok()) continue;
        for (const model::CatalogEntry& entry : *entries) {
          const auto wanted = stale.find(entry.key);
          if (wanted == stale.end() || wanted->second != entry.uid || entry.volume.empty()) continue;
          const std::optional<kube::NfsSource> source = DataSourceOf(entry);
          if (source) volumes_[entry.key] = {entry.key, entry.uid, pair->name(), entry.volume, *source};
        }
      }
    }
    return absl::OkStatus();
  }

  ObjectResult Delete(const StaleObject& object, std::stop_token stop) const {
    ObjectResult result{.key = object.key, .outcome = Outcome::kCleaned};
    const absl::Duration began = parts_.clock.Monotonic();
    // Before the object: what follows the catalog would make it again.
    const absl::Status forgotten = LeaveCatalogs(object);
    const absl::StatusOr<DeleteOutcome> deleted =
        forgotten.ok() ? DeleteAtDr(object, stop) : absl::StatusOr<DeleteOutcome>(forgotten);
    if (absl::IsFailedPrecondition(forgotten)) {
      // Its volume was promoted since the plan was made; nothing is owed before the primary has the word again.
      result.outcome = Outcome::kSkipped;
      result.reason = std::string(MessageOf(forgotten));
      if (const OwedRelease* const release = DataOf(object); release != nullptr) Forget(*release);
    } else if (!deleted.ok()) {
      result.outcome = Outcome::kFailed;
      result.reason = std::string(MessageOf(deleted.status()));
    } else if (*deleted == DeleteOutcome::kLeftAlone) {
      result.outcome = Outcome::kSkipped;
      result.reason = "is left alone: by now it isn't what Understudy made";
      if (const OwedRelease* const release = DataOf(object); release != nullptr) Forget(*release);
    } else if (const OwedRelease* const release = DataOf(object); release != nullptr) {
      Release(*release, result);
    }
    result.took = parts_.clock.Monotonic() - began;
    return result;
  }

  // What earlier runs owe for objects that are gone at DR, too, and so aren't in the plan.
  std::vector<ObjectResult> SettleEarlier(const StalePlan& plan) const {
    std::vector<ObjectResult> results;
    for (const auto& [key, release] : volumes_) {
      const model::ObjectKey& wanted = key;
      const bool planned = std::any_of(plan.objects.begin(), plan.objects.end(),
                                       [&wanted](const StaleObject& object) { return object.key == wanted; });
      if (planned || !plan.live.WhyNotDeleted(release.pair, release.volume).empty()) continue;
      const absl::StatusOr<nlohmann::json> at_primary = parts_.primary.Get(key);
      const absl::StatusOr<nlohmann::json> at_dr = parts_.dr.Get(key);
      // Made anew elsewhere: the volume can't be brought before this is done, and is brought by the one who does it.
      if (at_primary.ok() && IsElsewhere(release, *at_primary)) continue;
      // An object that is still there, out of this run's namespaces, is for the run that deletes it.
      if (at_primary.ok() || (at_dr.ok() && MadeFrom(*at_dr) != release.source_uid)) {
        // The name stands for another object by now, whose volume has that name, too; or somebody made the object at DR
        // their own.
        Forget(release);
      } else if (absl::IsNotFound(at_primary.status()) && absl::IsNotFound(at_dr.status())) {
        ObjectResult result{.key = key, .outcome = Outcome::kCleaned};
        Release(release, result);
        results.push_back(std::move(result));
      }
    }
    return results;
  }

 private:
  absl::Status LeaveCatalogs(const StaleObject& object) const {
    // Before the catalog, which is all that leads to the data, forgets it.
    if (const OwedRelease* const release = DataOf(object); release != nullptr) {
      RETURN_IF_ERROR(parts_.owed.Owe(*release));
    }
    for (PairAgents* const pair : parts_.pairs) {
      RETURN_IF_ERROR(Annotate(pair->catalog().Delete(object.key, object.source_uid), "pair " + pair->name()));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<DeleteOutcome> DeleteAtDr(const StaleObject& object, std::stop_token stop) const {
    Backoff backoff(options_.retry_first, options_.retry_longest);
    for (int i = 1;; ++i) {
      absl::StatusOr<DeleteOutcome> deleted = parts_.applier.Delete(object.key, object.source_uid);
      if (!PassesSoon(deleted.status()) || i >= kDeleteAttempts || !WaitUnlessStopped(stop, backoff.Next()))
        return deleted;
    }
  }

  static bool IsElsewhere(const OwedRelease& release, const nlohmann::json& object) {
    model::CatalogEntry entry;
    entry.key = release.key;
    entry.resource = object.dump();
    const std::optional<kube::NfsSource> source = DataSourceOf(entry);
    return UidOf(object) != release.source_uid && source && *source != release.source;
  }

  // nullptr: it has no data of its own, or not on NFS.
  const OwedRelease* DataOf(const StaleObject& object) const {
    const auto found = volumes_.find(object.key);
    const bool is_its = found != volumes_.end() && found->second.source_uid == object.source_uid;
    return is_its ? &found->second : nullptr;
  }

  void Forget(const OwedRelease& release) const {
    const absl::Status settled = parts_.owed.Settle(release);
    if (!settled.ok()) spdlog::warn("volume={} can't be forgotten: {}", release.volume, MessageOf(settled));
  }

  void Release(const OwedRelease& release, ObjectResult& result) const {
    result.pair = release.pair;
    result.volume = release.volume;
    const auto pair = std::find_if(parts_.pairs.begin(), parts_.pairs.end(),
                                   [&release](const PairAgents* known) { return known->name() == release.pair; });
    if (pair == parts_.pairs.end()) {
      result.reason = fmt::format("its data stays where it is at {}: the configuration doesn't name its pair any more",
                                  names_.target);
      return Forget(release);
    }
    const absl::StatusOr<ReleaseResult> released = GiveUp(release, **pair, parts_.owed, names_);
    if (!released.ok() || !released->settled) result.outcome = Outcome::kFailed;
    result.reason = released.ok() ? released->what
                                  : fmt::format("its data stays where it is at {}: {}", names_.target,
                                                MessageOf(released.status()));
  }

  const BringOptions& options_;
  const RunParts& parts_;
  const SiteNames names_;
  std::map<ObjectKey, OwedRelease> volumes_;  // what is to be given up when the object is gone
};

}  // namespace

CleaningResult Clean(StalePlan plan, const BringOptions& options, const RunParts& parts, std::stop_token stop,
                     const std::function<void(size_t done)>& on_done) {
  CleaningResult result{.cleaning = plan.cleaning, .objects = {}};
  for (const LiveObject& object : plan.left_alone) {
    result.objects.push_back(
        {.key = object.key, .outcome = Outcome::kSkipped, .reason = object.reason, .volume = object.volume});
  }
  const bool nothing = plan.cleaning.state == CleaningState::kNothing && !plan.primary_cluster.empty();
  if (plan.cleaning.state != CleaningState::kDone && !nothing) return result;
  Cleaner cleaner(options, parts);
  absl::Status ready = cleaner.Confirm(plan);
  if (ready.ok()) ready = cleaner.LearnVolumes(plan);
  if (!ready.ok()) {
    result.cleaning.state = CleaningState::kHeld;
    result.cleaning.reason = std::string(MessageOf(ready));
    return result;
  }
  if (plan.objects.empty()) result.cleaning.state = CleaningState::kNothing;
  if (options.dry_run) {
    if (!plan.objects.empty()) result.cleaning.state = CleaningState::kWould;
    for (const StaleObject& object : plan.objects) {
      result.objects.push_back({.key = object.key, .outcome = Outcome::kWouldClean});
    }
    return result;
  }
  const std::vector<ObjectResult> earlier = cleaner.SettleEarlier(plan);
  for (const StaleObject& object : plan.objects) {
    if (stop.stop_requested()) {
      result.objects.push_back({.key = object.key, .outcome = Outcome::kSkipped, .reason = "the run was stopped"});
    } else {
      result.objects.push_back(cleaner.Delete(object, stop));
    }
    if (result.objects.back().outcome != Outcome::kCleaned) result.cleaning.state = CleaningState::kPartly;
    on_done(result.objects.size() - plan.left_alone.size());
  }
  result.objects.insert(result.objects.end(), earlier.begin(), earlier.end());
  return result;
}

}  // namespace understudy::control
