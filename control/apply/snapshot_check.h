// snapshot_check.h: whether the archive of a snapshot is at DR.
//
// The snapshot driver at DR calls a pre-provisioned snapshot ready without looking; a VolumeSnapshotContent whose
// archive isn't there would look usable, and fail at the worst hour.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/base/status.h"
#include "core/model/object.h"

namespace understudy::control {

// Thread-safe.
class SnapshotCheck {
 public:
  virtual ~SnapshotCheck() = default;
  // Of a VolumeSnapshotContent. FAILED_PRECONDITION: its archive isn't at DR, or is empty. UNAVAILABLE: DR's agent
  // can't be asked.
  [[nodiscard]] virtual absl::Status Check(const model::CatalogEntry& content) = 0;
};

// The size of a regular file of a replica, nullopt when there is none: ReplicaClient::FileSize.
using FileSizeAtDr =
    std::function<absl::StatusOr<std::optional<uint64_t>>(const std::string& volume, const std::string& path)>;

class ArchiveCheck : public SnapshotCheck {
 public:
  explicit ArchiveCheck(FileSizeAtDr file_size) : file_size_(std::move(file_size)) {}
  [[nodiscard]] absl::Status Check(const model::CatalogEntry& content) override;

 private:
  const FileSizeAtDr file_size_;
};

}  // namespace understudy::control
