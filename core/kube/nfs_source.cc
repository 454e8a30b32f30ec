#include "core/kube/nfs_source.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace understudy::kube {
namespace {

using nlohmann::json;

std::string TextAt(const json& object, std::string_view key) {
  if (!object.is_object()) return {};
  const auto value = FindInAnyCase(object, key);
  return value != object.end() && value->is_string() ? value->get<std::string>() : std::string();
}

std::optional<std::string> NormalPath(std::string_view path) {
  std::string normal;
  for (const absl::string_view name : absl::StrSplit(absl::string_view(path.data(), path.size()), '/')) {
    if (name == "..") return std::nullopt;
    if (!name.empty() && name != ".") absl::StrAppend(&normal, "/", name);
  }
  return normal.empty() ? "/" : normal;
}

std::optional<NfsSource> MakeSource(std::string server, std::string_view path) {
  std::optional<std::string> normal = NormalPath(path);
  if (server.empty() || !normal) return std::nullopt;
  return NfsSource{.server = std::move(server), .path = *std::move(normal)};
}

}  // namespace

std::optional<NfsSource> NfsSourceOf(const json& persistent_volume) {
  if (!persistent_volume.is_object() || !persistent_volume.contains("spec")) return std::nullopt;
  const json& spec = persistent_volume["spec"];
  if (!spec.is_object()) return std::nullopt;
  if (const auto nfs = spec.find("nfs"); nfs != spec.end()) {
    return MakeSource(TextAt(*nfs, "server"), TextAt(*nfs, "path"));
  }
  const auto csi = spec.find("csi");
  if (csi == spec.end() || TextAt(*csi, "driver") != kNfsCsiDriver || !csi->contains("volumeAttributes")) {
    return std::nullopt;
  }
  const json& attributes = (*csi)["volumeAttributes"];
  return MakeSource(TextAt(attributes, "server"), TextAt(attributes, "share") + "/" + TextAt(attributes, "subdir"));
}

std::optional<NfsSnapshot> NfsSnapshotOf(const json& snapshot_content) {
  constexpr size_t kFields = 5;
  const auto at = [](const json& object, const char* key) -> const json& {
    static const json kNone = json::object();
    const auto value = object.is_object() ? object.find(key) : object.end();
    return value != object.end() ? *value : kNone;
  };
  const json& spec = at(snapshot_content, "spec");
  if (TextAt(spec, "driver") != kNfsCsiDriver) return std::nullopt;
  std::string handle = TextAt(at(snapshot_content, "status"), "snapshothandle");
  if (handle.empty()) handle = TextAt(at(spec, "source"), "snapshothandle");
  const std::vector<std::string> fields = absl::StrSplit(handle, '#');
  if (fields.size() != kFields) return std::nullopt;
  const std::optional<std::string> archive = NormalPath(fields[4]);
  std::optional<NfsSource> folder = MakeSource(fields[0], absl::StrCat(fields[1], "/", fields[2]));
  // A name that leads to the share itself would make all of that the snapshot.
  if (!folder || !archive || *archive == "/" || NormalPath(fields[2]).value_or("/") == "/") return std::nullopt;
  return NfsSnapshot{.folder = *std::move(folder), .archive = archive->substr(1)};
}

json::const_iterator FindInAnyCase(const json& object, std::string_view wanted) {
  for (auto item = object.begin(); item != object.end(); ++item) {
    if (absl::AsciiStrToLower(item.key()) == wanted) return item;
  }
  return object.end();
}

}  // namespace understudy::kube
