// storage.h: what storage the namespaces of a run have, and which replica at DR holds it: from DR's own catalog, and
// from a backup for what the catalog lacks. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/failover/inventory.h"
#include "control/failover/ports.h"
#include "core/base/status.h"
#include "core/model/object.h"

namespace understudy::control {

// One pair's part of what is known.
struct PairStorage {
  std::string pair{};
  std::vector<ReplicaView> replicas{};
  std::vector<model::CatalogEntry> volumes{};  // PersistentVolumes
  std::vector<model::CatalogEntry> claims{};
  std::map<std::string, LiveView> live{};       // by volume; asked for only on the way there and back
  std::vector<std::string> server_names{};      // NFS servers whose volumes the pair holds; empty: any
  absl::Status unreachable = absl::OkStatus();  // not OK: why nothing is known of it
};

// A claim whose data a replica holds.
struct ClaimDefinition {
  RunVolume volume{};
  model::CatalogEntry volume_entry{};
  model::CatalogEntry claim_entry{};
  bool from_backup = false;  // the catalog doesn't have it
};

struct Storage {
  std::vector<ClaimDefinition> claims{};  // by claim
  std::vector<OtherStorage> other{};      // by claim
  std::vector<std::string> warnings{};    // what of the backup is left out, and why
};

// `backup` is empty where there is none. FAILED_PRECONDITION: two pairs may hold the same claim's data. UNAVAILABLE: a
// pair that can't be reached may hold what the others don't; or there is no backup to tell which claims there are.
[[nodiscard]] absl::StatusOr<Storage> FindStorage(const std::vector<std::string>& namespaces,
                                                  const std::vector<PairStorage>& pairs, const BackupObjects& backup,
                                                  bool has_backup = true);

// The claims of both clusters, by "namespace/name", with the PersistentVolumes that they are bound to.
struct SiteClaims {
  std::map<std::string, std::string> at_dr{};
  std::map<std::string, std::string> at_primary{};
};

// On the way there and back catalogs and backups may know of claims that are gone. Of `storage` stay those that the
// cluster has at whose site their volume is live; in a failback (`mode`) also those that only the primary still has,
// and none whose volume came home before.
void KeepWhatIsThere(const SiteClaims& claims, const std::vector<PairStorage>& pairs, RunMode mode, Storage& storage);

// The machines of a backup's objects, with the strategies that they ran with.
[[nodiscard]] std::vector<RunMachine> MachinesOf(const BackupObjects& backup);

}  // namespace understudy::control
