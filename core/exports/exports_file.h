// exports_file.h: the two files of the kernel's NFS server that matter here: exports(5), as this agent writes it, and
// etab, in which exportfs(8) keeps what it made of all such files (docs/formats/exports.md). Pure; thread-safe.
//
// etab is read instead of what `exportfs -s` prints, because only there a path is told apart from what follows it.
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/exports/export_backend.h"

namespace understudy::exports {

inline constexpr size_t kMaxKnfsdPathBytes = 1024;  // NFS_MAXPATHLEN of nfs-utils

// INVALID_ARGUMENT: longer than kMaxKnfsdPathBytes, or with a control character.
[[nodiscard]] absl::Status CheckKnfsdPath(const std::string& path);

// The whole file: a line for each export whose mode isn't kNone. `program` is named in its first line. Every path
// passes CheckKnfsdPath.
[[nodiscard]] std::string RenderExportsFile(std::string_view program, std::span<const WantedExport> wanted);

// The paths that such a file exports.
[[nodiscard]] std::set<std::string> PathsOfExportsFile(std::string_view text);

// One client's export of one path.
struct EtabEntry {
  std::string path;  // bytes
  std::string client;
  std::string options;  // as they stand there
  // Read-write as soon as any security flavour of it is.
  model::ExportMode mode = model::ExportMode::kReadOnly;
  friend bool operator==(const EtabEntry&, const EtabEntry&) = default;
};

// DATA_LOSS: a line that isn't an etab's; the file may just be another one.
[[nodiscard]] absl::StatusOr<std::vector<EtabEntry>> ParseEtab(std::string_view text);

// What ParseEtab reads as `entries`.
[[nodiscard]] std::string RenderEtab(std::span<const EtabEntry> entries);

// What etab says of one wanted export. `same_filesystem(a, b)` tells whether two paths lie on one.
struct EtabOptions {
  bool (*same_filesystem)(const std::string& a, const std::string& b);
};
[[nodiscard]] FoundExport JudgeEtab(const WantedExport& wanted, std::span<const EtabEntry> etab,
                                    const EtabOptions& options);

}  // namespace understudy::exports
