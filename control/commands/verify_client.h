// verify_client.h: what drctl asks the agents about whether replicas are what they should be.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/model/verify.h"
#include "core/net/tls_files.h"

namespace understudy::control {

struct VerifyOutcome {
  model::VerifyCounts counts;
  std::vector<model::Difference> differences;  // at most model::kMaxListedDifferences
};

// At depth exists or kept `address` is DR's, else the primary's. `on_progress` is called about once a second.
// UNAVAILABLE: that agent can't be reached, or the primary can't reach DR; NOT_FOUND: it knows no such volume;
// CANCELLED: `stop`.
[[nodiscard]] absl::StatusOr<VerifyOutcome> AskToVerify(
    const std::string& address, const net::TlsFiles& tls, const std::string& volume, model::VerifyDepth depth,
    const std::function<void(const model::VerifyCounts&)>& on_progress, std::stop_token stop = {});

struct DamagedFileView {
  std::string path;
  std::string why;
  absl::Time found;
};
struct DamagedReplicaView {
  std::string volume;
  uint64_t files = 0;
  std::vector<DamagedFileView> first;  // some of them
};

// The files of DR's replicas that are damaged now.
[[nodiscard]] absl::StatusOr<std::vector<DamagedReplicaView>> ListDamage(const std::string& dr_address,
                                                                         const net::TlsFiles& tls);

}  // namespace understudy::control
