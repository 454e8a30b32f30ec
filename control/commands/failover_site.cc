#include "control/commands/failover_site.h"

#include <fmt/format.h>

#include "absl/strings/str_join.h"
#include "control/apply/applier.h"
#include "control/commands/clusters.h"
#include "control/commands/site_agents.h"
#include "control/failover/plan_steps.h"
#include "control/failover/s3_backups.h"
#include "control/failover/scratch_objects.h"
#include "control/oadp/restore.h"
#include "control/sync/kube_reader.h"
#include "core/base/log.h"

namespace understudy::control {

// The two clusters; the source is nullptr when the run does without it.
struct FailoverSite::Clusters {
  explicit Clusters(kube::ClusterAccess target_access) : target(std::move(target_access)) {}

  const kube::Client target;
  std::unique_ptr<kube::Client> source;
  KubeApplier applier{target};
  const KubeReader objects{target};
  KubeScratch scratch{target};
  KubeVirtMachines target_machines{target};
  std::unique_ptr<KubeVirtMachines> source_machines;
  std::unique_ptr<VeleroRestores> restores;
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

FailoverSite::FailoverSite(config::ControlConfig config, config::FailoverPlanConfig plan, RunMode mode)
    : config_(std::move(config)), plan_(std::move(plan)), mode_(mode) {}
FailoverSite::~FailoverSite() = default;

absl::StatusOr<std::unique_ptr<FailoverSite>> FailoverSite::Open(const config::ControlConfig& config,
                                                                 const config::FailoverPlanConfig& plan, RunMode mode) {
  std::unique_ptr<FailoverSite> site(new FailoverSite(config, plan, mode));
  ASSIGN_OR_RETURN(site->agents_, ConnectSites(config));
  if (!plan.namespaces.empty()) RETURN_IF_ERROR(site->ConnectClusters());
  return site;
}

absl::Status FailoverSite::ConnectClusters() {
  ASSIGN_OR_RETURN(kube::ClusterAccess target, AccessTo(config_.clusters.dr, "dr"));
  clusters_ = std::make_unique<Clusters>(std::move(target));
  if (mode_ == RunMode::kPlanned) {
    ASSIGN_OR_RETURN(kube::ClusterAccess source, AccessTo(config_.clusters.primary, "primary"));
    clusters_->source = std::make_unique<kube::Client>(std::move(source));
    clusters_->source_machines = std::make_unique<KubeVirtMachines>(*clusters_->source);
  } else if (mode_ == RunMode::kUnplanned && config_.clusters.primary) {
    // Only to be asked whether it is really gone, which access that can't be used doesn't hold up.
    absl::StatusOr<kube::ClusterAccess> source = AccessTo(config_.clusters.primary, "primary");
    if (source.ok()) clusters_->source = std::make_unique<kube::Client>(*std::move(source));
  }
  if (plan_.restore == config::RestoreFrom::kNothing) return absl::OkStatus();
  if (!config_.oadp) {
    return absl::InvalidArgumentError(
        "the configuration has no `oadp`: say where backups are, or write `restore: nothing` "
        "in the plan");
  }
  clusters_->restores = std::make_unique<VeleroRestores>(clusters_->target,
                                                         VeleroOptions{.namespace_name = config_.oadp->namespace_name});
  ASSIGN_OR_RETURN(std::unique_ptr<BackupStore> store, OpenBackupStore(*config_.oadp));
  backups_ = std::make_unique<StoredBackups>(std::move(store), config_.oadp->accept_partially_failed,
                                             config_.oadp->max_archive_bytes);
  return absl::OkStatus();
}

Engine::Steps FailoverSite::MakeSteps(const std::filesystem::path& work_folder,
                                      std::function<absl::Status()> remove_work_folder) {
  UNDERSTUDY_CHECK(parts_ == nullptr);
  parts_ = std::make_unique<FailoverParts>(FailoverParts{
      .agents = *agents_, .work_folder = work_folder, .remove_work_folder = std::move(remove_work_folder)});
  parts_->transform = [this](const std::string& name) {
    for (const config::PairConfig& pair : config_.pairs) {
      if (pair.name == name) return TransformOptionsOf(config_, pair);
    }
    return TransformOptionsOf(config_, {});
  };
  if (clusters_ != nullptr) {
    parts_->target_machines = &clusters_->target_machines;
    parts_->source_machines = clusters_->source_machines.get();
    parts_->restores = clusters_->restores.get();
    parts_->applier = &clusters_->applier;
    parts_->target_objects = &clusters_->objects;
    parts_->scratch = &clusters_->scratch;
    parts_->reach_target = [this] { return clusters_->target.Version(); };
    if (clusters_->source != nullptr) parts_->reach_source = [this] { return clusters_->source->Version(); };
  }
  parts_->backups = backups_.get();
  storage_ = std::make_unique<RunStorage>(*agents_, backups_.get(), work_folder);
  return StepsOf(plan_, mode_, *parts_, *storage_);
}

}  // namespace understudy::control
