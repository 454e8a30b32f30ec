#include "tests/support/api_proxy.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <regex>

#include "nlohmann/json.hpp"

namespace understudy::tests {
namespace {

using nlohmann::json;

constexpr char kExpired[] = R"({"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"})";
constexpr char kBroken[] = R"({"kind":"Status","code":500,"reason":"InternalError","message":"etcd is away"})";

net::HttpTls TrustIn(const std::string& ca_file) {
  net::HttpTls tls;
  tls.ca_file = ca_file;
  return tls;
}

bool IsWatch(const TestRequest& request) {
  return request.target.find("watch=true") != std::string::npos;
}

bool IsList(const TestRequest& request) {
  return request.method == "GET" && !IsWatch(request) && request.target.find("limit=") != std::string::npos;
}

}  // namespace

ApiProxy::ApiProxy(const Cluster& cluster)
    : url_(cluster.Url()), ca_file_(cluster.CaFile()), client_(TrustIn(ca_file_)) {
  const std::string pki = std::filesystem::path(ca_file_).parent_path().string();
  server_ =
      std::make_unique<HttpTestServer>([this](const TestRequest& request, TestReply& reply) { Serve(request, reply); },
                                       HttpTestServer::Tls{pki + "/server.crt", pki + "/server.key"});
  std::ofstream(Kubeconfig()) << fmt::format(
      "apiVersion: v1\nkind: Config\ncurrent-context: proxy\n"
      "clusters: [{{name: proxy, cluster: {{server: \"{}\", certificate-authority: {}}}}}]\n"
      "users: [{{name: admin, user: {{token: {}}}}}]\n"
      "contexts: [{{name: proxy, context: {{cluster: proxy, user: admin}}}}]\n",
      server_->Url(), ca_file_, cluster.Token());
}

ApiProxy::~ApiProxy() {
  stop_.request_stop();
}

void ApiProxy::SetMode(Mode mode) {
  mode_ = mode;
  if (mode != Mode::kSilent) server_->CutConnections();
}

void ApiProxy::SetClusterUid(const std::string& uid) {
  absl::MutexLock lock(&mutex_);
  cluster_uid_ = uid;
}

std::string ApiProxy::ClusterUid() const {
  absl::MutexLock lock(&mutex_);
  return cluster_uid_;
}

void ApiProxy::SetChange(Change change) {
  absl::MutexLock lock(&mutex_);
  change_ = std::move(change);
}

ApiProxy::Change ApiProxy::CurrentChange() const {
  absl::MutexLock lock(&mutex_);
  return change_;
}

net::HttpRequest ApiProxy::Upstream(const TestRequest& request, const std::string& target) const {
  net::HttpRequest upstream;
  upstream.method = request.method;
  upstream.url = url_ + target;
  for (const char* name : {"authorization", "accept", "content-type", "user-agent"}) {
    const auto header = request.headers.find(name);
    if (header != request.headers.end()) upstream.headers.emplace_back(name, header->second);
  }
  upstream.body = request.body;
  upstream.silence_timeout = absl::InfiniteDuration();
  return upstream;
}

void ApiProxy::Serve(const TestRequest& request, TestReply& reply) {
  const Mode mode = mode_;
  if (mode == Mode::kSilent) return reply.Hold();
  if (mode == Mode::kErrors) return reply.Send(500, kBroken);
  const bool lies = mode == Mode::kEmptyLists || mode == Mode::kFirstPageOnly;
  if (lies && IsWatch(request)) return reply.Send(410, kExpired);
  Pass(request, reply);
}

void ApiProxy::Pass(const TestRequest& request, TestReply& reply) {
  if (IsWatch(request)) return Watch(Upstream(request, request.target), reply);
  const Mode mode = mode_;
  std::string target = request.target;
  if (mode == Mode::kFirstPageOnly) target = std::regex_replace(target, std::regex("limit=[0-9]+"), "limit=6");
  absl::StatusOr<net::HttpResponse> answer = client_.Send(Upstream(request, target), stop_.get_token());
  if (!answer.ok()) return reply.BreakOff();
  if (const Change change = CurrentChange()) change(request, *answer);
  std::string body = answer->body;
  json parsed = json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (answer->status == 200 && IsList(request) && parsed.is_object()) {
    if (mode == Mode::kEmptyLists) parsed["items"] = json::array();
    if (mode != Mode::kPass) {
      for (const char* member : {"continue", "remainingItemCount"}) parsed["metadata"].erase(member);
      body = parsed.dump();
    }
    ++lists_;
  }
  if (const std::string uid = ClusterUid(); !uid.empty() && target.ends_with("/namespaces/kube-system")) {
    parsed["metadata"]["uid"] = uid;
    body = parsed.dump();
  }
  reply.Send(answer->status, body, {{"Content-Type", "application/json"}});
}

void ApiProxy::Watch(const net::HttpRequest& upstream, TestReply& reply) {
  std::string refusal;
  const auto pass_on = [&](const net::HttpResponse& head, std::string_view chunk) -> absl::Status {
    if (head.status != 200) {
      refusal.append(chunk);
      return absl::OkStatus();
    }
    if (mode_ == Mode::kSilent) return absl::OkStatus();
    if (chunk.empty()) {
      reply.Begin(200);
      return absl::OkStatus();
    }
    return reply.Chunk(chunk) ? absl::OkStatus() : absl::CancelledError("the client has gone");
  };
  const absl::StatusOr<net::HttpResponse> ended = client_.Stream(upstream, stop_.get_token(), pass_on);
  if (!ended.ok()) return reply.BreakOff();
  if (mode_ == Mode::kSilent) return reply.Hold();
  if (ended->status != 200) reply.Send(ended->status, refusal);
}

}  // namespace understudy::tests
