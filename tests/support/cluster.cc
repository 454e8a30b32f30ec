#include "tests/support/cluster.h"

#include <charconv>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "fmt/format.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

// Bounds for a machine that is busy with other tests; a start takes about five seconds.
constexpr absl::Duration kReadyTimeout = absl::Minutes(3);
constexpr absl::Duration kRequestTimeout = absl::Seconds(60);

std::string Script() {
  return SourcePath("tests/cluster/cluster.sh");
}

absl::Status CheckPrograms() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string base = cache != nullptr ? cache : fmt::format("{}/.cache", home != nullptr ? home : "");
  if (std::filesystem::exists(base + "/understudy/kube/bin/digests")) return absl::OkStatus();
  return absl::FailedPreconditionError("the Kubernetes programs aren't built yet; run tests/cluster/build.sh");
}

absl::Status StatusOfAnswer(int code, const std::string& what, const std::string& body) {
  const std::string message = fmt::format("{} answered {}: {}", what, code, body);
  if (code >= 200 && code < 300) return absl::OkStatus();
  if (code == 404) return absl::NotFoundError(message);
  if (code == 409) return absl::AlreadyExistsError(message);
  if (code == 0 || code >= 500) return absl::UnavailableError(message);
  return absl::InvalidArgumentError(message);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Cluster>> Cluster::Start(const std::string& name) {
  RETURN_IF_ERROR(CheckPrograms());
  std::unique_ptr<Cluster> cluster(new Cluster(name));
  RETURN_IF_ERROR(cluster->Prepare());
  ASSIGN_OR_RETURN(cluster->etcd_, cluster->Run("etcd"));
  RETURN_IF_ERROR(cluster->StartApi());
  RETURN_IF_ERROR(cluster->Command({"install", cluster->folder_.Path()}));
  RETURN_IF_ERROR(cluster->StartControllers());
  return cluster;
}

Cluster::~Cluster() {
  StopControllers();
  StopApi();
  if (etcd_ != nullptr) {
    etcd_->Signal(SIGCONT);
    etcd_->Kill();
  }
}

absl::Status Cluster::Prepare() {
  api_port_ = FreePort();
  etcd_port_ = FreePort();
  const std::string ports = fmt::format("{},{},{},{}", api_port_, etcd_port_, FreePort(), FreePort());
  return Command({"prepare", folder_.Path(), name_, ports});
}

absl::Status Cluster::Command(const std::vector<std::string>& arguments) const {
  ASSIGN_OR_RETURN(const ProcessResult result,
                   RunProcess({.program = Script(), .arguments = arguments}, kReadyTimeout));
  if (result.exit_code == 0) return absl::OkStatus();
  return absl::InternalError(fmt::format("cluster.sh {}: {}", fmt::join(arguments, " "), result.err));
}

absl::StatusOr<std::unique_ptr<Process>> Cluster::Run(const std::string& piece) const {
  return Process::Start({.program = Script(), .arguments = {"run", piece, folder_.Path()}});
}

std::string Cluster::Url() const {
  return fmt::format("https://127.0.0.1:{}", api_port_);
}

std::string Cluster::EtcdEndpoint() const {
  return fmt::format("127.0.0.1:{}", etcd_port_);
}

absl::Status Cluster::Compact() const {
  const auto etcdctl = [&](std::vector<std::string> arguments) -> absl::StatusOr<std::string> {
    arguments.insert(arguments.begin(), {"--endpoints", EtcdEndpoint()});
    ASSIGN_OR_RETURN(const ProcessResult result,
                     RunProcess({.program = "etcdctl", .arguments = arguments, .environment = {{"ETCDCTL_API", "3"}}},
                                kRequestTimeout));
    return result.exit_code == 0 ? absl::StatusOr<std::string>(result.out) : absl::InternalError(result.err);
  };
  ASSIGN_OR_RETURN(const std::string answer, etcdctl({"get", "/", "--write-out", "json"}));
  const nlohmann::json parsed = nlohmann::json::parse(answer, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return absl::InternalError("etcdctl get: " + answer);
  const auto revision = parsed.at("header").at("revision").get<int64_t>();
  return etcdctl({"compaction", fmt::format("{}", revision)}).status();
}

void Cluster::StopApi() {
  if (api_ == nullptr) return;
  // Its graceful end waits for watches to go away, up to a minute; a cluster that fails doesn't wait either.
  api_->Kill();
  api_.reset();
}

absl::Status Cluster::StartApi() {
  ASSIGN_OR_RETURN(api_, Run("api"));
  bool ended = false;
  const absl::Status ready = WaitForOk("the API server of " + name_, kReadyTimeout, [&] {
    ended = !api_->Running();
    return ended ? absl::OkStatus() : Command({"ready", folder_.Path()});
  });
  if (ready.ok() && !ended) return ready;
  const std::string log = api_->Err();
  constexpr size_t kShown = 2000;
  return absl::InternalError(fmt::format("the API server of {} {}: {}", name_, ended ? "ended" : "isn't ready",
                                         log.substr(log.size() > kShown ? log.size() - kShown : 0)));
}

void Cluster::StopControllers() {
  if (controllers_ != nullptr) controllers_->Kill();
  controllers_.reset();
}

absl::Status Cluster::StartControllers() {
  ASSIGN_OR_RETURN(controllers_, Run("controllers"));
  return absl::OkStatus();
}

absl::StatusOr<nlohmann::json> Cluster::Request(const std::vector<std::string>& options,
                                                const std::string& path) const {
  std::vector<std::string> arguments = {
      "--silent",    "--max-time",    "30", "--cacert", CaFile(), "--header", "Authorization: Bearer " + Token(),
      "--write-out", "\n%{http_code}"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.push_back(Url() + path);
  ASSIGN_OR_RETURN(const ProcessResult result,
                   RunProcess({.program = "curl", .arguments = arguments}, kRequestTimeout));
  const size_t code_at = result.out.rfind('\n') + 1;
  int code = 0;
  std::from_chars(result.out.data() + code_at, result.out.data() + result.out.size(), code);
  const std::string body = result.out.substr(0, code_at);
  RETURN_IF_ERROR(StatusOfAnswer(code, path, body));
  nlohmann::json parsed = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return absl::InternalError(path + " didn't answer with JSON: " + body);
  return parsed;
}

absl::StatusOr<nlohmann::json> Cluster::Get(const std::string& path) const {
  return Request({}, path);
}

absl::StatusOr<nlohmann::json> Cluster::Post(const std::string& path, const nlohmann::json& body) const {
  return Request({"--header", "Content-Type: application/json", "--data-binary", body.dump()}, path);
}

absl::StatusOr<nlohmann::json> Cluster::MergePatch(const std::string& path, const nlohmann::json& body) const {
  return Request(
      {"--request", "PATCH", "--header", "Content-Type: application/merge-patch+json", "--data-binary", body.dump()},
      path);
}

absl::StatusOr<nlohmann::json> Cluster::Delete(const std::string& path) const {
  return Request({"--request", "DELETE"}, path);
}

}  // namespace understudy::tests
