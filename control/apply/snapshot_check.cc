#include "control/apply/snapshot_check.h"

#include <fmt/format.h>

#include "core/base/log.h"
#include "core/kube/nfs_source.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

absl::Status ArchiveCheck::Check(const model::CatalogEntry& content) {
  const auto object = nlohmann::json::parse(content.resource, nullptr, /*allow_exceptions=*/false);
  const std::optional<kube::NfsSnapshot> snapshot = kube::NfsSnapshotOf(object);
  if (!snapshot) {
    return absl::FailedPreconditionError(
        fmt::format("{} has no snapshotHandle that names an archive on NFS", ToString(content.key)));
  }
  for (const std::string_view ending : kube::kSnapshotEndings) {
    ASSIGN_OR_RETURN(const std::optional<uint64_t> size,
                     file_size_(content.volume, fmt::format("{}{}", snapshot->archive, ending)));
    if (size.value_or(0) > 0) return absl::OkStatus();
  }
  return absl::FailedPreconditionError(fmt::format("the archive of {} isn't at DR: {}/{}{} is missing or empty",
                                                   ToString(content.key), Printable(content.replica_path),
                                                   Printable(snapshot->archive), kube::kSnapshotEndings[0]));
}

}  // namespace understudy::control
