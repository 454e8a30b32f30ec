// exports_client.h: what drctl asks either agent about the exports of its host, as values.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/exports.h"
#include "core/net/roles.h"
#include "core/net/tls_files.h"

namespace understudy::control {

// One agent; thread-safe. Errors are the agent's; UNAVAILABLE and DEADLINE_EXCEEDED say which agent, and what to check.
class ExportsClient {
 public:
  // `agent` is kPrimary or kDr. INVALID_ARGUMENT: `tls` is unfit. Calls end with CANCELLED once `stop` is requested.
  [[nodiscard]] static absl::StatusOr<ExportsClient> Create(const std::string& address, const net::TlsFiles& tls,
                                                            net::Role agent, std::stop_token stop = {});
  ExportsClient(ExportsClient&&) noexcept;
  ~ExportsClient();

  // Ascending by name.
  [[nodiscard]] absl::StatusOr<std::vector<model::ExportState>> List() const;
  // As ExportControl::Set.
  [[nodiscard]] absl::StatusOr<model::ExportState> Set(const std::string& volume, model::ExportMode mode) const;

 private:
  struct Stub;
  explicit ExportsClient(std::unique_ptr<Stub> stub);
  std::unique_ptr<Stub> stub_;
};

}  // namespace understudy::control
