// kept_storage.h: the definitions of a run's claims and volumes as the run found them, in a file of its own: a claim
// that is deleted meanwhile, or a backup that can't be fetched again, doesn't stop a run whose volumes are promoted.
//
// JSON, mode 0600: {"version": 1, "claims": [{"volume": {...}, "volume_entry": {...}, "claim_entry": {...},
// "from_backup": false}]}. Paths are bytes, so they are in base64; `resource` is the object's own JSON as text. A file
// of another version counts as missing: what it says is found anew.
#pragma once

#include <filesystem>
#include <vector>

#include "control/failover/storage.h"

namespace understudy::control {

inline constexpr char kKeptStorageFile[] = "storage.json";
inline constexpr size_t kMaxKeptStorageBytes = size_t{256} << 20;

// Durable when it returns OK: the file is the new one, or what it was.
[[nodiscard]] absl::Status KeepClaims(const std::filesystem::path& folder, const std::vector<ClaimDefinition>& claims);
// NOT_FOUND: nothing is kept there. DATA_LOSS: it isn't as it was written.
[[nodiscard]] absl::StatusOr<std::vector<ClaimDefinition>> ReadKeptClaims(const std::filesystem::path& folder);

}  // namespace understudy::control
