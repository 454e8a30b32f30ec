#include "tests/support/velero_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <memory>

#include "absl/strings/ascii.h"

namespace understudy::tests {
namespace {

using nlohmann::json;

std::string GroupOf(const json& object) {
  const std::string api_version = object.at("apiVersion");
  const size_t slash = api_version.find('/');
  return slash == std::string::npos ? "" : api_version.substr(0, slash);
}

std::string VersionOf(const json& object) {
  const std::string api_version = object.at("apiVersion");
  return api_version.substr(api_version.find('/') + 1);
}

struct FreeWriter {
  void operator()(archive* writer) const { archive_write_free(writer); }
};
struct FreeReader {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
struct FreeEntry {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

la_ssize_t Append(archive*, void* out, const void* bytes, size_t length) {
  static_cast<std::string*>(out)->append(static_cast<const char*>(bytes), length);
  return static_cast<la_ssize_t>(length);
}

}  // namespace

json MakeVolume(const std::string& name, const std::string& namespace_name, const std::string& claim) {
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolume"},
          {"metadata", {{"name", name}, {"uid", "uid-of-" + name}}},
          {"spec",
           {{"capacity", {{"storage", "10Gi"}}},
            {"accessModes", {"ReadWriteMany"}},
            {"storageClassName", "nfs"},
            {"claimRef",
             {{"kind", "PersistentVolumeClaim"},
              {"namespace", namespace_name},
              {"name", claim},
              {"uid", "uid-of-" + claim}}},
            {"nfs", {{"server", "nfs1.example.com"}, {"path", "/srv/a/" + name}}}}},
          {"status", {{"phase", "Bound"}}}};
}

json MakeClaim(const std::string& namespace_name, const std::string& name, const std::string& volume) {
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolumeClaim"},
          {"metadata", {{"namespace", namespace_name}, {"name", name}, {"uid", "uid-of-" + name}}},
          {"spec",
           {{"volumeName", volume},
            {"storageClassName", "nfs"},
            {"accessModes", {"ReadWriteMany"}},
            {"resources", {{"requests", {{"storage", "10Gi"}}}}}}},
          {"status", {{"phase", "Bound"}}}};
}

json MakeVirtualMachine(const std::string& namespace_name, const std::string& name, const std::string& claim) {
  const json disk = {{"name", "root"}, {"persistentVolumeClaim", {{"claimName", claim}}}};
  return {{"apiVersion", "kubevirt.io/v1"},
          {"kind", "VirtualMachine"},
          {"metadata", {{"namespace", namespace_name}, {"name", name}, {"uid", "uid-of-" + name}}},
          {"spec", {{"runStrategy", "Always"}, {"template", {{"spec", {{"volumes", json::array({disk})}}}}}}}};
}

json MakeSnapshot(const std::string& namespace_name, const std::string& name, const std::string& content) {
  return {{"apiVersion", "snapshot.storage.k8s.io/v1"},
          {"kind", "VolumeSnapshot"},
          {"metadata", {{"namespace", namespace_name}, {"name", name}, {"uid", "uid-of-" + name}}},
          {"spec", {{"source", {{"persistentVolumeClaimName", "data"}}}}},
          {"status", {{"readyToUse", true}, {"boundVolumeSnapshotContentName", content}}}};
}

json MakeSnapshotContent(const std::string& name, const std::string& namespace_name, const std::string& snapshot) {
  return {{"apiVersion", "snapshot.storage.k8s.io/v1"},
          {"kind", "VolumeSnapshotContent"},
          {"metadata", {{"name", name}, {"uid", "uid-of-" + name}}},
          {"spec",
           {{"driver", "nfs.csi.k8s.io"}, {"volumeSnapshotRef", {{"namespace", namespace_name}, {"name", snapshot}}}}},
          {"status", {{"readyToUse", true}}}};
}

json MakeBackupDescription(const std::string& name, const json& overrides) {
  json description = {{"apiVersion", "velero.io/v1"},
                      {"kind", "Backup"},
                      {"metadata", {{"namespace", "openshift-adp"}, {"name", name}}},
                      {"spec", {{"includedNamespaces", {"*"}}, {"storageLocation", "default"}, {"ttl", "720h0m0s"}}},
                      {"status",
                       {{"formatVersion", "1.1.0"},
                        {"phase", "Completed"},
                        {"startTimestamp", "2026-11-01T02:00:00Z"},
                        {"completionTimestamp", "2026-11-01T02:03:00Z"},
                        {"expiration", "2099-12-01T02:00:00Z"},
                        {"progress", {{"totalItems", 100}, {"itemsBackedUp", 100}}}}}};
  if (!overrides.is_null()) description.merge_patch(overrides);
  return description;
}

std::string VeleroResource(const json& object) {
  const std::string plural = absl::AsciiStrToLower(object.at("kind").get<std::string>()) + "s";
  const std::string group = GroupOf(object);
  return group.empty() ? plural : fmt::format("{}.{}", plural, group);
}

VeleroArchive::VeleroArchive(const std::string& version) {
  if (!version.empty()) AddFile("metadata/version", version);
}

VeleroArchive& VeleroArchive::Add(const json& object) {
  const json& metadata = object.at("metadata");
  const std::string scope = metadata.contains("namespace")
                                ? fmt::format("namespaces/{}", metadata.at("namespace").get<std::string>())
                                : "cluster";
  const std::string file = fmt::format("{}/{}.json", scope, metadata.at("name").get<std::string>());
  const std::string resource = VeleroResource(object);
  AddFile(fmt::format("resources/{}/{}", resource, file), object.dump());
  return AddFile(fmt::format("resources/{}/{}-preferredversion/{}", resource, VersionOf(object), file), object.dump());
}

VeleroArchive& VeleroArchive::AddFile(const std::string& path, const std::string& content) {
  entries_.push_back({Kind::kFile, path, content});
  return *this;
}
VeleroArchive& VeleroArchive::AddFolder(const std::string& path) {
  entries_.push_back({Kind::kFolder, path, ""});
  return *this;
}
VeleroArchive& VeleroArchive::AddSymlink(const std::string& path, const std::string& target) {
  entries_.push_back({Kind::kSymlink, path, target});
  return *this;
}
VeleroArchive& VeleroArchive::AddHardLink(const std::string& path, const std::string& target) {
  entries_.push_back({Kind::kHardLink, path, target});
  return *this;
}

std::string VeleroArchive::Tar() const {
  return Write(false);
}
std::string VeleroArchive::TarGz() const {
  return Write(true);
}

std::string VeleroArchive::Write(bool gzip) const {
  std::string bytes;
  const std::unique_ptr<archive, FreeWriter> writer(archive_write_new());
  if (gzip) UNDERSTUDY_CHECK(archive_write_add_filter_gzip(writer.get()) == ARCHIVE_OK);
  UNDERSTUDY_CHECK(archive_write_set_format_pax_restricted(writer.get()) == ARCHIVE_OK);
  UNDERSTUDY_CHECK(archive_write_set_bytes_in_last_block(writer.get(), 1) ==
                   ARCHIVE_OK);  // no padding after gzip's end
  UNDERSTUDY_CHECK(archive_write_open(writer.get(), &bytes, nullptr, &Append, nullptr) == ARCHIVE_OK);
  for (const Entry& entry : entries_) {
    const std::unique_ptr<archive_entry, FreeEntry> header(archive_entry_new());
    archive_entry_set_pathname(header.get(), entry.path.c_str());
    archive_entry_set_perm(header.get(), 0755);  // as Velero writes them
    const bool is_file = entry.kind == Kind::kFile;
    archive_entry_set_filetype(header.get(), entry.kind == Kind::kFolder    ? AE_IFDIR
                                             : entry.kind == Kind::kSymlink ? AE_IFLNK
                                                                            : AE_IFREG);
    archive_entry_set_size(header.get(), is_file ? static_cast<la_int64_t>(entry.content.size()) : 0);
    if (entry.kind == Kind::kSymlink) archive_entry_set_symlink(header.get(), entry.content.c_str());
    if (entry.kind == Kind::kHardLink) archive_entry_set_hardlink(header.get(), entry.content.c_str());
    // A warning is a name that this locale can't show; it is written as it is.
    UNDERSTUDY_CHECK(archive_write_header(writer.get(), header.get()) >= ARCHIVE_WARN);
    if (!is_file) continue;
    const la_ssize_t written = archive_write_data(writer.get(), entry.content.data(), entry.content.size());
    UNDERSTUDY_CHECK(written == static_cast<la_ssize_t>(entry.content.size()));
  }
  UNDERSTUDY_CHECK(archive_write_close(writer.get()) == ARCHIVE_OK);
  return bytes;
}

absl::Status PutBackup(S3Server& server, const std::string& bucket, const std::string& prefix, const std::string& name,
                       const VeleroArchive& archive, const json& description) {
  const std::string folder = fmt::format("{}{}backups/{}", prefix, prefix.empty() ? "" : "/", name);
  // Velero uploads the description last, when the backup has ended.
  RETURN_IF_ERROR(server.Put(bucket, fmt::format("{}/{}.tar.gz", folder, name), archive.TarGz()));
  return server.Put(bucket, fmt::format("{}/velero-backup.json", folder), description.dump());
}

absl::StatusOr<std::map<std::string, std::string>> ReadVeleroArchive(const std::string& tar_gz) {
  const std::unique_ptr<archive, FreeReader> reader(archive_read_new());
  UNDERSTUDY_CHECK(archive_read_support_filter_gzip(reader.get()) == ARCHIVE_OK);
  UNDERSTUDY_CHECK(archive_read_support_format_tar(reader.get()) == ARCHIVE_OK);
  const auto failure = [&] { return absl::InvalidArgumentError(archive_error_string(reader.get())); };
  if (archive_read_open_memory(reader.get(), tar_gz.data(), tar_gz.size()) != ARCHIVE_OK) return failure();
  std::map<std::string, std::string> files;
  archive_entry* entry = nullptr;
  int result = ARCHIVE_OK;
  while ((result = archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK) {
    std::string content(static_cast<size_t>(archive_entry_size(entry)), '\0');
    const la_ssize_t got = archive_read_data(reader.get(), content.data(), content.size());
    if (got != static_cast<la_ssize_t>(content.size())) return failure();
    files.emplace(archive_entry_pathname(entry), std::move(content));
  }
  if (result != ARCHIVE_EOF) return failure();
  return files;
}

}  // namespace understudy::tests
