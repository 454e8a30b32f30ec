// cluster_site.h: everything at once, for real: a primary and a DR cluster, both agents, drctl serve, and volumes with
// real folders whose PersistentVolumes and claims a test makes, changes and deletes.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "nlohmann/json.hpp"
#include "tests/support/cluster.h"
#include "tests/support/site.h"

namespace understudy::tests {

// Of the test's volumes, as the primary cluster has it. The PersistentVolume is "pv-" and the claim's name.
struct ClaimState {
  std::string uid;
  std::string step;  // label `step` of the claim, raised by each change
  friend bool operator==(const ClaimState&, const ClaimState&) = default;
};

// Not thread-safe; as Cluster.
class ClusterSite {
 public:
  struct Options {
    std::vector<std::string> namespaces = {"shop"};
    std::string primary_kubeconfig = {};     // the agent's; empty: straight to the primary cluster
    std::string more_primary_settings = {};  // YAML
    std::string more_control_settings = {};  // likewise
    bool sync_on_demand = false;             // drctl sync run works; nothing is scheduled
    bool both_ways = false;                  // SiteOptions::both_ways
  };

  // Starts both clusters; their namespaces are there. FAILED_PRECONDITION: as of Cluster::Start.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ClusterSite>> StartClusters(
      const std::vector<std::string>& namespaces);
  // Makes certificates and configuration, and starts both agents and drctl serve.
  [[nodiscard]] absl::Status StartAgents(const Options& options);

  [[nodiscard]] Cluster& primary() { return *primary_; }
  [[nodiscard]] Cluster& dr() { return *dr_; }
  [[nodiscard]] Site& site() { return *site_; }

  // A folder with a file, its PersistentVolume and its claim.
  [[nodiscard]] absl::Status Create(const std::string& namespace_name, const std::string& name);
  // The same at DR, of its own.
  [[nodiscard]] absl::Status CreateAtDr(const std::string& namespace_name, const std::string& name);
  // A new label of the claim, more capacity, and new content.
  [[nodiscard]] absl::Status Change(const std::string& namespace_name, const std::string& name, int step);
  // The claim, then its PersistentVolume; returns when both are gone. The folder stays.
  [[nodiscard]] absl::Status Delete(const std::string& namespace_name, const std::string& name);

  // Claims by "namespace/name". At the primary: all; at DR: those that are ours, with the uid that they were made from.
  [[nodiscard]] absl::StatusOr<std::map<std::string, ClaimState>> AtPrimary() const;
  // An error says which is not Bound, and whether something of ours is left over.
  [[nodiscard]] absl::StatusOr<std::map<std::string, ClaimState>> AtDr() const;
  // Ours there: claims, and volumes.
  [[nodiscard]] absl::StatusOr<std::pair<size_t, size_t>> CountAtDr() const;
  // Whether DR is as the primary: the same claims and PersistentVolumes from the same objects, all bound, no other.
  [[nodiscard]] absl::Status Compare() const;
  // Waits for it; an error says what differs, and what the programs said.
  [[nodiscard]] absl::Status ExpectEqual(absl::Duration timeout);
  // Whether every claim's file is at DR, after a barrier.
  [[nodiscard]] absl::Status CompareContent();

  // Deletions that the DR cluster accepted from us so far: how many, by the object's path.
  [[nodiscard]] std::map<std::string, int> DeletionsAtDr() const;
  // `drctl … -o json`.
  [[nodiscard]] nlohmann::json Drctl(std::vector<std::string> arguments);

 private:
  [[nodiscard]] absl::StatusOr<std::string> Content(const std::string& folder, const std::string& volume) const;

  std::unique_ptr<Cluster> primary_;
  std::unique_ptr<Cluster> dr_;
  std::unique_ptr<Site> site_;
};

}  // namespace understudy::tests
