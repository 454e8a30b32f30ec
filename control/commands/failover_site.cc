#include "control/commands/failover_site.h"

#include <fmt/format.h>

#include <optional>
#include <set>

#include "absl/strings/str_join.h"
#include "control/apply/applier.h"
#include "control/commands/clusters.h"
#include "control/commands/site_agents.h"
#include "control/commands/sync_service.h"
#include "control/failover/inventory.h"
#include "control/failover/plan_steps.h"
#include "control/failover/s3_backups.h"
#include "control/failover/scratch_objects.h"
#include "control/oadp/restore.h"
#include "control/sync/kube_reader.h"
#include "control/sync/site_names.h"
#include "core/base/log.h"
#include "core/base/wait.h"

namespace understudy::control {
namespace {

constexpr absl::Duration kLeaseInterval = absl::Seconds(1);

FailoverWay WayOf(RunMode mode) {
  if (mode == RunMode::kReprotect) return FailoverWay::kNone;
  return mode == RunMode::kFailback ? FailoverWay::kBack : FailoverWay::kToDr;
}

// What the inventory of a reprotect found; nullopt: it found nothing so far.
std::optional<bool> FoundLiveAtPrimary(const RunRecord& run) {
  const StepRecord* const inventory = run.Find(kInventoryStep);
  if (inventory == nullptr || inventory->items.size() != 1) return std::nullopt;
  const nlohmann::ordered_json& facts = inventory->items[0].facts;
  const auto live_at = facts.is_object() ? facts.find("live_at") : facts.end();
  if (live_at == facts.end()) return std::nullopt;
  return *live_at == "primary";
}

// When no other run of the scheduled sync is under way.
absl::StatusOr<RunLease> LeaseOf(const SyncState& state, const ItemContext& context) {
  while (true) {
    absl::StatusOr<RunLease> lease = state.Lease();
    if (!absl::IsFailedPrecondition(lease.status())) return lease;
    context.Progress("a run of the scheduled sync is under way, and is waited for");
    if (!WaitUnlessStopped(context.stop, kLeaseInterval)) return absl::CancelledError("stopped");
  }
}

}  // namespace

struct TargetCluster {
  // `site`: what people call it; a literal.
  TargetCluster(kube::ClusterAccess access, std::string_view site, std::stop_token stop)
      : client(std::move(access), {.stop = std::move(stop)}), applier(client, site) {}

  const kube::Client client;
  KubeApplier applier;
  const KubeReader objects{client};
  KubeScratch scratch{client};
  KubeVirtMachines machines{client};
};

struct FailoverSite::BothClusters {
  BothClusters(kube::ClusterAccess dr_access, kube::ClusterAccess primary_access, const std::stop_token& stop)
      : dr(std::move(dr_access), {.stop = stop}), primary(std::move(primary_access), {.stop = stop}) {}

  const kube::Client dr;
  const kube::Client primary;
  const KubeReader dr_objects{dr};
  const KubeReader primary_objects{primary};
};

// Each is nullptr where the run does without it.
struct FailoverSite::Clusters {
  std::unique_ptr<TargetCluster> target;
  std::unique_ptr<kube::Client> source;
  std::unique_ptr<KubeVirtMachines> source_machines;
  std::unique_ptr<VeleroRestores> restores;
  std::unique_ptr<SyncEngine> sync;
  std::unique_ptr<SyncState> sync_state;
};

absl::StatusOr<config::FailoverPlanConfig> FindPlan(const config::ControlConfig& config, const std::string& name) {
  const std::vector<config::FailoverPlanConfig>& plans = config.failover.plans;
  if (name.empty() && plans.size() == 1) return plans[0];
  std::vector<std::string> names;
  for (const config::FailoverPlanConfig& plan : plans) {
    if (plan.name == name) return plan;
    names.push_back(plan.name);
  }
  if (names.empty()) {
    return absl::InvalidArgumentError("the configuration has no failover plan: write one under `failover.plans`");
  }
  return absl::InvalidArgumentError(fmt::format("{}: the plans are {}",
                                                name.empty() ? "which plan?" : "there is no plan " + Printable(name),
                                                absl::StrJoin(names, ", ")));
}

FailoverSite::FailoverSite(config::ControlConfig config, config::FailoverPlanConfig plan, RunMode mode,
                           std::stop_token stop)
    : config_(std::move(config)), plan_(std::move(plan)), mode_(mode), stop_(std::move(stop)) {}
FailoverSite::~FailoverSite() = default;

absl::StatusOr<std::unique_ptr<FailoverSite>> FailoverSite::Open(const config::ControlConfig& config,
                                                                 const config::FailoverPlanConfig& plan, RunMode mode,
                                                                 std::stop_token stop, const RunRecord* begun) {
  std::unique_ptr<FailoverSite> site(new FailoverSite(config, plan, mode, std::move(stop)));
  ASSIGN_OR_RETURN(site->agents_, ConnectSites(config, WayOf(mode), site->stop_));
  site->source_is_dr_ = mode == RunMode::kFailback;
  if (mode == RunMode::kFailback || mode == RunMode::kReprotect) RETURN_IF_ERROR(site->ReadBothClusters());
  if (mode == RunMode::kReprotect) {
    const std::optional<bool> found = begun != nullptr ? FoundLiveAtPrimary(*begun) : std::nullopt;
    if (found) {
      site->source_is_dr_ = *found;
    } else {
      ASSIGN_OR_RETURN(site->source_is_dr_, site->LiveAtPrimary());
    }
  }
  if (!plan.namespaces.empty()) RETURN_IF_ERROR(site->ConnectClusters());
  return site;
}

absl::Status FailoverSite::ReadBothClusters() {
  if (plan_.namespaces.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(kube::ClusterAccess dr, AccessTo(config_.clusters.dr, "dr"));
  ASSIGN_OR_RETURN(kube::ClusterAccess primary, AccessTo(config_.clusters.primary, "primary"));
  both_ = std::make_unique<BothClusters>(std::move(dr), std::move(primary), stop_);
  return absl::OkStatus();
}

SiteObjects FailoverSite::Objects() const {
  return both_ == nullptr ? SiteObjects{} : SiteObjects{.dr = &both_->dr_objects, .primary = &both_->primary_objects};
}

absl::Status FailoverSite::ConnectClusters() {
  const bool back = mode_ == RunMode::kFailback;
  const auto access = [&](bool dr) {
    return dr ? AccessTo(config_.clusters.dr, "dr") : AccessTo(config_.clusters.primary, "primary");
  };
  clusters_ = std::make_unique<Clusters>();
  if (mode_ != RunMode::kReprotect) {
    ASSIGN_OR_RETURN(kube::ClusterAccess target, access(!back));
    clusters_->target = std::make_unique<TargetCluster>(
        std::move(target), NamesOf(back ? Direction::kToPrimary : Direction::kToDr).target, stop_);
  }
  if (mode_ == RunMode::kPlanned || mode_ == RunMode::kReprotect || back) {
    ASSIGN_OR_RETURN(kube::ClusterAccess source, access(source_is_dr_));
    clusters_->source = std::make_unique<kube::Client>(std::move(source), kube::ClientOptions{.stop = stop_});
    clusters_->source_machines = std::make_unique<KubeVirtMachines>(*clusters_->source);
  } else if (mode_ == RunMode::kUnplanned && config_.clusters.primary) {
    // Only to be asked whether it is really gone, which access that can't be used doesn't hold up.
    absl::StatusOr<kube::ClusterAccess> source = AccessTo(config_.clusters.primary, "primary");
    if (source.ok())
      clusters_->source = std::make_unique<kube::Client>(*std::move(source), kube::ClientOptions{.stop = stop_});
  }
  if (back) {
    ASSIGN_OR_RETURN(clusters_->sync, SyncEngine::Create(config_));
    ASSIGN_OR_RETURN(clusters_->sync_state, SyncState::Open(config_.state_dir));
  }
  // Where what was made at DR isn't backed up, a failback restores nothing.
  const bool backed_up = !back || (config_.oadp && config_.oadp->failback_s3);
  const bool restores = mode_ != RunMode::kReprotect && backed_up && plan_.restore == config::RestoreFrom::kVelero;
  return restores ? ConnectBackups() : absl::OkStatus();
}

absl::StatusOr<Report> FailoverSite::BringObjects(ItemContext& context) {
  const absl::StatusOr<RunLease> lease = LeaseOf(*clusters_->sync_state, context);
  RETURN_IF_ERROR(lease.status());
  return clusters_->sync->Run(
      *lease, {.namespaces = plan_.namespaces, .only_to_primary = true}, *clusters_->sync_state, context.stop,
      [&](const RunProgress& now) { context.Progress(fmt::format("{}: {} of {}", now.phase, now.done, now.total)); });
}

absl::Status FailoverSite::ConnectBackups() {
  if (!config_.oadp) {
    return absl::InvalidArgumentError(
        "the configuration has no `oadp`: say where backups are, or write `restore: nothing` in the plan");
  }
  clusters_->restores = std::make_unique<VeleroRestores>(clusters_->target->client,
                                                         VeleroOptions{.namespace_name = config_.oadp->namespace_name});
  config::OadpConfig oadp = *config_.oadp;
  if (mode_ == RunMode::kFailback) oadp.s3 = *oadp.failback_s3;
  ASSIGN_OR_RETURN(std::unique_ptr<BackupStore> store, OpenBackupStore(oadp));
  backups_ = std::make_unique<StoredBackups>(std::move(store), config_.oadp->accept_partially_failed,
                                             config_.oadp->max_archive_bytes);
  return absl::OkStatus();
}

absl::StatusOr<bool> FailoverSite::LiveAtPrimary() const {
  RunStorage storage(*agents_, nullptr, {}, Objects());
  const RunRecord run{.spec = {.mode = mode_, .namespaces = plan_.namespaces, .volumes = plan_.volumes}};
  ASSIGN_OR_RETURN(const auto found, storage.Get(run, stop_));
  std::set<std::string> wanted(plan_.volumes.begin(), plan_.volumes.end());
  for (const ClaimDefinition& claim : found->storage.claims) wanted.insert(claim.volume.Key());
  for (const std::string& pair : agents_->Pairs()) {
    ASSIGN_OR_RETURN(const std::vector<LiveView> live, agents_->LiveVolumes(pair));
    for (const LiveView& volume : live) {
      if (wanted.contains(pair + "/" + volume.volume)) return volume.at_primary;
    }
  }
  return absl::FailedPreconditionError(
      fmt::format("no volume of plan {} is promoted at either site, so there is nothing to turn round: fail over first",
                  Printable(plan_.name)));
}

Engine::Steps FailoverSite::MakeSteps(const std::filesystem::path& work_folder,
                                      std::function<absl::Status()> remove_work_folder) {
  UNDERSTUDY_CHECK(parts_ == nullptr);
  parts_ = std::make_unique<FailoverParts>(FailoverParts{
      .agents = *agents_, .work_folder = work_folder, .remove_work_folder = std::move(remove_work_folder)});
  parts_->source_is_dr = source_is_dr_;
  parts_->transform = [this](const std::string& name) {
    for (const config::PairConfig& pair : config_.pairs) {
      if (pair.name == name) return TransformOptionsOf(config_, pair);
    }
    return TransformOptionsOf(config_, {});
  };
  if (clusters_ != nullptr) UseClusters();
  parts_->backups = backups_.get();
  storage_ = std::make_unique<RunStorage>(*agents_, backups_.get(), work_folder, Objects());
  return StepsOf(plan_, mode_, *parts_, *storage_);
}

void FailoverSite::UseClusters() {
  parts_->source_machines = clusters_->source_machines.get();
  parts_->restores = clusters_->restores.get();
  if (clusters_->sync != nullptr) {
    parts_->bring_objects = [this](ItemContext& context) { return BringObjects(context); };
  }
  if (clusters_->source != nullptr) parts_->reach_source = [this] { return clusters_->source->Version(); };
  if (clusters_->target == nullptr) return;
  TargetCluster& target = *clusters_->target;
  parts_->target_machines = &target.machines;
  parts_->applier = &target.applier;
  parts_->target_objects = &target.objects;
  parts_->scratch = &target.scratch;
  parts_->reach_target = [&target] { return target.client.Version(); };
}

}  // namespace understudy::control
