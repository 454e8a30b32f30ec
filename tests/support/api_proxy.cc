#include "tests/support/api_proxy.h"

#include <fmt/format.h>

#include <fstream>

namespace understudy::tests {
namespace {

net::HttpTls TrustOf(const Cluster& cluster) {
  net::HttpTls tls;
  tls.ca_file = cluster.CaFile();
  return tls;
}

}  // namespace

ApiProxy::ApiProxy(const Cluster& cluster)
    : url_(cluster.Url()),
      token_(cluster.Token()),
      client_(TrustOf(cluster)),
      server_([this](const TestRequest& request, TestReply& reply) { Answer(request, reply); }) {}

void ApiProxy::SetChange(Change change) {
  const absl::MutexLock lock(&mutex_);
  change_ = std::move(change);
}

void ApiProxy::WriteKubeconfig(const std::string& file) const {
  std::ofstream(file) << fmt::format(
      "apiVersion: v1\nkind: Config\ncurrent-context: proxy\n"
      "clusters: [{{name: proxy, cluster: {{server: \"{}\"}}}}]\nusers: [{{name: proxy, user: {{}}}}]\n"
      "contexts: [{{name: proxy, context: {{cluster: proxy, user: proxy}}}}]\n",
      server_.Url());
}

void ApiProxy::Answer(const TestRequest& request, TestReply& reply) {
  net::HttpRequest forwarded;
  forwarded.method = request.method;
  forwarded.url = url_ + request.target;
  forwarded.body = request.body;
  forwarded.bearer_token = token_;
  for (const char* const name : {"content-type", "accept"}) {
    if (const auto found = request.headers.find(name); found != request.headers.end()) {
      forwarded.headers.emplace_back(name, found->second);
    }
  }
  absl::StatusOr<net::HttpResponse> response = client_.Send(forwarded);
  if (!response.ok()) return reply.Send(502, MessageOf(response.status()));
  Change change;
  {
    const absl::MutexLock lock(&mutex_);
    change = change_;
  }
  if (change) change(request, *response);
  reply.Send(response->status, response->body, {{"Content-Type", "application/json"}});
}

}  // namespace understudy::tests
