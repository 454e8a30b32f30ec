// sync_client.h: asks a site's primary for a barrier over a connection that is there already, without the start of a
// program and a handshake.
#pragma once

#include <utility>

#include "control/commands/agents_client.h"
#include "core/base/status.h"
#include "tests/support/site.h"

namespace understudy::bench {

class SyncClient {
 public:
  // Returns when a first barrier was passed.
  [[nodiscard]] static absl::StatusOr<SyncClient> Connect(const tests::Site& site);
  // As `drctl volumes sync web`.
  [[nodiscard]] absl::Status Sync(bool rescan = false) const;

 private:
  explicit SyncClient(control::PrimaryClient client) : client_(std::move(client)) {}
  control::PrimaryClient client_;
};

}  // namespace understudy::bench
