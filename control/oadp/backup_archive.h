// backup_archive.h: the storage definitions and virtual machines in the archive of a Velero backup.
//
// The archive (https://velero.io/docs/main/output-file-format/) is a gzip-compressed tar file:
//
//     metadata/version                                             "1.1.0"
//     resources/<resource[.group]>/cluster/<name>.json
//     resources/<resource[.group]>/namespaces/<namespace>/<name>.json
//     resources/<resource[.group]>/<version folder>/…              the same objects once more: left out
//
// Whoever can write to the bucket can write such a file, so nothing in it is believed: every length and number has a
// limit, gzip's checksum is verified to the last byte, links, devices, absolute paths, "..", and an entry that comes
// twice are refused, and an object has to be what its path says. Nothing is written to disk.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

struct ArchiveLimits {
  uint64_t archive_bytes = uint64_t{4} << 30;
  uint64_t uncompressed_bytes = uint64_t{64} << 30;
  uint64_t entries = 2'000'000;
  uint64_t entry_bytes = uint64_t{16} << 20;  // of an object that is kept; etcd takes 1.5 MiB
  uint64_t kept_bytes = uint64_t{256} << 20;  // of all objects that are kept
  uint64_t path_bytes = 1024;
};

struct NamespacedName {
  std::string namespace_name;
  std::string name;
  friend auto operator<=>(const NamespacedName&, const NamespacedName&) = default;
};

// Of the wanted namespaces. Objects are whole, as the primary's API server gave them.
struct BackupContents {
  std::string format_version;
  std::vector<nlohmann::json> persistent_volumes;  // that belong to a claim that is wanted
  std::vector<nlohmann::json> claims;
  std::vector<nlohmann::json> snapshots;
  std::vector<nlohmann::json> snapshot_contents;  // that belong to a snapshot that is wanted
  std::vector<nlohmann::json> virtual_machines;   // of kubevirt.io
  std::set<NamespacedName> data_volumes;
  std::set<std::string> namespaces;        // that have any object
  std::map<std::string, uint64_t> counts;  // by resource, as in "virtualmachines.kubevirt.io"; cluster-wide ones, too
};

struct ArchiveRequest {
  std::string backup = {};                   // its name, for messages
  std::vector<std::string> namespaces = {};  // empty: all
  ArchiveLimits limits = {};
};

// DATA_LOSS: the archive is truncated, damaged or isn't a Velero backup; RESOURCE_EXHAUSTED: past a limit;
// INVALID_ARGUMENT: an entry is refused; each names the backup, the entry, and says what to do. UNIMPLEMENTED: a format
// version that isn't known. CANCELLED: `stop`.
[[nodiscard]] absl::StatusOr<BackupContents> ReadBackupArchive(const std::filesystem::path& archive,
                                                               const ArchiveRequest& request,
                                                               std::stop_token stop = {});

class ByteSource;
// The same of the uncompressed tar stream.
[[nodiscard]] absl::StatusOr<BackupContents> ReadBackupTar(ByteSource& tar, const ArchiveRequest& request,
                                                           std::stop_token stop = {});

}  // namespace understudy::control
