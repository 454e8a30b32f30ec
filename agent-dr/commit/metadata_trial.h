// metadata_trial.h: whether the replica's filesystem takes the owner and the xattrs that a commit gives an entry, found
// out before anything is promised.
//
// Filesystems differ in what an xattr may take (ext4: a block of all of an entry's together), in ACLs, and in quotas;
// what the primary's took may be too much here, and publishing would fail for ever. So what an entry doesn't have yet
// is tried on another one of its kind, in the staging folder. A quota counts what is in a file, too, which that doesn't
// show.
#pragma once

#include <set>
#include <string>

#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/root.h"

namespace understudy::dr {

// os::ApplyMetadata for the volume's `path`. FAILED_PRECONDITION about the path (core/wire/status_path.h): the
// filesystem doesn't take it, however often it is tried; the message says what to do.
[[nodiscard]] absl::Status ApplyMetadataOf(const std::string& path, int fd, model::FileKind kind,
                                           const model::Metadata& metadata);

// For one commit. One thread at a time.
class MetadataTrial {
 public:
  // Both outlive it. `staging` has room for an entry named WorkArea::kTrialEntry, which is gone after each call.
  MetadataTrial(const os::Root& replica, const os::Root& staging) : replica_(replica), staging_(staging) {}

  // Errors as of ApplyMetadataOf. `present`: where in the replica the entry is now; empty: nowhere, or not known.
  [[nodiscard]] absl::Status Try(const std::string& path, model::FileKind kind, const model::Metadata& metadata,
                                 const std::string* present);

 private:
  [[nodiscard]] absl::StatusOr<bool> Has(const std::string& present, const model::Metadata& metadata) const;
  [[nodiscard]] absl::Status TryOnOther(const std::string& path, model::FileKind kind, const model::Metadata& metadata);

  const os::Root& replica_;
  const os::Root& staging_;
  std::set<std::string> taken_;  // kinds with owner and xattrs that the filesystem is known to take
};

}  // namespace understudy::dr
