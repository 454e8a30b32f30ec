#include "tests/cluster/failover_site.h"

#include <fmt/format.h>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/support/tree_compare.h"
#include "tests/support/velero_archive.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using nlohmann::json;

constexpr char kBucket[] = "oadp";
constexpr char kDrBucket[] = "oadp-dr";
constexpr char kVeleroNamespace[] = "openshift-adp";
constexpr absl::Duration kPatience = absl::Minutes(2);

std::string MachinesPath(const std::string& namespace_name) {
  return fmt::format("/apis/kubevirt.io/v1/namespaces/{}/virtualmachines", namespace_name);
}

std::string TimeNow() {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
}

// A backup's of what the cluster has now.
absl::StatusOr<std::string> ArchiveOf(Cluster& cluster, const std::string& break_machine) {
  VeleroArchive archive;
  const struct {
    std::string path;
    const char* api_version;
    const char* kind;
  } lists[] = {{"/api/v1/persistentvolumes", "v1", "PersistentVolume"},
               {fmt::format("/api/v1/namespaces/{}/persistentvolumeclaims", FailoverSite::kNamespace), "v1",
                "PersistentVolumeClaim"},
               {fmt::format("/api/v1/namespaces/{}/configmaps", FailoverSite::kNamespace), "v1", "ConfigMap"},
               {MachinesPath(FailoverSite::kNamespace), "kubevirt.io/v1", "VirtualMachine"}};
  for (const auto& list : lists) {
    ASSIGN_OR_RETURN(const json objects, cluster.Get(list.path));
    for (json object : objects.at("items")) {
      object["apiVersion"] = list.api_version;
      object["kind"] = list.kind;
      object["metadata"].erase("managedFields");
      if (object["metadata"]["name"] == break_machine) {
        object["metadata"]["annotations"][kBrokenAnnotation] = "CrashLoopBackOff";
      }
      archive.Add(object);
    }
  }
  return archive.TarGz();
}

}  // namespace

absl::StatusOr<std::unique_ptr<FailoverSite>> FailoverSite::Make(const Options& options) {
  auto made = std::make_unique<FailoverSite>();
  RETURN_IF_ERROR(made->StartClusters(options));
  RETURN_IF_ERROR(made->StartS3());
  RETURN_IF_ERROR(made->StartSite(options));
  return made;
}

absl::Status FailoverSite::StartClusters(const Options& options) {
  ASSIGN_OR_RETURN(clusters_, ClusterSite::StartClusters({kNamespace}));
  ASSIGN_OR_RETURN(const kube::ClusterAccess primary, kube::LoadKubeconfig(clusters_->primary().Kubeconfig(), ""));
  ASSIGN_OR_RETURN(const kube::ClusterAccess dr, kube::LoadKubeconfig(clusters_->dr().Kubeconfig(), ""));
  ASSIGN_OR_RETURN(primary_kubevirt_,
                   KubeVirtPlayer::Start(primary, {.serve_subresources = options.serve_subresources}));
  ASSIGN_OR_RETURN(dr_kubevirt_, KubeVirtPlayer::Start(dr));
  const auto archives_of = [this](const char* bucket) {
    return [this, bucket](const std::string& backup) {
      return s3_->Get(bucket, fmt::format("backups/{0}/{0}.tar.gz", backup));
    };
  };
  ASSIGN_OR_RETURN(dr_velero_, VeleroPlayer::Start(dr, kVeleroNamespace, archives_of(kBucket)));
  ASSIGN_OR_RETURN(primary_velero_, VeleroPlayer::Start(primary, kVeleroNamespace, archives_of(kDrBucket)));
  return absl::OkStatus();
}

absl::Status FailoverSite::StartS3() {
  ASSIGN_OR_RETURN(s3_, S3Server::Start(folder_.File("s3")));
  RETURN_IF_ERROR(s3_->MakeBucket(kBucket));
  return s3_->MakeBucket(kDrBucket);
}

absl::Status FailoverSite::StartSite(const Options& options) {
  ClusterSite::Options site;
  site.sync_on_demand = true;
  site.both_ways = options.both_ways;
  const auto bucket = [&](const char* name) {
    return fmt::format("{{endpoint: '{}', bucket: {}, access_key_file: {}, secret_key_file: {}}}", s3_->Url(), name,
                       s3_->AccessKeyFile(), s3_->SecretKeyFile());
  };
  site.more_control_settings = fmt::format(
      "oadp: {{s3: {}{}}}\n"
      "failover: {{plans: [{{name: shop, namespaces: [{}], timeouts: {{boot: 30s}}{}{}}}]}}\n",
      bucket(kBucket), options.both_ways ? ", failback_s3: " + bucket(kDrBucket) : "", kNamespace,
      options.plan_settings.empty() ? "" : ", ", options.plan_settings);
  RETURN_IF_ERROR(clusters_->StartAgents(site));
  for (int i = 0; i < options.machines; ++i) {
    RETURN_IF_ERROR(clusters_->Create(kNamespace, fmt::format("disk{}", i)));
    RETURN_IF_ERROR(MakeMachine(clusters_->primary(), i));
  }
  RETURN_IF_ERROR(clusters_->ExpectEqual(kPatience));
  return WaitFor("every machine to run", kPatience, [&] {
    const auto machines = Machines(clusters_->primary());
    return std::count_if(machines.begin(), machines.end(),
                         [](const auto& machine) { return machine.second == "Running"; }) == options.machines;
  });
}

absl::Status FailoverSite::MakeMachine(Cluster& cluster, int number) {
  const std::string disk = fmt::format("disk{}", number);
  const json machine = {
      {"apiVersion", "kubevirt.io/v1"},
      {"kind", "VirtualMachine"},
      {"metadata", {{"name", fmt::format("vm{}", number)}}},
      {"spec",
       {{"runStrategy", "Always"},
        {"template",
         {{"spec",
           {{"domain", {{"devices", json::object()}}},
            {"volumes", json::array({{{"name", "disk"}, {"persistentVolumeClaim", {{"claimName", disk}}}}})}}}}}}}};
  return cluster.Post(MachinesPath(kNamespace), machine).status();
}

absl::StatusOr<std::string> FailoverSite::ArchiveNow(const std::string& break_machine) {
  return ArchiveOf(clusters_->primary(), break_machine);
}

absl::Status FailoverSite::StoreBackup(const std::string& bucket, VeleroPlayer& velero, const std::string& name,
                                       const std::string& archive, const json& description) {
  json text = MakeBackupDescription(name, {{"spec", {{"includedNamespaces", {kNamespace}}}}});
  if (!description.is_null()) text.merge_patch(description);
  RETURN_IF_ERROR(s3_->Put(bucket, fmt::format("backups/{}/velero-backup.json", name), text.dump()));
  RETURN_IF_ERROR(s3_->Put(bucket, fmt::format("backups/{0}/{0}.tar.gz", name), archive));
  return velero.SyncBackup(name);
}

absl::Status FailoverSite::PutBackup(const std::string& name, const std::string& archive, const json& description) {
  return StoreBackup(kBucket, *dr_velero_, name, archive, description);
}

absl::Status FailoverSite::BackUp(const std::string& name, const std::string& break_machine) {
  ASSIGN_OR_RETURN(const std::string archive, ArchiveNow(break_machine));
  // It is the latest.
  return PutBackup(name, archive, {{"status", {{"startTimestamp", TimeNow()}, {"completionTimestamp", TimeNow()}}}});
}

absl::Status FailoverSite::BackUpDr(const std::string& name) {
  ASSIGN_OR_RETURN(const std::string archive, ArchiveOf(clusters_->dr(), ""));
  return StoreBackup(kDrBucket, *primary_velero_, name, archive,
                     {{"status", {{"startTimestamp", TimeNow()}, {"completionTimestamp", TimeNow()}}}});
}

std::map<std::string, std::string> FailoverSite::Machines(Cluster& cluster, const std::string& namespace_name) {
  std::map<std::string, std::string> machines;
  const auto listed = cluster.Get(MachinesPath(namespace_name));
  if (!listed.ok()) return machines;
  for (const json& machine : listed->at("items")) {
    machines[machine["metadata"]["name"]] = machine.value("status", json::object()).value("printableStatus", "");
  }
  return machines;
}

absl::Status FailoverSite::CompareDisks(int machines) {
  for (int i = 0; i < machines; ++i) {
    const std::string volume = fmt::format("pv-disk{}", i);
    ASSIGN_OR_RETURN(const std::vector<std::string> differences,
                     CompareTrees(site().Volume(volume), site().Replica(volume)));
    if (!differences.empty()) return absl::InternalError(fmt::format("{}: {}", volume, differences[0]));
  }
  return absl::OkStatus();
}

std::string FailoverSite::PictureOfDr() {
  std::string picture;
  for (const char* const path : {"/api/v1/persistentvolumes", "/api/v1/persistentvolumeclaims", "/api/v1/namespaces",
                                 "/apis/kubevirt.io/v1/virtualmachines", "/apis/velero.io/v1/restores"}) {
    const auto listed = clusters_->dr().Get(path);
    if (!listed.ok()) return std::string(listed.status().message());
    for (json object : listed->at("items")) {
      object["metadata"].erase("managedFields");
      picture += object.dump() + "\n";
    }
  }
  const nlohmann::json listed = Drctl({"status"});
  for (const json& volume : listed["volumes"]) picture += volume["replica"].dump() + "\n";
  return picture;
}

json FailoverSite::Drctl(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"-o", "json"});
  const ProcessResult result = site().Drctl(arguments);
  exit_code_ = result.exit_code;
  err_ = result.err;
  return json::parse(result.out, nullptr, /*allow_exceptions=*/false);
}

}  // namespace understudy::tests
