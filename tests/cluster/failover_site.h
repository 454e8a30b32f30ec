// failover_site.h: two whole sites for failovers: ClusterSite with virtual machines, a KubeVirt and a Velero player at
// each cluster, and backups of either one in a real S3 server, a bucket for each.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "nlohmann/json.hpp"
#include "tests/cluster/cluster_site.h"
#include "tests/support/kubevirt_player.h"
#include "tests/support/s3_server.h"
#include "tests/support/velero_player.h"

namespace understudy::tests {

// Namespace "shop"; machine "vm<i>" has claim "disk<i>". Plan "shop". Not thread-safe.
class FailoverSite {
 public:
  static constexpr const char* kNamespace = "shop";

  struct Options {
    int machines = 2;
    std::string plan_settings = {};  // YAML of one line, in the plan's braces
    bool serve_subresources = true;  // of KubeVirt at the primary
    bool both_ways = false;          // SiteOptions::both_ways; the plan may go back, with backups of the DR cluster
  };
  // Both sites run, every machine does, and DR has everything. FAILED_PRECONDITION: as of Cluster::Start and S3Server.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<FailoverSite>> Make(const Options& options);
  static absl::StatusOr<std::unique_ptr<FailoverSite>> Make() { return Make(Options()); }

  [[nodiscard]] ClusterSite& clusters() { return *clusters_; }
  [[nodiscard]] Site& site() { return clusters_->site(); }
  [[nodiscard]] S3Server& s3() { return *s3_; }
  [[nodiscard]] KubeVirtPlayer& primary_kubevirt() { return *primary_kubevirt_; }
  [[nodiscard]] KubeVirtPlayer& dr_kubevirt() { return *dr_kubevirt_; }

  // A backup of the primary cluster as it is now, in the bucket and known to Velero at DR. `break_machine`: the one of
  // that name doesn't get well where it is restored.
  [[nodiscard]] absl::Status BackUp(const std::string& name, const std::string& break_machine = {});
  // A backup of the DR cluster, known to Velero at the primary.
  [[nodiscard]] absl::Status BackUpDr(const std::string& name);
  // Of the primary cluster, of an archive of these bytes; `description` is merged over a backup's that is as it should
  // be.
  [[nodiscard]] absl::Status PutBackup(const std::string& name, const std::string& archive,
                                       const nlohmann::json& description = {});
  // The archive that BackUp would make.
  [[nodiscard]] absl::StatusOr<std::string> ArchiveNow(const std::string& break_machine = {});

  // By name: printableStatus of the namespace's machines; empty when there are none.
  [[nodiscard]] static std::map<std::string, std::string> Machines(Cluster& cluster,
                                                                   const std::string& namespace_name = kNamespace);
  // Machine "vm<number>" with the claim "disk<number>", which is there.
  [[nodiscard]] static absl::Status MakeMachine(Cluster& cluster, int number);
  // Whether both folders of each disk are the same.
  [[nodiscard]] absl::Status CompareDisks(int machines);
  // Everything of the DR cluster that a failover may touch, as text: equal texts mean that nothing was changed.
  [[nodiscard]] std::string PictureOfDr();

  // drctl with `-o json`; its exit code and messages are kept.
  [[nodiscard]] nlohmann::json Drctl(std::vector<std::string> arguments);
  [[nodiscard]] int exit_code() const { return exit_code_; }
  [[nodiscard]] const std::string& err() const { return err_; }

 private:
  [[nodiscard]] absl::Status StartClusters(const Options& options);
  [[nodiscard]] absl::Status StartS3();
  [[nodiscard]] absl::Status StartSite(const Options& options);
  [[nodiscard]] absl::Status StoreBackup(const std::string& bucket, VeleroPlayer& velero, const std::string& name,
                                         const std::string& archive, const nlohmann::json& description);

  std::unique_ptr<S3Server> s3_;
  std::unique_ptr<ClusterSite> clusters_;
  std::unique_ptr<KubeVirtPlayer> primary_kubevirt_;
  std::unique_ptr<KubeVirtPlayer> dr_kubevirt_;
  std::unique_ptr<VeleroPlayer> primary_velero_;
  std::unique_ptr<VeleroPlayer> dr_velero_;
  TempDir folder_;
  int exit_code_ = 0;
  std::string err_;
};

}  // namespace understudy::tests
