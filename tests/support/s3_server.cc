#include "tests/support/s3_server.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(4);

void WriteSecret(const std::string& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
  std::filesystem::permissions(file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

}  // namespace

absl::StatusOr<std::unique_ptr<S3Server>> S3Server::Start(const std::string& folder,
                                                          const std::optional<Certificate>& certificate) {
  std::filesystem::create_directories(folder);
  std::unique_ptr<S3Server> server(new S3Server(folder));
  RETURN_IF_ERROR(server->WriteConfiguration(certificate));
  RETURN_IF_ERROR(server->StartProcesses(certificate.has_value()));
  const auto ended = [&]() -> Process* {
    for (const std::unique_ptr<Process>& process : server->processes_) {
      if (!process->Running()) return process.get();
    }
    return nullptr;
  };
  const auto serves = [&] {
    return server->MakeBucket("first-sign-of-life").ok() && server->Put("first-sign-of-life", "object", "").ok();
  };
  RETURN_IF_ERROR(WaitFor("the S3 server", kPatience, [&] { return ended() != nullptr || serves(); }));
  if (const Process* const process = ended(); process != nullptr) return absl::FailedPreconditionError(process->Err());
  return server;
}

absl::Status S3Server::WriteConfiguration(const std::optional<Certificate>& certificate) {
  WriteSecret(AccessKeyFile(), fmt::format("{}\n", kAccessKey));
  WriteSecret(SecretKeyFile(), fmt::format("{}\n", kSecretKey));
  WriteSecret(CredentialsFile(),
              fmt::format("[default]\naws_access_key_id={}\naws_secret_access_key={}\n", kAccessKey, kSecretKey));
  std::vector<std::string> arguments = {SourcePath("tests/support/swift_config.py"), folder_};
  std::vector<int> ports;
  for (int i = 0; i < 6; ++i) ports.push_back(FreePort());
  for (const int port : ports) arguments.push_back(std::to_string(port));
  arguments.insert(arguments.end(), {kAccessKey, kSecretKey});
  url_ = fmt::format("http://127.0.0.1:{}", ports[3]);
  memcached_port_ = ports[5];
  if (certificate) {
    arguments.insert(arguments.end(), {certificate->certificate_file, certificate->key_file});
    tls_url_ = fmt::format("https://127.0.0.1:{}", ports[4]);
  }
  ASSIGN_OR_RETURN(const ProcessResult made, RunProcess({.program = "/usr/bin/python3", .arguments = arguments}));
  if (made.exit_code == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("Swift can't be configured: {}", made.err));
}

absl::Status S3Server::StartProcesses(bool tls) {
  // It may not run as root, and would take "nobody"; what it caches is of no account to anybody else.
  std::vector<std::string> memcached = {"-l", "127.0.0.1", "-p", std::to_string(memcached_port_),
                                        "-U", "0",         "-m", "16"};
  if (geteuid() == 0) memcached.insert(memcached.end(), {"-u", "root"});
  ASSIGN_OR_RETURN(auto cache, Process::Start({.program = "/usr/bin/memcached", .arguments = memcached}));
  processes_.push_back(std::move(cache));
  std::vector<std::string> servers = {"account", "container", "object", "proxy"};
  if (tls) servers.emplace_back("tls_proxy");
  for (const std::string& name : servers) {
    const std::string program = name == "tls_proxy" ? "proxy" : name;
    // Debian's own Python: another one that comes first in PATH doesn't have Swift.
    ASSIGN_OR_RETURN(auto process, Process::Start({.program = "/usr/bin/python3",
                                                   .arguments = {fmt::format("/usr/bin/swift-{}-server", program),
                                                                 fmt::format("{}/{}.conf", folder_, name)}}));
    processes_.push_back(std::move(process));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> S3Server::Request(const std::string& method, const std::string& path,
                                              const std::string& body) {
  net::RequestToSign to_sign{.method = method,
                             .path = net::EncodePath(path),
                             .query = {},
                             .headers = {{"host", url_.substr(url_.find("://") + 3)}},
                             .payload_sha256 = net::Sha256Hex(body)};
  to_sign.headers.emplace_back("x-amz-content-sha256", to_sign.payload_sha256);
  net::HttpRequest request{.method = method, .url = url_ + to_sign.path, .headers = to_sign.headers, .body = body};
  const net::AwsCredentials credentials{.access_key = kAccessKey, .secret_key = kSecretKey, .session_token = ""};
  for (auto& header : net::SignRequest(to_sign, credentials, {.region = kRegion, .service = "s3"}, absl::Now())) {
    request.headers.push_back(std::move(header));
  }
  ASSIGN_OR_RETURN(net::HttpResponse response, http_.Send(request));
  if (response.status / 100 == 2) return std::move(response.body);
  return absl::UnknownError(fmt::format("{} {}: HTTP {}: {}", method, path, response.status, response.body));
}

absl::Status S3Server::MakeBucket(const std::string& bucket) {
  return Request("PUT", "/" + bucket, "").status();
}

absl::Status S3Server::Put(const std::string& bucket, const std::string& key, const std::string& bytes) {
  return Request("PUT", fmt::format("/{}/{}", bucket, key), bytes).status();
}

absl::StatusOr<std::string> S3Server::Get(const std::string& bucket, const std::string& key) {
  return Request("GET", fmt::format("/{}/{}", bucket, key), "");
}

absl::Status S3Server::Delete(const std::string& bucket, const std::string& key) {
  return Request("DELETE", fmt::format("/{}/{}", bucket, key), "").status();
}

}  // namespace understudy::tests
