#include "bench/sync_client.h"

#include <fmt/format.h>

#include "absl/time/time.h"

namespace understudy::bench {

absl::StatusOr<SyncClient> SyncClient::Connect(const tests::Site& site) {
  const std::string pki = site.File("pki");
  ASSIGN_OR_RETURN(control::PrimaryClient connected,
                   control::PrimaryClient::Create(fmt::format("127.0.0.1:{}", site.primary_port()),
                                                  {pki + "/ca.crt", pki + "/control.crt", pki + "/control.key"}));
  SyncClient client(std::move(connected));
  RETURN_IF_ERROR(client.Sync());
  return client;
}

absl::Status SyncClient::Sync(bool rescan) const {
  const auto ignore_progress = [](const control::PrimaryVolume&) {};
  return client_.Sync("web", {.rescan = rescan}, absl::Minutes(10), ignore_progress).status();
}

}  // namespace understudy::bench
