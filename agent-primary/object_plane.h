// object_plane.h: the cluster's storage objects, taken in from a watch, a webhook or both, and brought to DR.
//
// One room for what the way of an object event needs: the event log, the rules, the forwarder, the action runner with
// the guard on deletions, DR's catalog, and the intakes.
#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

#include "agent-primary/forward/forwarder.h"
#include "agent-primary/intake/cluster_intake.h"
#include "agent-primary/intake/event_log.h"
#include "agent-primary/intake/event_pipeline.h"
#include "agent-primary/intake/webhook_intake.h"
#include "agent-primary/rules/action_runner.h"
#include "agent-primary/rules/object_keeper.h"
#include "agent-primary/rules/rule_set.h"
#include "agent-primary/rules/volume_actions.h"
#include "agent-primary/service/object_control.h"
#include "core/config/primary_config.h"
#include "core/kube/client.h"
#include "core/net/channel.h"
#include "core/wire/catalog_client.h"

namespace understudy::primary {

// Thread-safe.
class ObjectPlane : public ObjectControl {
 public:
  // Opens what it keeps in the state folder, and takes nothing in yet. `config` has a kubernetes section, a webhook
  // section or both; `volumes` must outlive it. Errors as of the kubeconfig and of the files.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ObjectPlane>> Open(const config::PrimaryConfig& config,
                                                                         const net::ChannelSpec& peer,
                                                                         VolumeActions& volumes);
  ~ObjectPlane() override;

  // Takes in and acts, on threads of its own, until Stop. To be called once. Errors as of the webhook's address.
  [[nodiscard]] absl::Status Start(const config::PrimaryConfig& config);
  // Returns when its threads have ended.
  void Stop();

  [[nodiscard]] ObjectsReport Report() const override;
  [[nodiscard]] absl::Status ApproveGuard(const std::string& guard_kind, uint64_t gone) override;
  [[nodiscard]] EventLog& events() { return *events_; }
  // After Start; to be used until Stop.
  [[nodiscard]] std::shared_ptr<prometheus::Collectable> MakeProbe() const;

 private:
  // A cluster that is followed.
  struct Cluster;

  ObjectPlane();
  [[nodiscard]] absl::Status OpenEvents(const config::PrimaryConfig& config);
  [[nodiscard]] absl::Status OpenKeeper(const config::PrimaryConfig& config);
  [[nodiscard]] absl::Status StartWebhook(const config::WebhookConfig& config);

  // Each outlives what comes after it.
  std::unique_ptr<Cluster> cluster_;  // nullptr: events are posted only
  std::unique_ptr<wire::CatalogClient> catalog_;
  std::unique_ptr<ObjectKeeper> keeper_;
  std::unique_ptr<RuleSet> rules_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<OutcomeRecorder> recorder_;
  std::unique_ptr<Forwarder> forwarder_;  // nullptr: nothing is forwarded
  std::unique_ptr<ActionRunner> runner_;
  std::unique_ptr<EventPipeline> pipeline_;
  std::unique_ptr<ClusterIntake> intake_;   // nullptr: no cluster is followed
  std::unique_ptr<WebhookIntake> webhook_;  // nullptr: nothing is posted

  std::stop_source stop_;
  std::vector<std::thread> threads_;
};

}  // namespace understudy::primary
