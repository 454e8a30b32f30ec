#include "control/commands/sync_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "control/apply/applier.h"
#include "control/commands/clusters.h"
#include "control/commands/pair_agents.h"
#include "control/report/render.h"
#include "control/sync/kube_reader.h"
#include "control/sync/scheduler.h"
#include "control/sync/site_names.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

// The namespaces of one run. INVALID_ARGUMENT: one that isn't configured. What has its live copy at DR goes back
// whether or not the schedule knows its namespace: events may have brought it there.
absl::StatusOr<std::vector<std::string>> NamespacesOf(const config::ControlConfig& config, const SyncRequest& request) {
  const std::vector<std::string>& asked = request.namespaces;
  if (asked.empty()) return config.namespaces;
  if (request.only_to_primary) return asked;
  for (const std::string& name : asked) {
    const bool known = config.namespaces.empty() ||
                       std::find(config.namespaces.begin(), config.namespaces.end(), name) != config.namespaces.end();
    if (!known) {
      return absl::InvalidArgumentError(
          fmt::format("namespace {} isn't one of the configuration's namespaces", Printable(name)));
    }
  }
  return asked;
}

void LogEnd(const absl::StatusOr<Report>& report) {
  if (!report.ok()) {
    spdlog::error("a run of the scheduled sync couldn't be recorded: {}", MessageOf(report.status()));
    return;
  }
  spdlog::log(HasProblems(*report) ? spdlog::level::warn : spdlog::level::info, "{} run={}", SubjectOf(*report),
              report->run);
}

std::vector<PairAgents*> PointersOf(const std::vector<std::unique_ptr<PairAgents>>& pairs) {
  std::vector<PairAgents*> pointers;
  for (const std::unique_ptr<PairAgents>& pair : pairs) pointers.push_back(pair.get());
  return pointers;
}

}  // namespace

struct SyncEngine::Parts {
  Parts(config::ControlConfig given, kube::ClusterAccess primary_access, kube::ClusterAccess dr_access)
      : config(std::move(given)), primary(std::move(primary_access)), dr(std::move(dr_access)) {}

  const config::ControlConfig config;
  const kube::Client primary;
  const kube::Client dr;
  const KubeReader primary_reader{primary};
  const KubeReader dr_reader{dr};
  KubeApplier applier{dr, NamesOf(Direction::kToDr).target};
  KubeApplier primary_applier{primary, NamesOf(Direction::kToPrimary).target};
  std::vector<std::unique_ptr<PairAgents>> pairs;
  std::vector<std::unique_ptr<PairAgents>> reverse_pairs;  // of those pairs that may be turned round
};

absl::StatusOr<std::unique_ptr<SyncEngine>> SyncEngine::Create(const config::ControlConfig& config) {
  ASSIGN_OR_RETURN(kube::ClusterAccess primary, AccessTo(config.clusters.primary, "primary"));
  ASSIGN_OR_RETURN(kube::ClusterAccess dr, AccessTo(config.clusters.dr, "dr"));
  auto parts = std::make_unique<Parts>(config, std::move(primary), std::move(dr));
  for (const config::PairConfig& pair : config.pairs) {
    ASSIGN_OR_RETURN(std::unique_ptr<PairAgents> agents, ConnectPair(config, pair, Direction::kToDr));
    parts->pairs.push_back(std::move(agents));
    if (!pair.reverse) continue;
    ASSIGN_OR_RETURN(agents, ConnectPair(config, pair, Direction::kToPrimary));
    parts->reverse_pairs.push_back(std::move(agents));
  }
  return std::unique_ptr<SyncEngine>(new SyncEngine(std::move(parts)));
}

SyncEngine::SyncEngine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
SyncEngine::~SyncEngine() = default;

absl::StatusOr<Report> SyncEngine::Run(const RunLease& lease, const SyncRequest& request, SyncState& state,
                                       std::stop_token stop,
                                       const std::function<void(const RunProgress&)>& on_progress) {
  const config::ControlConfig& config = parts_->config;
  RunOptions options;
  ASSIGN_OR_RETURN(options.namespaces, NamespacesOf(config, request));
  options.id = NewRunId(Clock::System().Now());
  options.trigger = request.trigger;
  options.made_up = request.made_up;
  options.parallelism = config.sync.parallelism;
  options.bring.dry_run = request.dry_run;
  options.bring.volume_timeout = config.sync.volume_timeout;
  options.stale = {.enabled = config.stale.enabled,
                   .max_fraction = config.stale.max_fraction,
                   .min_objects = config.stale.min_objects,
                   .accept_cluster = request.accept_cluster};
  OwedOneWay owed_at_dr(state, Direction::kToDr);
  OwedOneWay owed_at_primary(state, Direction::kToPrimary);
  std::vector<RunParts> legs;
  if (!request.only_to_primary) {
    legs.push_back({.primary = parts_->primary_reader,
                    .dr = parts_->dr_reader,
                    .applier = parts_->applier,
                    .owed = owed_at_dr,
                    .pairs = PointersOf(parts_->pairs),
                    .transform = TransformOptionsOf(config, {}, Direction::kToDr)});
  }
  if (!parts_->reverse_pairs.empty()) {
    legs.push_back({.primary = parts_->dr_reader,
                    .dr = parts_->primary_reader,
                    .applier = parts_->primary_applier,
                    .owed = owed_at_primary,
                    .pairs = PointersOf(parts_->reverse_pairs),
                    .direction = Direction::kToPrimary,
                    .transform = TransformOptionsOf(config, {}, Direction::kToPrimary)});
  }
  if (legs.empty()) return absl::FailedPreconditionError("no pair names agents for the other way (`reverse`)");
  return RunAndRecord(lease, options, legs, state, config.notify, std::move(stop), on_progress);
}

struct SyncService::Parts {
  void MakeRun(const RunLease& lease, bool made_up, std::stop_token stop) {
    spdlog::info("the scheduled sync begins{}", made_up ? ", made up for what was missed" : "");
    LogEnd(engine->Run(lease, {.trigger = Trigger::kSchedule, .made_up = made_up}, *state, std::move(stop),
                       [this](const RunProgress& now) {
                         const absl::MutexLock lock(&mutex);
                         running = now;
                       }));
    const absl::MutexLock lock(&mutex);
    running.reset();
  }

  // Each outlives what comes after it.
  std::unique_ptr<SyncState> state;
  std::unique_ptr<SyncEngine> engine;
  std::unique_ptr<Scheduler> scheduler;  // nullptr: not enabled
  absl::Mutex mutex;
  std::optional<RunProgress> running ABSL_GUARDED_BY(mutex);
  std::jthread schedule;
};

absl::StatusOr<std::unique_ptr<SyncService>> SyncService::Start(const config::ControlConfig& config) {
  if (!config.clusters.primary) return nullptr;
  auto parts = std::make_unique<Parts>();
  ASSIGN_OR_RETURN(const CronSchedule schedule, ParseSchedule(config.schedule.cron, config.schedule.time_zone));
  ASSIGN_OR_RETURN(parts->engine, SyncEngine::Create(config));
  ASSIGN_OR_RETURN(parts->state, SyncState::Open(config.state_dir));
  Parts* const raw = parts.get();
  if (config.schedule.enabled) {
    parts->scheduler = std::make_unique<Scheduler>(schedule, *parts->state,
                                                   [raw](const RunLease& lease, bool made_up, std::stop_token stop) {
                                                     raw->MakeRun(lease, made_up, std::move(stop));
                                                   });
    parts->schedule = std::jthread([raw](std::stop_token stop) { raw->scheduler->Run(std::move(stop)); });
  }
  return std::unique_ptr<SyncService>(new SyncService(std::move(parts)));
}

SyncService::SyncService(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

SyncService::~SyncService() {
  parts_->schedule.request_stop();
}

SyncService::Status SyncService::Now() const {
  Status status;
  {
    const absl::MutexLock lock(&parts_->mutex);
    status.running = parts_->running;
  }
  if (parts_->scheduler != nullptr) status.next_due = parts_->scheduler->NextDue();
  status.pending_deliveries = parts_->state->PendingDeliveries().value_or(0);
  if (absl::StatusOr<std::vector<RunSummary>> runs = parts_->state->Runs(); runs.ok()) status.runs = *std::move(runs);
  return status;
}

absl::Status CheckSchedule(const config::ControlConfig& config) {
  return Annotate(ParseSchedule(config.schedule.cron, config.schedule.time_zone).status(), "schedule");
}

}  // namespace understudy::control
