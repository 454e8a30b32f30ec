// api_proxy.h: an HTTPS proxy in front of a test cluster's API server that answers badly when it is told to.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/net/http_client.h"
#include "tests/support/cluster.h"
#include "tests/support/http_test_server.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {

// Passes requests on with their Authorization header; client certificates don't get through. Thread-safe.
class ApiProxy {
 public:
  enum class Mode {
    kPass,
    kEmptyLists,     // every list is complete and empty; a watch has expired
    kFirstPageOnly,  // a list is its first six items, and says that this is all; a watch has expired
    kErrors,         // 500 for everything
    kSilent,         // nothing more is said: connections stay open, new ones are accepted
  };

  // `cluster` must outlive the proxy.
  explicit ApiProxy(const Cluster& cluster);
  ~ApiProxy();
  ApiProxy(const ApiProxy&) = delete;
  ApiProxy& operator=(const ApiProxy&) = delete;

  // Path of a kubeconfig with all rights, by bearer token, whose server is the proxy.
  [[nodiscard]] std::string Kubeconfig() const { return folder_.File("proxy.kubeconfig"); }

  // From the next byte on. All but kSilent break off the connections there are, so that watches are begun anew.
  void SetMode(Mode mode);
  // Looks at the API server's answer to a request that isn't a watch, and may change it.
  using Change = std::function<void(const TestRequest& request, net::HttpResponse& response)>;
  // From now on; nullptr: answers pass as they are.
  void SetChange(Change change);
  // The uid of namespace kube-system that clients see; empty: the real one.
  void SetClusterUid(const std::string& uid);
  // Lists of a collection that were answered.
  [[nodiscard]] int Lists() const { return lists_; }

 private:
  void Serve(const TestRequest& request, TestReply& reply);
  void Pass(const TestRequest& request, TestReply& reply);
  void Watch(const net::HttpRequest& upstream, TestReply& reply);
  [[nodiscard]] net::HttpRequest Upstream(const TestRequest& request, const std::string& target) const;
  [[nodiscard]] std::string ClusterUid() const;
  [[nodiscard]] Change CurrentChange() const;

  const std::string url_;
  const std::string ca_file_;
  const net::HttpClient client_;
  TempDir folder_;
  std::atomic<Mode> mode_ = Mode::kPass;
  std::atomic<int> lists_ = 0;
  mutable absl::Mutex mutex_;
  std::string cluster_uid_ ABSL_GUARDED_BY(mutex_);
  Change change_ ABSL_GUARDED_BY(mutex_);
  std::stop_source stop_;
  std::unique_ptr<HttpTestServer> server_;  // ends first
};

}  // namespace understudy::tests
