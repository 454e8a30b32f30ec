// freshness_client.h: what drctl asks understudy-dr about how fresh its replicas are. Thread-safe.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/confirmation.h"
#include "core/net/tls_files.h"

namespace understudy::control {

class FreshnessClient {
 public:
  // INVALID_ARGUMENT: `tls` is unfit. Calls end with CANCELLED once `stop` is requested.
  [[nodiscard]] static absl::StatusOr<FreshnessClient> Create(const std::string& address, const net::TlsFiles& tls,
                                                              std::stop_token stop = {});
  FreshnessClient(FreshnessClient&&) noexcept;
  ~FreshnessClient();

  // Of the states that the replicas have now, ascending by volume. UNIMPLEMENTED: the agent is of an older version.
  [[nodiscard]] absl::StatusOr<std::vector<model::Confirmation>> List() const;

 private:
  struct Stub;
  explicit FreshnessClient(std::unique_ptr<Stub> stub);
  std::unique_ptr<Stub> stub_;
};

}  // namespace understudy::control
