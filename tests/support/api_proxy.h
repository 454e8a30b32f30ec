// api_proxy.h: stands between a client and a real API server, and answers some requests worse than that would.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/net/http_client.h"
#include "tests/support/cluster.h"
#include "tests/support/http_test_server.h"

namespace understudy::tests {

// Thread-safe. Passes everything on with all rights; watches aren't supported.
class ApiProxy {
 public:
  // Looks at the API server's answer to a request and may change it.
  using Change = std::function<void(const TestRequest& request, net::HttpResponse& response)>;

  // `cluster` must outlive it.
  explicit ApiProxy(const Cluster& cluster);

  // From now on; nullptr: answers pass as they are.
  void SetChange(Change change);
  // Writes a kubeconfig that leads through the proxy.
  void WriteKubeconfig(const std::string& file) const;

 private:
  void Answer(const TestRequest& request, TestReply& reply);

  const std::string url_;
  const std::string token_;
  const net::HttpClient client_;
  absl::Mutex mutex_;
  Change change_ ABSL_GUARDED_BY(mutex_);
  HttpTestServer server_;  // last: its handlers use the rest
};

}  // namespace understudy::tests
