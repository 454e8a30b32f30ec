#include "tests/cluster/cluster_site.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using nlohmann::json;

constexpr char kVolumes[] = "/api/v1/persistentvolumes";
constexpr char kAllClaims[] = "/api/v1/persistentvolumeclaims";
constexpr char kOurs[] = "?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dunderstudy";
constexpr absl::Duration kPatience = absl::Minutes(2);
constexpr size_t kShownLog = 3000;

std::string ClaimsPath(const std::string& namespace_name) {
  return fmt::format("/api/v1/namespaces/{}/persistentvolumeclaims", namespace_name);
}

std::string VolumeOf(const std::string& claim) {
  return "pv-" + claim;
}

std::string KeyOf(const json& object) {
  return fmt::format("{}/{}", object.at("metadata").at("namespace").get<std::string>(),
                     object.at("metadata").at("name").get<std::string>());
}

std::string SourceUidOf(const json& object) {
  return object.at("metadata").value("annotations", json::object()).value("understudy.io/source-uid", "");
}

std::string StepOf(const json& object) {
  return object.at("metadata").value("labels", json::object()).value("step", "");
}

std::string Tail(const std::string& log) {
  return log.substr(log.size() > kShownLog ? log.size() - kShownLog : 0);
}

// A folder of NFS server `server`, with a file, its PersistentVolume and its claim.
absl::Status CreateIn(Cluster& cluster, const std::string& server, const std::string& folder,
                      const std::string& namespace_name, const std::string& name) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/content") << name;
  const json volume = {{"metadata", {{"name", VolumeOf(name)}}},
                       {"spec",
                        {{"capacity", {{"storage", "1Gi"}}},
                         {"accessModes", {"ReadWriteMany"}},
                         {"persistentVolumeReclaimPolicy", "Retain"},
                         {"storageClassName", "nfs"},
                         {"claimRef", {{"namespace", namespace_name}, {"name", name}}},
                         {"nfs", {{"server", server}, {"path", folder}}}}}};
  const json claim = {{"metadata", {{"name", name}, {"labels", {{"step", "0"}}}}},
                      {"spec",
                       {{"accessModes", {"ReadWriteMany"}},
                        {"resources", {{"requests", {{"storage", "1Gi"}}}}},
                        {"storageClassName", "nfs"},
                        {"volumeName", VolumeOf(name)}}}};
  RETURN_IF_ERROR(cluster.Post(kVolumes, volume).status());
  return cluster.Post(ClaimsPath(namespace_name), claim).status();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ClusterSite>> ClusterSite::StartClusters(const std::vector<std::string>& namespaces) {
  auto made = std::make_unique<ClusterSite>();
  ASSIGN_OR_RETURN(made->primary_, Cluster::Start("primary"));
  ASSIGN_OR_RETURN(made->dr_, Cluster::Start("dr"));
  for (const std::string& name : namespaces) {
    RETURN_IF_ERROR(made->primary_->Post("/api/v1/namespaces", {{"metadata", {{"name", name}}}}).status());
  }
  return made;
}

absl::Status ClusterSite::StartAgents(const Options& options) {
  const std::string kubeconfig =
      options.primary_kubeconfig.empty() ? primary_->Kubeconfig() : options.primary_kubeconfig;
  SiteOptions site;
  site.volumes = {};
  site.server_names = {"nfs1"};
  site.more_primary_settings = fmt::format("kubernetes: {{kubeconfig: {}, namespaces: [{}]}}\n{}", kubeconfig,
                                           fmt::join(options.namespaces, ", "), options.more_primary_settings);
  const std::string to_primary = fmt::format("primary: {{kubeconfig: {}}}, ", kubeconfig);
  site.more_control_settings =
      fmt::format("state_dir: state-control\nschedule: {{enabled: false}}\nclusters: {{{}dr: {{kubeconfig: {}}}}}\n{}",
                  options.sync_on_demand ? to_primary : "", dr_->Kubeconfig(), options.more_control_settings);
  site.both_ways = options.both_ways;
  ASSIGN_OR_RETURN(site_, Site::Make(site));
  RETURN_IF_ERROR(site_->StartDr());
  RETURN_IF_ERROR(site_->StartPrimary());
  RETURN_IF_ERROR(site_->StartReverse());
  return site_->StartServe();
}

absl::Status ClusterSite::Create(const std::string& namespace_name, const std::string& name) {
  return CreateIn(*primary_, "nfs1", site_->Volume(VolumeOf(name)), namespace_name, name);
}

absl::Status ClusterSite::CreateAtDr(const std::string& namespace_name, const std::string& name) {
  return CreateIn(*dr_, "nfs2", site_->Replica(VolumeOf(name)), namespace_name, name);
}

absl::Status ClusterSite::Change(const std::string& namespace_name, const std::string& name, int step) {
  std::ofstream(site_->Volume(VolumeOf(name)) + "/content") << fmt::format("{} {}", name, step);
  const json label = {{"metadata", {{"labels", {{"step", fmt::format("{}", step)}}}}}};
  RETURN_IF_ERROR(primary_->MergePatch(fmt::format("{}/{}", ClaimsPath(namespace_name), name), label).status());
  const json capacity = {{"spec", {{"capacity", {{"storage", fmt::format("{}Gi", 1 + step)}}}}}};
  return primary_->MergePatch(fmt::format("{}/{}", kVolumes, VolumeOf(name)), capacity).status();
}

absl::Status ClusterSite::Delete(const std::string& namespace_name, const std::string& name) {
  const std::string claim = fmt::format("{}/{}", ClaimsPath(namespace_name), name);
  const std::string volume = fmt::format("{}/{}", kVolumes, VolumeOf(name));
  for (const std::string& path : {claim, volume}) {
    RETURN_IF_ERROR(primary_->Delete(path).status());
    RETURN_IF_ERROR(
        WaitFor(path + " to be gone", kPatience, [&] { return absl::IsNotFound(primary_->Get(path).status()); }));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, ClaimState>> ClusterSite::AtPrimary() const {
  ASSIGN_OR_RETURN(const json claims, primary_->Get(kAllClaims));
  std::map<std::string, ClaimState> states;
  for (const json& claim : claims.at("items")) {
    states[KeyOf(claim)] = {.uid = claim.at("metadata").at("uid"), .step = StepOf(claim)};
  }
  return states;
}

absl::StatusOr<std::map<std::string, ClaimState>> ClusterSite::AtDr() const {
  ASSIGN_OR_RETURN(const json claims, dr_->Get(fmt::format("{}{}", kAllClaims, kOurs)));
  ASSIGN_OR_RETURN(const json volumes, dr_->Get(fmt::format("{}{}", kVolumes, kOurs)));
  std::map<std::string, ClaimState> states;
  std::set<std::string> wanted_volumes;
  for (const json& claim : claims.at("items")) {
    const std::string phase = claim.at("status").value("phase", "");
    if (phase != "Bound") return absl::UnavailableError(fmt::format("{} is {}", KeyOf(claim), phase));
    states[KeyOf(claim)] = {.uid = SourceUidOf(claim), .step = StepOf(claim)};
    wanted_volumes.insert(claim.at("spec").at("volumeName").get<std::string>());
  }
  for (const json& volume : volumes.at("items")) {
    const std::string name = volume.at("metadata").at("name");
    if (wanted_volumes.erase(name) == 0) return absl::UnavailableError(fmt::format("{} is left over at DR", name));
  }
  if (wanted_volumes.empty()) return states;
  return absl::UnavailableError(fmt::format("{} isn't ours at DR", *wanted_volumes.begin()));
}

absl::StatusOr<std::pair<size_t, size_t>> ClusterSite::CountAtDr() const {
  ASSIGN_OR_RETURN(const json claims, dr_->Get(fmt::format("{}{}", kAllClaims, kOurs)));
  ASSIGN_OR_RETURN(const json volumes, dr_->Get(fmt::format("{}{}", kVolumes, kOurs)));
  return std::pair(claims.at("items").size(), volumes.at("items").size());
}

absl::Status ClusterSite::Compare() const {
  ASSIGN_OR_RETURN(const auto primary, AtPrimary());
  ASSIGN_OR_RETURN(const auto dr, AtDr());
  for (const auto& [key, state] : primary) {
    const auto found = dr.find(key);
    if (found == dr.end()) return absl::UnavailableError(key + " isn't at DR");
    if (found->second.uid != state.uid) return absl::UnavailableError(key + " at DR is of an earlier claim");
    if (found->second.step != state.step) return absl::UnavailableError(key + " at DR is of an earlier state");
  }
  for (const auto& [key, state] : dr) {
    if (!primary.contains(key)) return absl::UnavailableError(key + " is left over at DR");
  }
  return absl::OkStatus();
}

absl::Status ClusterSite::ExpectEqual(absl::Duration timeout) {
  const absl::Status equal = WaitForOk("DR to be as the primary", timeout, [this] { return Compare(); });
  if (equal.ok()) return equal;
  return absl::InternalError(fmt::format("{}\n--- status\n{}\n--- primary\n{}\n--- dr\n{}\n--- serve\n{}",
                                         MessageOf(equal), site_->Drctl({"status", "-o", "json"}).out,
                                         Tail(site_->primary().Err()), Tail(site_->dr().Err()),
                                         Tail(site_->serve().Err())));
}

absl::StatusOr<std::string> ClusterSite::Content(const std::string& folder, const std::string& volume) const {
  std::ifstream file(folder + "/content");
  if (!file) return absl::NotFoundError(volume + ": no content");
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::Status ClusterSite::CompareContent() {
  const ProcessResult synced = site_->Drctl({"volumes", "sync", "--all", "--published", "--timeout", "5m"});
  if (synced.exit_code != 0) return absl::InternalError(synced.err);
  ASSIGN_OR_RETURN(const auto claims, AtPrimary());
  for (const auto& [key, state] : claims) {
    const std::string volume = VolumeOf(key.substr(key.find('/') + 1));
    ASSIGN_OR_RETURN(const std::string wanted, Content(site_->Volume(volume), volume));
    ASSIGN_OR_RETURN(const std::string found, Content(site_->Replica(volume), volume));
    if (wanted != found) return absl::InternalError(fmt::format("{}: '{}' at DR, not '{}'", volume, found, wanted));
  }
  return absl::OkStatus();
}

std::map<std::string, int> ClusterSite::DeletionsAtDr() const {
  std::ifstream log(dr_->AuditLog());
  std::map<std::string, int> deletions;
  for (std::string line; std::getline(log, line);) {
    if (line.find("\"verb\":\"delete\"") == std::string::npos) continue;
    const json entry = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!entry.is_object() || entry.value("userAgent", "") != "understudy") continue;
    if (entry.value("responseStatus", json::object()).value("code", 0) < 300) ++deletions[entry.at("requestURI")];
  }
  return deletions;
}

json ClusterSite::Drctl(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"-o", "json"});
  return json::parse(site_->Drctl(arguments).out, nullptr, /*allow_exceptions=*/false);
}

}  // namespace understudy::tests
