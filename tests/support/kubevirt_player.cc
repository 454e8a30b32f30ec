#include "tests/support/kubevirt_player.h"

#include <fmt/format.h>

#include <vector>

#include "absl/strings/str_split.h"
#include "core/base/wait.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using control::VmKey;
using nlohmann::json;

constexpr absl::Duration kLookInterval = absl::Milliseconds(100);
constexpr absl::Duration kServedTimeout = absl::Minutes(1);
constexpr char kNamespace[] = "kubevirt-player";
constexpr char kGroup[] = "subresources.kubevirt.io";
constexpr char kDefaultAddress[] = "10.128.0.7";
constexpr kube::Resource kServices{"", "v1", "services", "Service", true};
constexpr kube::Resource kApiServices{"apiregistration.k8s.io", "v1", "apiservices", "APIService", false};

VmKey KeyOf(const json& object) {
  return {object.at("metadata").value("namespace", ""), object.at("metadata").at("name")};
}

std::string AnnotationOf(const json& object, const char* name) {
  return object.at("metadata").value("annotations", json::object()).value(name, "");
}

std::string StrategyOf(const json& machine) {
  const json spec = machine.value("spec", json::object());
  if (spec.contains("runStrategy")) return spec.at("runStrategy");
  return spec.value("running", false) ? "Always" : "Halted";
}

std::string RequestOf(const json& machine) {
  const json requests = machine.value("status", json::object()).value("stateChangeRequests", json::array());
  return requests.empty() ? "" : requests.front().value("action", "");
}

bool HasControllersState(const json& machine, const std::string& strategy) {
  return machine.value("status", json::object()).value("runStrategy", "") == strategy;
}

// Whether an instance is to be there.
bool Wanted(const json& machine, bool has_instance) {
  const std::string strategy = StrategyOf(machine);
  const std::string request = RequestOf(machine);
  if (strategy == "Always") return true;
  if (strategy == "Halted") return false;
  if (request == "Stop") return false;
  if (request == "Start" || has_instance) return true;
  // As KubeVirt: who comes to one of these from another strategy is started once; Manual waits to be asked.
  return strategy != "Manual" && !HasControllersState(machine, strategy);
}

std::vector<std::string> ClaimsOf(const json& machine) {
  std::vector<std::string> claims;
  const json none = json::array();
  const json spec =
      machine.value("spec", json::object()).value("template", json::object()).value("spec", json::object());
  for (const json& volume : spec.value("volumes", none)) {
    if (volume.contains("persistentVolumeClaim")) claims.push_back(volume.at("persistentVolumeClaim").at("claimName"));
    if (volume.contains("dataVolume")) claims.push_back(volume.at("dataVolume").at("name"));
  }
  return claims;
}

// Empty: nothing is in the way of an instance.
std::string ObstacleOf(const json& machine, const std::map<std::string, std::string>& claims) {
  if (const std::string broken = AnnotationOf(machine, kBrokenAnnotation); !broken.empty()) return broken;
  for (const std::string& claim : ClaimsOf(machine)) {
    const auto phase = claims.find(fmt::format("{}/{}", KeyOf(machine).namespace_name, claim));
    if (phase == claims.end()) return "ErrorPvcNotFound";
    if (phase->second != "Bound") return "WaitingForVolumeBinding";
  }
  return {};
}

std::string ApiStatus(int code, std::string_view reason, const std::string& message) {
  return json{{"apiVersion", "v1"}, {"kind", "Status"}, {"status", "Failure"},
              {"message", message}, {"code", code},     {"reason", reason}}
      .dump();
}

std::pair<int, std::string> Conflict(const VmKey& key, std::string_view why) {
  return {409, ApiStatus(409, "Conflict",
                         fmt::format("Operation cannot be fulfilled on virtualmachine.kubevirt.io "
                                     "\"{}\": {}",
                                     key.name, why))};
}

std::pair<int, std::string> OfStatus(const absl::Status& status) {
  if (status.ok()) return {202, ""};
  if (absl::IsNotFound(status)) return {404, ApiStatus(404, "NotFound", std::string(MessageOf(status)))};
  return {500, ApiStatus(500, "InternalError", std::string(MessageOf(status)))};
}

json Discovery() {
  const auto resource = [](const char* name, const char* verb) {
    return json{
        {"name", name}, {"singularName", ""}, {"namespaced", true}, {"kind", "VirtualMachine"}, {"verbs", {verb}}};
  };
  return {{"kind", "APIResourceList"},
          {"apiVersion", "v1"},
          {"groupVersion", fmt::format("{}/v1", kGroup)},
          {"resources",
           {resource("virtualmachines/stop", "update"), resource("virtualmachines/start", "update"),
            resource("virtualmachineinstances/guestosinfo", "get")}}};
}

absl::Status IgnoreExisting(const absl::Status& status) {
  return absl::IsAlreadyExists(status) ? absl::OkStatus() : status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<KubeVirtPlayer>> KubeVirtPlayer::Start(const kube::ClusterAccess& access,
                                                                      const Options& options) {
  std::unique_ptr<KubeVirtPlayer> player(new KubeVirtPlayer(access));
  if (options.serve_subresources) RETURN_IF_ERROR(player->Serve());
  player->thread_ = std::jthread([raw = player.get()](const std::stop_token& stop) { raw->Run(stop); });
  return player;
}

KubeVirtPlayer::~KubeVirtPlayer() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

int KubeVirtPlayer::Calls(const std::string& action, const VmKey& key) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = calls_.find({action, key});
  return found == calls_.end() ? 0 : found->second;
}

absl::Status KubeVirtPlayer::Health() const {
  const absl::MutexLock lock(&mutex_);
  return health_;
}

// The API server hands a group on to a Service; one of the type ExternalName may stand for this very host, which
// Endpoints may not.
absl::Status KubeVirtPlayer::Serve() {
  const std::string certificate = folder_.File("player.crt");
  const std::string key = folder_.File("player.key");
  ASSIGN_OR_RETURN(
      const ProcessResult made,
      RunProcess({.program = "openssl",
                  .arguments = {"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                                "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate}}));
  if (made.exit_code != 0) return absl::InternalError(made.err);
  server_ =
      std::make_unique<HttpTestServer>([this](const TestRequest& request, TestReply& reply) { Answer(request, reply); },
                                       HttpTestServer::Tls{.certificate_file = certificate, .key_file = key});
  const std::string url = server_->Url();
  const int port = std::stoi(url.substr(url.rfind(':') + 1));
  RETURN_IF_ERROR(
      IgnoreExisting(client_
                         .Create(kube::kNamespaces, "",
                                 {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", kNamespace}}}})
                         .status()));
  const json service = {{"apiVersion", "v1"},
                        {"kind", "Service"},
                        {"metadata", {{"name", "virt-api"}}},
                        {"spec", {{"type", "ExternalName"}, {"externalName", "localhost"}}}};
  RETURN_IF_ERROR(IgnoreExisting(client_.Create(kServices, kNamespace, service).status()));
  const json api_service = {{"apiVersion", "apiregistration.k8s.io/v1"},
                            {"kind", "APIService"},
                            {"metadata", {{"name", fmt::format("v1.{}", kGroup)}}},
                            {"spec",
                             {{"group", kGroup},
                              {"version", "v1"},
                              {"groupPriorityMinimum", 1000},
                              {"versionPriority", 15},
                              {"insecureSkipTLSVerify", true},
                              {"service", {{"namespace", kNamespace}, {"name", "virt-api"}, {"port", port}}}}}};
  absl::Status made_known = client_.Create(kApiServices, "", api_service).status();
  if (absl::IsAlreadyExists(made_known)) {
    // Of a player before this one.
    const json at_this_port = {{"spec", {{"service", {{"port", port}}}}}};
    made_known =
        client_.Patch(kApiServices, "", fmt::format("v1.{}", kGroup), kube::PatchType::kMerge, at_this_port).status();
  }
  RETURN_IF_ERROR(made_known);
  return WaitForOk("the subresources to be served", kServedTimeout, [this] {
    const absl::Status call = client_.Put(kube::kVirtualMachineActions, "nowhere", "nothing", "stop", json::object());
    return absl::IsNotFound(call) && kube::ApiReason(call) == "NotFound" ? absl::OkStatus() : call;
  });
}

// "/apis/GROUP/v1/namespaces/NS/PLURAL/NAME/ACTION".
void KubeVirtPlayer::Answer(const TestRequest& request, TestReply& reply) {
  const std::map<std::string, std::string> json_type = {{"Content-Type", "application/json"}};
  const std::string path = request.target.substr(0, request.target.find('?'));
  const std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  constexpr size_t kOfVersion = 3;
  constexpr size_t kOfAction = 8;
  if (parts.size() == kOfVersion) {
    reply.Send(200, Discovery().dump(), json_type);
    return;
  }
  if (parts.size() != kOfAction) {
    reply.Send(404, ApiStatus(404, "NotFound", "no such path"), json_type);
    return;
  }
  const VmKey key{parts[4], parts[6]};
  const std::string& action = parts[7];
  {
    const absl::MutexLock lock(&mutex_);
    ++calls_[{action, key}];
  }
  const auto [code, body] = action == "guestosinfo" ? TellGuest(key) : Act(action, key);
  reply.Send(code, body, json_type);
}

std::pair<int, std::string> KubeVirtPlayer::Act(const std::string& action, const VmKey& key) {
  absl::StatusOr<json> machine = client_.Get(kube::kVirtualMachines, key.namespace_name, key.name);
  if (!machine.ok()) return OfStatus(machine.status());
  const bool runs = client_.Get(kube::kVirtualMachineInstances, key.namespace_name, key.name).ok();
  const std::string strategy = StrategyOf(*machine);
  const bool stops = action == "stop";
  if (!stops && runs) return Conflict(key, "VM is already running");
  const bool by_spec = stops ? strategy == "Always" || strategy == "Once" : strategy == "Halted";
  if (by_spec) {
    const bool has_field = !machine->at("spec").contains("runStrategy");
    const json spec = has_field ? json{{"running", !stops}} : json{{"runStrategy", stops ? "Halted" : "Always"}};
    return OfStatus(
        client_.Patch(kube::kVirtualMachines, key.namespace_name, key.name, kube::PatchType::kMerge, {{"spec", spec}})
            .status());
  }
  if (stops && strategy == "Halted") {
    return Conflict(
        key, runs ? "Halted only supports manual stop requests with a shorter graceperiod" : "VM is not running");
  }
  if (stops && !runs) return Conflict(key, "VM is not running");
  if (!stops && (strategy == "Always" || strategy == "Once")) {
    return Conflict(key, strategy + " does not support manual start requests");
  }
  return OfStatus(RequestChange(key, stops ? "Stop" : "Start"));
}

absl::Status KubeVirtPlayer::RequestChange(const VmKey& key, const std::string& action) {
  // KubeVirt patches this one field, whatever else changed meanwhile.
  while (true) {
    ASSIGN_OR_RETURN(json machine, client_.Get(kube::kVirtualMachines, key.namespace_name, key.name));
    machine["status"]["stateChangeRequests"] = json::array({{{"action", action}}});
    absl::Status put = client_.Put(kube::kVirtualMachines, key.namespace_name, key.name, "status", machine);
    if (!absl::IsAborted(put)) return put;
  }
}

std::pair<int, std::string> KubeVirtPlayer::TellGuest(const VmKey& key) const {
  const absl::StatusOr<json> machine = client_.Get(kube::kVirtualMachines, key.namespace_name, key.name);
  if (!machine.ok()) return OfStatus(machine.status());
  if (AnnotationOf(*machine, kAgentAnnotation) != "true")
    return Conflict(key, "VMI does not have guest agent connected");
  return {200, json{{"guestAgentVersion", "7.2.0"},
                    {"hostname", key.name},
                    {"os", {{"prettyName", "Debian GNU/Linux 12 (bookworm)"}, {"kernelRelease", "6.1.0"}}}}
                   .dump()};
}

void KubeVirtPlayer::Run(const std::stop_token& stop) {
  do {
    const absl::Status looked = LookAtAll(stop);
    // Objects change under its hands, and an API server may be restarted: the next look tells. Anything else is a
    // fault.
    const bool passes = looked.ok() || absl::IsAborted(looked) || absl::IsNotFound(looked) ||
                        absl::IsUnavailable(looked) || absl::IsCancelled(looked) || absl::IsAlreadyExists(looked);
    if (passes) continue;
    const absl::MutexLock lock(&mutex_);
    if (health_.ok()) health_ = looked;
  } while (WaitUnlessStopped(stop, kLookInterval));
}

absl::Status KubeVirtPlayer::LookAtAll(const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const kube::ListResult machines, client_.List(kube::kVirtualMachines, "", stop));
  ASSIGN_OR_RETURN(const kube::ListResult instances, client_.List(kube::kVirtualMachineInstances, "", stop));
  ASSIGN_OR_RETURN(const kube::ListResult claim_list, client_.List(kube::kPersistentVolumeClaims, "", stop));
  std::map<std::string, std::string> claims;  // phase by "namespace/name"
  for (const json& claim : claim_list.items) {
    claims[ToString(KeyOf(claim))] = claim.value("status", json::object()).value("phase", "");
  }
  std::map<VmKey, const json*> by_key;
  for (const json& instance : instances.items) by_key[KeyOf(instance)] = &instance;
  absl::Status first;
  for (const json& machine : machines.items) {
    const auto instance = by_key.find(KeyOf(machine));
    first.Update(LookAt(machine, instance == by_key.end() ? nullptr : instance->second, claims));
    if (instance != by_key.end()) by_key.erase(instance);
  }
  for (const auto& [key, instance] : by_key) {
    if (!instance->at("metadata").contains("ownerReferences")) continue;  // nobody's but who made it
    first.Update(client_.Delete(kube::kVirtualMachineInstances, key.namespace_name, key.name, ""));
  }
  return first;
}

absl::Status KubeVirtPlayer::LookAt(json machine, const json* instance,
                                    const std::map<std::string, std::string>& claims) {
  const VmKey key = KeyOf(machine);
  if (Wanted(machine, instance != nullptr)) {
    const std::string obstacle = ObstacleOf(machine, claims);
    if (obstacle.empty()) {
      RETURN_IF_ERROR(BringInstance(machine, instance));
      return SetStatus(std::move(machine), "Running", /*ready=*/true);
    }
    return SetStatus(std::move(machine), obstacle, /*ready=*/false);
  }
  if (instance != nullptr && AnnotationOf(machine, kHangsAnnotation) == "true") {
    return SetStatus(std::move(machine), "Stopping", /*ready=*/false);
  }
  if (instance != nullptr) {
    RETURN_IF_ERROR(client_.Delete(kube::kVirtualMachineInstances, key.namespace_name, key.name, ""));
  }
  return SetStatus(std::move(machine), "Stopped", /*ready=*/false);
}

absl::Status KubeVirtPlayer::BringInstance(const json& machine, const json* instance) {
  const VmKey key = KeyOf(machine);
  json made;
  if (instance != nullptr) {
    made = *instance;
    if (made.contains("status")) return absl::OkStatus();
  } else {
    const json owner = {{"apiVersion", "kubevirt.io/v1"},
                        {"kind", "VirtualMachine"},
                        {"name", key.name},
                        {"uid", machine.at("metadata").at("uid")},
                        {"controller", true}};
    const json wanted = {{"apiVersion", "kubevirt.io/v1"},
                         {"kind", "VirtualMachineInstance"},
                         {"metadata", {{"name", key.name}, {"ownerReferences", json::array({owner})}}},
                         {"spec", json::object()}};
    ASSIGN_OR_RETURN(made, client_.Create(kube::kVirtualMachineInstances, key.namespace_name, wanted));
  }
  json conditions = json::array({{{"type", "Ready"}, {"status", "True"}}});
  if (AnnotationOf(machine, kAgentAnnotation) == "true") {
    conditions.push_back({{"type", "AgentConnected"}, {"status", "True"}});
  }
  std::string address = AnnotationOf(machine, kAddressAnnotation);
  if (address.empty()) address = kDefaultAddress;
  made["status"] = {{"phase", "Running"},
                    {"nodeName", "node-1"},
                    {"conditions", conditions},
                    {"interfaces", json::array({{{"name", "default"}, {"ipAddress", address}}})}};
  return client_.Put(kube::kVirtualMachineInstances, key.namespace_name, key.name, "status", made);
}

absl::Status KubeVirtPlayer::SetStatus(json machine, const std::string& printable_status, bool ready) {
  const json before = machine.value("status", json::object());
  json status = {{"printableStatus", printable_status},
                 {"ready", ready},
                 {"created", ready},
                 {"runStrategy", StrategyOf(machine)}};
  // A request is done with when the machine is as it asked; a shutdown that hangs goes on.
  if (printable_status == "Stopping" && before.contains("stateChangeRequests")) {
    status["stateChangeRequests"] = before.at("stateChangeRequests");
  }
  if (status == before) return absl::OkStatus();
  const VmKey key = KeyOf(machine);
  machine["status"] = std::move(status);
  return client_.Put(kube::kVirtualMachines, key.namespace_name, key.name, "status", machine);
}

}  // namespace understudy::tests
