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
#include "control/sync/forget.h"
#include "control/sync/release.h"
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
void NoteCleaning(const CleaningResult& cleaned, const SiteNames& names, Report& report) {
  report.cleaning = cleaned.cleaning;
  report.objects.insert(report.objects.end(), cleaned.objects.begin(), cleaned.objects.end());
  if (report.cleaning.state == CleaningState::kHeld) {
    report.alerts.push_back(fmt::format("nothing was deleted at {}: {}", names.target, report.cleaning.reason));
  }
}

void Finish(bool unreachable, std::stop_token stop, Clock& clock, Report& report) {
  if (stop.stop_requested()) report.error = "the run was stopped before its end";
  std::stable_sort(report.objects.begin(), report.objects.end(),
                   [](const ObjectResult& a, const ObjectResult& b) { return a.key < b.key; });
  report.ended_at = clock.Now();
  report.exit_code = ExitCodeOf(report, unreachable);
}

// Whether a listed object, or one that couldn't be listed, may have its data on the pair.
bool MayHoldAny(const PairAgents& pair, const Listing& listing) {
  const std::vector<std::string>& names = pair.server_names();
  if (names.empty() || !listing.Complete()) return true;
  return std::any_of(listing.objects.begin(), listing.objects.end(), [&](const auto& object) {
    const std::optional<kube::NfsSource> source = DataSourceOf(object.first.kind, object.second);
    return source && std::find(names.begin(), names.end(), source->server) != names.end();
  });
}

// What the pairs say, and which of them can't.
struct PairsWord {
  LiveVolumes live;
  std::vector<std::pair<const PairAgents*, absl::Status>> unknown;
};

PairsWord AskPairs(const RunParts& parts) {
  PairsWord word;
  word.live.direction = parts.direction;
  for (PairAgents* const pair : parts.pairs) {
    LiveVolumes one = ReadLiveVolumes({pair}, parts.direction);
    word.live.states.merge(one.states);
    word.live.carried.merge(one.carried);
    word.live.standby.merge(one.standby);
    word.live.others.merge(one.others);
    word.live.known.Update(one.known);
    word.live.carried_known.Update(one.carried_known);
    if (!one.carried_known.ok()) word.unknown.emplace_back(pair, one.carried_known);
  }
  return word;
}

// Of a pair that can't say which volumes go to the primary, what is on it would be left behind without a word. Returns
// whether one of them can't be reached.
bool NoteUnknown(const PairsWord& word, const Listing& dr, Report& report) {
  bool unreachable = false;
  for (const auto& [pair, known] : word.unknown) {
    std::string text = fmt::format("it can't be told which volumes go from DR to the primary: {}", MessageOf(known));
    if (!MayHoldAny(*pair, dr)) {
      report.alerts.push_back(text + "; no claim has its data there");
      continue;
    }
    unreachable = unreachable || ExitCodeFor(known) == ExitCode::kUnreachable;
    if (report.error.empty()) report.error = std::move(text);
  }
  return unreachable;
}

// Whose data a claim or a snapshot of DR stands for; empty: it isn't bound.
std::string VolumeOf(const ObjectKey& key, const nlohmann::json& object) {
  return key.kind == ObjectKind::kPersistentVolumeClaim
             ? kube::TextAt(object, {"spec", "volumeName"})
             : kube::TextAt(object, {"status", "boundVolumeSnapshotContentName"});
}

// Whether Understudy made the claim or the snapshot, or what it is bound to: such a one wasn't made at DR.
bool IsACopy(const Listing& dr, const ObjectKey& key, const std::string& volume) {
  const bool is_claim = key.kind == ObjectKind::kPersistentVolumeClaim;
  const auto bound =
      dr.objects.find({is_claim ? ObjectKind::kPersistentVolume : ObjectKind::kVolumeSnapshotContent, "", volume});
  return !MadeFrom(dr.objects.at(key)).empty() || (bound != dr.objects.end() && !MadeFrom(bound->second).empty());
}

bool IsCarried(const LiveVolumes& live, const std::string& volume) {
  return std::any_of(live.carried.begin(), live.carried.end(),
                     [&volume](const auto& place) { return place.second == volume; });
}

bool MayClean(CleaningState state) {
  return state != CleaningState::kHeld && state != CleaningState::kOff;
}

// Of two states, the one that says more of what somebody should know has the greater one.
int Weight(CleaningState state) {
  switch (state) {
    case CleaningState::kNothing:
      return 0;
    case CleaningState::kOff:
      return 1;
    case CleaningState::kWould:
      return 2;
    case CleaningState::kDone:
      return 3;
    case CleaningState::kPartly:
      return 4;
    case CleaningState::kHeld:
      return 5;
  }
  AbortOnBrokenInvariant("known CleaningState", __FILE__, __LINE__);
}

}  // namespace

std::vector<ObjectKey> TasksToPrimary(const Listing& dr, const LiveVolumes& live) {
  std::set<std::string> namespaces;
  for (const ObjectKey& key : TasksOf(dr)) {
    if (IsCarried(live, VolumeOf(key, dr.objects.at(key)))) namespaces.insert(key.namespace_name);
  }
  std::vector<ObjectKey> tasks;
  for (const ObjectKey& key : TasksOf(dr)) {
    if (!namespaces.contains(key.namespace_name)) continue;
    const std::string volume = VolumeOf(key, dr.objects.at(key));
    // Where a pair can't say what it carries, what no other one knows may be its.
    const bool is_new = live.known.ok() && live.WhyLeftAlone("", volume).empty() && !IsACopy(dr, key, volume);
    if (IsCarried(live, volume) || is_new) tasks.push_back(key);
  }
  return tasks;
}

void Merge(Report other, Report& report) {
  // Where one of the two did nothing, the other's word counts; where both did nothing, the second one's.
  std::set<ObjectKey> brought;
  for (const ObjectResult& object : other.objects) brought.insert(object.key);
  std::erase_if(report.objects, [&](const ObjectResult& object) {
    return object.outcome == Outcome::kSkipped && brought.contains(object.key);
  });
  std::set<ObjectKey> settled;
  for (const ObjectResult& object : report.objects) settled.insert(object.key);
  std::erase_if(other.objects, [&](const ObjectResult& object) {
    return object.outcome == Outcome::kSkipped && settled.contains(object.key);
  });
  for (ObjectResult& object : other.objects) {
    object.to_primary = true;
    report.objects.push_back(std::move(object));
  }
  report.lists.insert(report.lists.end(), other.lists.begin(), other.lists.end());
  for (const std::string& alert : other.alerts) {
    report.alerts.push_back(fmt::format("from DR to the primary: {}", alert));
  }
  if (Weight(other.cleaning.state) > Weight(report.cleaning.state)) {
    report.cleaning.state = other.cleaning.state;
    report.cleaning.reason = other.cleaning.reason;
  }
  report.cleaning.stale += other.cleaning.stale;
  report.cleaning.at_dr += other.cleaning.at_dr;
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
  const PairsWord word = AskPairs(parts);
  const LiveVolumes& live = word.live;
  if (to_primary && live.carried_known.ok() && live.carried.empty()) {
    Finish(/*unreachable=*/false, stop, parts.clock, report);
    return report;
  }
  Listing primary = ReadListing(parts.primary, to_primary ? "dr" : "primary", options.namespaces, stop);
  primary.cluster = parts.primary.Uid();
  const Listing dr = ReadListing(parts.dr, to_primary ? "primary" : "dr", options.namespaces, stop);
  NoteLists(primary, report);
  NoteLists(dr, report);
  const bool unknown = to_primary && NoteUnknown(word, primary, report);
  if (to_primary && live.carried.empty()) {
    Finish(unknown || primary.unreachable || dr.unreachable, stop, parts.clock, report);
    return report;
  }

  const std::vector<ObjectKey> tasks = to_primary ? TasksToPrimary(primary, live) : TasksOf(primary);
  progress.Begin("sync", tasks.size());
  Bringer bringer(options.bring, parts, primary, dr, live);
  BringAll(options, bringer, tasks, stop, progress, report.objects);

  StalePlan plan =
      PlanCleaning(primary, dr, options.namespaces, ReadLiveVolumes(parts.pairs, parts.direction), options.stale);
  const bool recognised = !plan.primary_cluster.empty();
  if (!to_primary) report.primary_cluster = plan.primary_cluster;
  progress.Begin("clean", plan.cleaning.state == CleaningState::kDone ? plan.objects.size() : 0);
  NoteCleaning(Clean(std::move(plan), options.bring, parts, stop, [&](size_t) { progress.Done(0); }),
               NamesOf(parts.direction), report);
  if (to_primary && recognised && MayClean(report.cleaning.state) && !options.bring.dry_run) {
    std::string alert = ForgetGone(primary, dr, options.namespaces, live, options.stale, parts);
    if (!alert.empty()) report.alerts.push_back(std::move(alert));
  }
  progress.Begin("report", 0);
  Finish(unknown || primary.unreachable || dr.unreachable || bringer.MetUnreachable(), stop, parts.clock, report);
  return report;
}

}  // namespace understudy::control
