// catalog_client.h: DR's catalog over gRPC.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "absl/time/time.h"
#include "core/model/catalog_port.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace understudy::wire {

struct CatalogClientOptions {
  absl::Duration deadline = absl::Seconds(30);  // of every call but Watch
  std::stop_token stop{};                       // ends List with CANCELLED
};

// Thread-safe; any number of calls and watches at a time. Errors are the server's, UNAVAILABLE when it can't be
// reached, DEADLINE_EXCEEDED, or INTERNAL when it answers with what breaks the wire's bounds.
class CatalogClient : public model::CatalogWriter, public model::CatalogReader {
 public:
  explicit CatalogClient(std::shared_ptr<grpc::Channel> channel, CatalogClientOptions options = {});
  ~CatalogClient() override;

  [[nodiscard]] absl::Status Put(const model::CatalogEntry& entry) override;
  [[nodiscard]] absl::Status Delete(const model::ObjectKey& key, const std::string& uid) override;
  [[nodiscard]] absl::StatusOr<std::vector<model::CatalogEntry>> List(model::ObjectKind kind) override;
  // `on_entry` is called on the caller's thread. A stop request ends it even while nothing comes. UNAVAILABLE comes
  // after net::kConnectTimeout: so long a connection may take.
  [[nodiscard]] absl::Status Watch(uint64_t after_revision, std::stop_token stop,
                                   const std::function<void(std::optional<model::CatalogEntry>)>& on_entry) override;

 private:
  struct Stub;
  std::unique_ptr<Stub> stub_;
  const CatalogClientOptions options_;
};

}  // namespace understudy::wire
