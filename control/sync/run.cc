#include "control/sync/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "control/apply/ownership.h"
#include "control/sync/clean.h"
#include "core/base/log.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using model::ObjectKey;
using model::ObjectKind;

// Passes on where the run is, one call at a time.
class Progress {
 public:
  explicit Progress(const std::function<void(const RunProgress&)>& on_progress) : on_progress_(on_progress) {}

  void Begin(const std::string& phase, size_t total) {
    const absl::MutexLock lock(&mutex_);
    now_.phase = phase;
    now_.done = 0;
    now_.total = total;
    on_progress_(now_);
  }
  void Done(size_t failed) {
    const absl::MutexLock lock(&mutex_);
    ++now_.done;
    now_.failed += failed;
    on_progress_(now_);
  }

 private:
  const std::function<void(const RunProgress&)>& on_progress_;
  absl::Mutex mutex_;
  RunProgress now_ ABSL_GUARDED_BY(mutex_);
};

size_t Failures(const std::vector<ObjectResult>& results) {
  return static_cast<size_t>(std::count_if(
      results.begin(), results.end(), [](const ObjectResult& result) { return result.outcome == Outcome::kFailed; }));
}

std::vector<ObjectKey> TasksOf(const Listing& primary) {
  std::vector<ObjectKey> tasks;
  for (const auto& [key, object] : primary.objects) {
    if (key.kind == ObjectKind::kPersistentVolumeClaim || key.kind == ObjectKind::kVolumeSnapshot) tasks.push_back(key);
  }
  return tasks;
}

// Works on all claims, then on all snapshots, which lie in the claims' volumes.
void BringAll(const RunOptions& options, Bringer& bringer, const std::vector<ObjectKey>& tasks, std::stop_token stop,
              Progress& progress, std::vector<ObjectResult>& results) {
  absl::Mutex mutex;
  for (const ObjectKind kind : {ObjectKind::kPersistentVolumeClaim, ObjectKind::kVolumeSnapshot}) {
    std::atomic<size_t> next = 0;
    const auto work = [&] {
      for (size_t i = next++; i < tasks.size(); i = next++) {
        if (tasks[i].kind != kind) continue;
        const std::vector<ObjectResult> done = stop.stop_requested()
                                                   ? std::vector<ObjectResult>{{.key = tasks[i],
                                                                                .outcome = Outcome::kSkipped,
                                                                                .reason = "the run was stopped"}}
                                                   : bringer.Bring(tasks[i], stop);
        progress.Done(Failures(done));
        const absl::MutexLock lock(&mutex);
        results.insert(results.end(), done.begin(), done.end());
      }
    };
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < std::min(options.parallelism, tasks.size()); ++i) threads.emplace_back(work);
  }
}

void NoteLists(const Listing& listing, Report& report) {
  for (const ListResult& list : listing.lists) {
    report.lists.push_back(list);
    if (list.error.empty()) continue;
    report.alerts.push_back(fmt::format("{}{} of the {} cluster couldn't be listed: {}", model::ToString(list.kind),
                                        list.namespace_name.empty() ? "" : " in namespace " + list.namespace_name,
                                        list.cluster, list.error));
  }
}

// A guard that held something back is news; that lists were incomplete is told already.
void NoteCleaning(const CleaningResult& cleaned, Report& report) {
  report.cleaning = cleaned.cleaning;
  report.objects.insert(report.objects.end(), cleaned.objects.begin(), cleaned.objects.end());
  if (report.cleaning.state == CleaningState::kHeld) {
    report.alerts.push_back(fmt::format("nothing was deleted at DR: {}", report.cleaning.reason));
  }
}

void Finish(bool unreachable, std::stop_token stop, Clock& clock, Report& report) {
  if (stop.stop_requested()) report.error = "the run was stopped before its end";
  std::stable_sort(report.objects.begin(), report.objects.end(),
                   [](const ObjectResult& a, const ObjectResult& b) { return a.key < b.key; });
  report.ended_at = clock.Now();
  report.exit_code = ExitCodeOf(report, unreachable);
}

// Nothing goes the run's way, as far as can be told.
Report WithoutAny(const LiveVolumes& live, std::stop_token stop, Clock& clock, Report report) {
  if (!live.carried_known.ok()) {
    report.alerts.push_back(
        fmt::format("it can't be told which volumes go from DR to the primary: {}", MessageOf(live.carried_known)));
  }
  Finish(/*unreachable=*/false, std::move(stop), clock, report);
  return report;
}

// Of a claim: the PersistentVolume that it is bound to, of a snapshot none.
std::string VolumeOfClaim(const ObjectKey& key, const nlohmann::json& object) {
  if (key.kind != ObjectKind::kPersistentVolumeClaim) return "";
  return kube::TextAt(object, {"spec", "volumeName"});
}

bool IsCarried(const LiveVolumes& live, const std::string& volume) {
  return std::any_of(live.carried.begin(), live.carried.end(),
                     [&volume](const auto& place) { return place.second == volume; });
}

}  // namespace

std::vector<ObjectKey> TasksToPrimary(const Listing& dr, const LiveVolumes& live) {
  std::set<std::string> namespaces;
  for (const auto& [key, object] : dr.objects) {
    if (IsCarried(live, VolumeOfClaim(key, object))) namespaces.insert(key.namespace_name);
  }
  std::vector<ObjectKey> tasks;
  for (const ObjectKey& key : TasksOf(dr)) {
    if (!namespaces.contains(key.namespace_name)) continue;
    const std::string volume = VolumeOfClaim(key, dr.objects.at(key));
    const bool others = !live.WhyLeftAlone("", volume).empty();
    if (IsCarried(live, volume) || !others) tasks.push_back(key);
  }
  return tasks;
}

void Merge(Report other, Report& report) {
  std::set<ObjectKey> brought;
  for (const ObjectResult& object : other.objects) brought.insert(object.key);
  std::erase_if(report.objects, [&](const ObjectResult& object) {
    return object.outcome == Outcome::kSkipped && brought.contains(object.key);
  });
  for (ObjectResult& object : other.objects) {
    object.to_primary = true;
    report.objects.push_back(std::move(object));
  }
  report.lists.insert(report.lists.end(), other.lists.begin(), other.lists.end());
  for (const std::string& alert : other.alerts) {
    report.alerts.push_back(fmt::format("from DR to the primary, which stands for DR here: {}", alert));
  }
  if (other.cleaning.state != CleaningState::kNothing && other.cleaning.state != CleaningState::kOff) {
    const bool worse = other.cleaning.state == CleaningState::kHeld || report.cleaning.state != CleaningState::kHeld;
    if (worse) report.cleaning.state = other.cleaning.state;
    if (report.cleaning.reason.empty()) report.cleaning.reason = other.cleaning.reason;
    report.cleaning.stale += other.cleaning.stale;
    report.cleaning.at_dr += other.cleaning.at_dr;
  }
  if (report.error.empty()) report.error = other.error;
  const bool unreachable = report.exit_code == ExitCode::kUnreachable || other.exit_code == ExitCode::kUnreachable;
  std::stable_sort(report.objects.begin(), report.objects.end(),
                   [](const ObjectResult& a, const ObjectResult& b) { return a.key < b.key; });
  report.ended_at = other.ended_at;
  report.exit_code = ExitCodeOf(report, unreachable);
}

Report MakeRun(const RunOptions& options, const RunParts& parts, std::stop_token stop,
               const std::function<void(const RunProgress&)>& on_progress) {
  Report report{.run = options.id,
                .trigger = options.trigger,
                .made_up = options.made_up,
                .dry_run = options.bring.dry_run,
                .started_at = parts.clock.Now(),
                .ended_at = parts.clock.Now(),
                .namespaces = options.namespaces};
  Progress progress(on_progress);
  progress.Begin("list", 0);
  const bool to_primary = parts.direction == Direction::kToPrimary;
  const LiveVolumes live = ReadLiveVolumes(parts.pairs, parts.direction);
  if (to_primary && live.carried.empty()) return WithoutAny(live, stop, parts.clock, std::move(report));
  Listing primary = ReadListing(parts.primary, to_primary ? "dr" : "primary", options.namespaces, stop);
  primary.cluster = parts.primary.Uid();
  const Listing dr = ReadListing(parts.dr, to_primary ? "primary" : "dr", options.namespaces, stop);
  NoteLists(primary, report);
  NoteLists(dr, report);

  const std::vector<ObjectKey> tasks = to_primary ? TasksToPrimary(primary, live) : TasksOf(primary);
  progress.Begin("sync", tasks.size());
  Bringer bringer(options.bring, parts, primary, dr, live);
  BringAll(options, bringer, tasks, stop, progress, report.objects);

  StalePlan plan =
      PlanCleaning(primary, dr, options.namespaces, ReadLiveVolumes(parts.pairs, parts.direction), options.stale);
  if (!to_primary) report.primary_cluster = plan.primary_cluster;
  progress.Begin("clean", plan.cleaning.state == CleaningState::kDone ? plan.objects.size() : 0);
  NoteCleaning(Clean(std::move(plan), options.bring, parts, stop, [&](size_t) { progress.Done(0); }), report);
  progress.Begin("report", 0);
  Finish(primary.unreachable || dr.unreachable || bringer.MetUnreachable(), stop, parts.clock, report);
  return report;
}

}  // namespace understudy::control
