#include "control/oadp/archive_path.h"

#include <vector>

#include "absl/strings/str_split.h"

namespace understudy::control {
namespace {

constexpr std::string_view kJson = ".json";

// "pvc-1" of "pvc-1.json"; empty: it isn't an object's file.
std::string NameOf(std::string_view file) {
  return file.ends_with(kJson) ? std::string(file.substr(0, file.size() - kJson.size())) : "";
}

}  // namespace

absl::StatusOr<ArchivePath> ParseArchivePath(std::string_view path) {
  if (path.empty()) return absl::InvalidArgumentError("it has no path");
  if (path.find('\0') != std::string_view::npos) return absl::InvalidArgumentError("its path has a zero byte");
  if (path.front() == '/') return absl::InvalidArgumentError("its path is absolute");
  // A folder ends with a slash.
  if (path.back() == '/') path.remove_suffix(1);
  const std::vector<std::string> parts = absl::StrSplit(absl::string_view(path.data(), path.size()), '/');
  for (const std::string& part : parts) {
    if (part.empty() || part == "." || part == "..") {
      return absl::InvalidArgumentError("its path has an empty part, '.' or '..'");
    }
  }
  if (path == "metadata/version") return ArchivePath{.kind = ArchivePath::Kind::kVersion};
  if (parts[0] != "resources") return ArchivePath{};
  const bool cluster_wide = parts.size() == 4 && parts[2] == "cluster";
  const bool namespaced = parts.size() == 5 && parts[2] == "namespaces";
  if (!cluster_wide && !namespaced) return ArchivePath{};
  ArchivePath object{.kind = ArchivePath::Kind::kObject,
                     .resource = parts[1],
                     .namespace_name = namespaced ? parts[3] : "",
                     .name = NameOf(parts.back())};
  return object.name.empty() ? ArchivePath{} : object;
}

}  // namespace understudy::control
