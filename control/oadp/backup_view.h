// backup_view.h: what a backup's contents mean for a failover: storage by class, and what is missing. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/oadp/backup_archive.h"

namespace understudy::control {

// The volumes of one storage class.
struct StorageOfClass {
  std::vector<NamespacedName> claims;  // ascending
  std::vector<std::string> volumes;    // names of PersistentVolumes, ascending
};

// By class of the claim, and of the volume; the empty one holds what names none.
[[nodiscard]] std::map<std::string, StorageOfClass> StorageByClass(const BackupContents& contents);

// The claims that a virtual machine's volumes name, in its namespace; each once, ascending.
[[nodiscard]] std::vector<std::string> ClaimsOfMachine(const nlohmann::json& virtual_machine);

// What an administrator should know before a failover relies on the backup, one sentence each: a claim that is bound to
// a volume that isn't in the backup, a claim that isn't bound, a volume that belongs to another claim, a virtual
// machine whose claim is missing, a snapshot that isn't ready or whose content is missing.
[[nodiscard]] std::vector<std::string> FindGaps(const BackupContents& contents);

}  // namespace understudy::control
