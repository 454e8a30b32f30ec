#include "control/commands/standby_catalog.h"

#include <array>
#include <utility>

#include "control/commands/server_filter.h"
#include "core/net/channel.h"
#include "core/wire/catalog_client.h"

namespace understudy::control {
namespace {

using model::CatalogEntry;
using model::ObjectKind;

// What is made comes from the volume to the claim.
constexpr std::array kOrder = {ObjectKind::kPersistentVolume, ObjectKind::kPersistentVolumeClaim,
                               ObjectKind::kVolumeSnapshotContent, ObjectKind::kVolumeSnapshot};

}  // namespace

absl::StatusOr<std::set<std::string>> ListTurned(const ReplicaClient& replicas) {
  ASSIGN_OR_RETURN(const std::vector<DrReplica> listed, replicas.ListReplicas());
  std::set<std::string> turned;
  for (const DrReplica& replica : listed) {
    if (IsTurned(replica)) turned.insert(replica.name);
  }
  return turned;
}

absl::StatusOr<std::vector<CatalogEntry>> ListStandbyCatalog(const config::ControlConfig& config,
                                                             const config::PairConfig& pair, absl::Duration deadline) {
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  ASSIGN_OR_RETURN(auto channel, net::MakeChannel({pair.dr, tls, net::Role::kControl, net::Role::kDr}));
  wire::CatalogClient catalog(std::move(channel), {.deadline = deadline});
  ASSIGN_OR_RETURN(const ReplicaClient replicas, ReplicaClient::Create(pair.dr, tls));
  ASSIGN_OR_RETURN(const std::set<std::string> turned, ListTurned(replicas));
  std::vector<CatalogEntry> entries;
  for (const ObjectKind kind : kOrder) {
    ASSIGN_OR_RETURN(std::vector<CatalogEntry> of_kind, catalog.List(kind));
    for (CatalogEntry& entry : of_kind) {
      if (HoldsServer(pair.server_names, entry) && !turned.contains(entry.volume)) entries.push_back(std::move(entry));
    }
  }
  return entries;
}

absl::StatusOr<bool> TurnedVolumes::Has(const std::string& volume) {
  const absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_.Monotonic();
  if (!asked_at_ || now - *asked_at_ > (turned_.ok() ? kAnswerHolds : kErrorHolds)) {
    turned_ = list_();
    asked_at_ = now;
  }
  RETURN_IF_ERROR(turned_.status());
  return turned_->contains(volume);
}

}  // namespace understudy::control
