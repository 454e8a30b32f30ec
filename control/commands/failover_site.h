// failover_site.h: everything that the runs of one plan work with: connections to agents and clusters, and the backups.
#pragma once

#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>

#include "control/failover/parts.h"
#include "control/failover/run_storage.h"
#include "control/runs/engine.h"
#include "control/runs/store.h"
#include "core/config/control_config.h"

namespace understudy::control {

// Thread-safe after Open.
class FailoverSite {
 public:
  // Connects to nobody yet. INVALID_ARGUMENT: the configuration can't be used: a kubeconfig, certificates, or a plan
  // with namespaces where the DR cluster isn't configured. What the steps wait for ends soon after `stop` is requested.
  // `begun`: the run that is gone on with; nullptr: a new one. A reprotect stops the machines of the site that isn't
  // live: the one that the inventory of the run found, else the agents are asked. FAILED_PRECONDITION: nothing of the
  // plan is live where it was promoted.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<FailoverSite>> Open(const config::ControlConfig& config,
                                                                          const config::FailoverPlanConfig& plan,
                                                                          RunMode mode, std::stop_token stop,
                                                                          const RunRecord* begun = nullptr);
  ~FailoverSite();

  // The steps of run `run`, whose files are in `work_folder`. The site outlives them. To be called once.
  [[nodiscard]] Engine::Steps MakeSteps(const std::filesystem::path& work_folder,
                                        std::function<absl::Status()> remove_work_folder);

 private:
  struct Clusters;
  struct BothClusters;
  FailoverSite(config::ControlConfig config, config::FailoverPlanConfig plan, RunMode mode, std::stop_token stop);
  [[nodiscard]] absl::Status ReadBothClusters();
  [[nodiscard]] SiteObjects Objects() const;
  [[nodiscard]] absl::Status ConnectClusters();
  [[nodiscard]] absl::Status ConnectBackups();
  // Of a reprotect: whether the primary site has the plan's live copies, after a failback. FAILED_PRECONDITION: neither
  // site has any.
  [[nodiscard]] absl::StatusOr<bool> LiveAtPrimary() const;
  void UseClusters();
  // FailoverParts::bring_objects.
  [[nodiscard]] absl::StatusOr<Report> BringObjects(ItemContext& context);

  const config::ControlConfig config_;
  const config::FailoverPlanConfig plan_;
  const RunMode mode_;
  const std::stop_token stop_;
  bool source_is_dr_ = false;
  std::unique_ptr<SiteAgents> agents_;
  std::unique_ptr<BothClusters> both_;  // on the way there and back
  std::unique_ptr<Clusters> clusters_;  // nullptr: the plan has no namespaces
  std::unique_ptr<Backups> backups_;    // nullptr: nothing is restored
  std::unique_ptr<FailoverParts> parts_;
  std::unique_ptr<RunStorage> storage_;
};

// The plan of that name; the only one when `name` is empty. INVALID_ARGUMENT: there is none, or several.
[[nodiscard]] absl::StatusOr<config::FailoverPlanConfig> FindPlan(const config::ControlConfig& config,
                                                                  const std::string& name);

}  // namespace understudy::control
