#include "control/sync/clean.h"

#include <fmt/format.h>

#include <map>
#include <optional>

#include "core/base/backoff.h"
#include "core/base/log.h"
#include "core/base/wait.h"

namespace understudy::control {
namespace {

using model::ObjectKey;
using model::ObjectKind;

// A volume is bound until its claim, whose finalizer waits for its users, is gone.
constexpr int kDeleteAttempts = 12;

// The folder that holds an object's data; nullopt: it has none of its own, or not on NFS.
std::optional<kube::NfsSource> DataSourceOf(const model::CatalogEntry& entry) {
  const nlohmann::json resource = nlohmann::json::parse(entry.resource, nullptr, /*allow_exceptions=*/false);
  if (entry.key.kind == ObjectKind::kPersistentVolume) return kube::NfsSourceOf(resource);
  if (entry.key.kind != ObjectKind::kVolumeSnapshotContent) return std::nullopt;
  const std::optional<kube::NfsSnapshot> snapshot = kube::NfsSnapshotOf(resource);
  return snapshot ? std::optional(snapshot->folder) : std::nullopt;
}

// Which pair's catalog holds the entry of what has data.
struct VolumeEntry {
  PairAgents* pair = nullptr;
  model::CatalogEntry entry;
};

class Cleaner {
 public:
  Cleaner(const BringOptions& options, const RunParts& parts) : options_(options), parts_(parts) {}

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
                        fmt::format("{} couldn't be looked for at the primary cluster", ToString(object.key)));
      } else if (UidOf(*present) == object.source_uid) {
        return absl::FailedPreconditionError(fmt::format(
            "{} is at the primary although the list doesn't have it: the primary cluster's lists aren't whole",
            ToString(object.key)));
      }
    }
    plan.objects = std::move(confirmed);
    return absl::OkStatus();
  }

  // While the catalogs still have them. An agent that can't be asked fails what is on it later.
  void LearnVolumes() {
    for (PairAgents* const pair : parts_.pairs) {
      for (const ObjectKind kind : {ObjectKind::kPersistentVolume, ObjectKind::kVolumeSnapshotContent}) {
        const auto entries = pair->catalog().List(kind);
        if (!entries.ok()) continue;
        for (const model::CatalogEntry& entry : *entries) volumes_[entry.key] = {pair, entry};
      }
    }
  }

  ObjectResult Delete(const StaleObject& object, std::stop_token stop) const {
    ObjectResult result{.key = object.key, .outcome = Outcome::kCleaned};
    const absl::Duration began = parts_.clock.Monotonic();
    const absl::StatusOr<DeleteOutcome> deleted = DeleteAtDr(object, stop);
    if (!deleted.ok()) {
      result.outcome = Outcome::kFailed;
      result.reason = std::string(MessageOf(deleted.status()));
    } else if (*deleted == DeleteOutcome::kLeftAlone) {
      result.outcome = Outcome::kSkipped;
      result.reason = "is left alone: by now it isn't what Understudy made";
    } else {
      DiscardData(object, result);
    }
    result.took = parts_.clock.Monotonic() - began;
    return result;
  }

 private:
  absl::StatusOr<DeleteOutcome> DeleteAtDr(const StaleObject& object, std::stop_token stop) const {
    // First of all: what follows the catalog would make the object again.
    for (PairAgents* const pair : parts_.pairs) {
      RETURN_IF_ERROR(Annotate(pair->catalog().Delete(object.key, object.source_uid), "pair " + pair->name()));
    }
    Backoff backoff(options_.retry_first, options_.retry_longest);
    for (int i = 1;; ++i) {
      absl::StatusOr<DeleteOutcome> deleted = parts_.applier.Delete(object.key, object.source_uid);
      const bool passes = absl::IsAborted(deleted.status()) || absl::IsUnavailable(deleted.status());
      if (!passes || i >= kDeleteAttempts || !WaitUnlessStopped(stop, backoff.Next())) return deleted;
    }
  }

  void DiscardData(const StaleObject& object, ObjectResult& result) const {
    const auto found = volumes_.find(object.key);
    if (found == volumes_.end() || found->second.entry.uid != object.source_uid) return;
    const auto& [pair, entry] = found->second;
    result.pair = pair->name();
    result.volume = entry.volume;
    const std::optional<kube::NfsSource> source = DataSourceOf(entry);
    if (!source || entry.volume.empty()) return;
    const absl::Status released = pair->Release(entry.volume, *source);
    result.reason = released.ok() ? "its data is in DR's trash, or DR had none of it"
                                  : fmt::format("its data stays where it is at DR: {}", MessageOf(released));
  }

  const BringOptions& options_;
  const RunParts& parts_;
  std::map<ObjectKey, VolumeEntry> volumes_;
};

}  // namespace

CleaningResult Clean(StalePlan plan, const BringOptions& options, const RunParts& parts, std::stop_token stop,
                     const std::function<void(size_t done)>& on_done) {
  CleaningResult result{.cleaning = plan.cleaning, .objects = {}};
  if (plan.cleaning.state != CleaningState::kDone) return result;
  Cleaner cleaner(options, parts);
  const absl::Status confirmed = cleaner.Confirm(plan);
  if (!confirmed.ok()) {
    result.cleaning.state = CleaningState::kHeld;
    result.cleaning.reason = std::string(MessageOf(confirmed));
    return result;
  }
  if (plan.objects.empty()) {
    result.cleaning.state = CleaningState::kNothing;
    return result;
  }
  if (options.dry_run) {
    result.cleaning.state = CleaningState::kWould;
    for (const StaleObject& object : plan.objects) {
      result.objects.push_back({.key = object.key, .outcome = Outcome::kWouldClean});
    }
    return result;
  }
  cleaner.LearnVolumes();
  for (const StaleObject& object : plan.objects) {
    if (stop.stop_requested()) {
      result.objects.push_back({.key = object.key, .outcome = Outcome::kSkipped, .reason = "the run was stopped"});
    } else {
      result.objects.push_back(cleaner.Delete(object, stop));
    }
    if (result.objects.back().outcome != Outcome::kCleaned) result.cleaning.state = CleaningState::kPartly;
    on_done(result.objects.size());
  }
  return result;
}

}  // namespace understudy::control
