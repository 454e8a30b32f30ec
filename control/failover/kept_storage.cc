#include "control/failover/kept_storage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "absl/strings/escaping.h"
#include "core/base/log.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"

namespace understudy::control {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr mode_t kFileMode = 0600;

absl::Status Failed(std::string_view what, const std::filesystem::path& path) {
  return ErrnoStatus(errno, fmt::format("{} '{}'", what, Printable(path.native())));
}

Json ToJson(const RunVolume& volume) {
  return {{"pair", volume.pair},
          {"volume", volume.volume},
          {"replica_path", volume.replica_path},
          {"persistent_volume", volume.persistent_volume},
          {"claim", volume.claim},
          {"storage_class", volume.storage_class}};
}

Json ToJson(const model::CatalogEntry& entry) {
  return {{"kind", std::string(model::ToString(entry.key.kind))},
          {"namespace", entry.key.namespace_name},
          {"name", entry.key.name},
          {"uid", entry.uid},
          {"resource", entry.resource},
          {"volume", entry.volume},
          {"replica_path_base64", absl::Base64Escape(entry.replica_path)},
          {"server", entry.server},
          {"revision", entry.revision},
          {"observed_at_nanoseconds", absl::ToUnixNanos(entry.observed_at)}};
}

RunVolume VolumeOf(const Json& document) {
  return {.pair = document.at("pair"),
          .volume = document.at("volume"),
          .replica_path = document.at("replica_path"),
          .persistent_volume = document.at("persistent_volume"),
          .claim = document.at("claim"),
          .storage_class = document.at("storage_class")};
}

absl::StatusOr<model::CatalogEntry> EntryOf(const Json& document) {
  model::CatalogEntry entry;
  entry.uid = document.at("uid").get<std::string>();
  entry.resource = document.at("resource").get<std::string>();
  entry.volume = document.at("volume").get<std::string>();
  entry.server = document.at("server").get<std::string>();
  entry.revision = document.at("revision").get<uint64_t>();
  entry.observed_at = absl::FromUnixNanos(document.at("observed_at_nanoseconds").get<int64_t>());
  ASSIGN_OR_RETURN(entry.key.kind, model::ParseObjectKind(document.at("kind").get<std::string>()));
  entry.key.namespace_name = document.at("namespace").get<std::string>();
  entry.key.name = document.at("name").get<std::string>();
  if (!absl::Base64Unescape(document.at("replica_path_base64").get<std::string>(), &entry.replica_path)) {
    return absl::DataLossError("a path isn't in base64");
  }
  return entry;
}

absl::StatusOr<std::vector<ClaimDefinition>> Parse(const std::string& text) {
  std::vector<ClaimDefinition> claims;
  try {
    const Json document = Json::parse(text);
    if (document.at("version").get<int>() != kVersion) return absl::NotFoundError("what is kept is of another version");
    for (const Json& each : document.at("claims")) {
      ClaimDefinition claim{.volume = VolumeOf(each.at("volume")), .from_backup = each.at("from_backup")};
      ASSIGN_OR_RETURN(claim.volume_entry, EntryOf(each.at("volume_entry")));
      ASSIGN_OR_RETURN(claim.claim_entry, EntryOf(each.at("claim_entry")));
      claims.push_back(std::move(claim));
    }
  } catch (const nlohmann::json::exception& unfit) {
    return absl::DataLossError(fmt::format("what the run kept of its claims can't be read: {}", unfit.what()));
  }
  return claims;
}

absl::Status ReplaceFile(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path fresh = path.native() + ".new";
  {
    const os::Fd file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kFileMode));
    if (!file.valid()) return Failed("write", fresh);
    RETURN_IF_ERROR(Annotate(os::WriteAt(file.get(), 0, content), Printable(fresh.native())));
    RETURN_IF_ERROR(Annotate(os::SyncFile(file.get()), Printable(fresh.native())));
  }
  if (std::rename(fresh.c_str(), path.c_str()) != 0) return Failed("replace", path);
  const os::Fd folder(open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return Failed("open", path.parent_path());
  return Annotate(os::SyncFile(folder.get()), Printable(path.parent_path().native()));
}

}  // namespace

absl::Status KeepClaims(const std::filesystem::path& folder, const std::vector<ClaimDefinition>& claims) {
  Json listed = Json::array();
  for (const ClaimDefinition& claim : claims) {
    listed.push_back({{"volume", ToJson(claim.volume)},
                      {"volume_entry", ToJson(claim.volume_entry)},
                      {"claim_entry", ToJson(claim.claim_entry)},
                      {"from_backup", claim.from_backup}});
  }
  const Json document = {{"version", kVersion}, {"claims", std::move(listed)}};
  return ReplaceFile(folder / kKeptStorageFile, document.dump(2));
}

absl::StatusOr<std::vector<ClaimDefinition>> ReadKeptClaims(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kKeptStorageFile;
  const os::Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.valid()) {
    return errno == ENOENT ? absl::NotFoundError("the run has kept no claims") : Failed("read", path);
  }
  struct stat raw {};
  if (fstat(file.get(), &raw) != 0) return Failed("look at", path);
  const auto size = static_cast<uint64_t>(raw.st_size);
  if (size > kMaxKeptStorageBytes) return absl::DataLossError("what the run kept of its claims is too large");
  ASSIGN_OR_RETURN(const std::string text, os::ReadAt(file.get(), 0, size));
  return Parse(text);
}

}  // namespace understudy::control
