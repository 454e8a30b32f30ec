// work_folder.h: the agent's own folder on the filesystem of an export, outside what NFS clients see.
//
// It is `.understudy` beside the export's folder when an entry can be renamed from one into the other, else inside it.
// The agent's alone: mode 0700.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/base/status.h"
#include "core/os/root.h"

namespace understudy::os {

inline constexpr char kWorkFolderName[] = ".understudy";

// Between which folders an entry can be renamed: those of one mount (a bind mount of the same filesystem is another
// one) and one device (a btrfs subvolume is another one).
struct RenameDomain {
  uint64_t mount = 0;   // 0 where the kernel doesn't tell
  uint64_t device = 0;  // st_dev
  friend bool operator==(const RenameDomain&, const RenameDomain&) = default;
};
[[nodiscard]] absl::StatusOr<RenameDomain> RenameDomainOf(int fd);

// The folder `name` of `parent`, made with mode 0700 when missing. PERMISSION_DENIED: it isn't ours.
[[nodiscard]] absl::StatusOr<Root> PrivateFolder(int parent, const std::string& name);

struct WorkFolder {
  Root folder;
  RenameDomain domain;  // the export's
  bool inside_export = false;
};
// The work folder of an export, made when it is missing.
[[nodiscard]] absl::StatusOr<WorkFolder> OpenWorkFolder(const std::string& export_path);
// nullopt: there is none, or no export.
[[nodiscard]] absl::StatusOr<std::optional<WorkFolder>> FindWorkFolder(const std::string& export_path);

}  // namespace understudy::os
