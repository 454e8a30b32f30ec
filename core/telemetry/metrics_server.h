// metrics_server.h: a small HTTP server for what watches a program: /metrics, /healthz and /readyz.
//
//   /metrics  a registry, or what stands for one, in Prometheus's text format
//   /healthz  200 while the program runs
//   /readyz   200 when it does its work, else 503 and the reason
//
// Plain HTTP without authentication: by default it listens on loopback alone (SECURITY.md). Each connection answers one
// request; connections, sizes and times are bounded.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace prometheus {
class Collectable;
class Registry;
}  // namespace prometheus

namespace understudy::telemetry {

inline constexpr int kMaxMetricsConnections = 32;  // those that come on top are closed at once
inline constexpr absl::Duration kMetricsRequestTimeout = absl::Seconds(10);

// A registry that already says which program and version this is (understudy_build_info).
[[nodiscard]] std::shared_ptr<prometheus::Registry> MakeRegistry(const std::string& program,
                                                                 const std::string& version);

// Thread-safe. Serves on a thread of its own until it is destroyed.
class MetricsServer {
 public:
  // OK, or why the program can't do its work right now. Called by the server's thread; must not block.
  using Readiness = std::function<absl::Status()>;

  // `listen` is host:port with an address, or a name that resolves; port 0 takes any. INVALID_ARGUMENT: no such
  // address. INTERNAL: can't listen.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(
      const std::string& listen, std::shared_ptr<prometheus::Collectable> metrics, Readiness readiness);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // The port that it listens on.
  [[nodiscard]] int port() const;

 private:
  class Server;
  explicit MetricsServer(std::unique_ptr<Server> server);

  const std::unique_ptr<Server> server_;
};

}  // namespace understudy::telemetry
