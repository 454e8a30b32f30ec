// velero_archive.h: the archive and the description of a Velero backup, made of objects a test gives, whole or broken.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "nlohmann/json.hpp"
#include "tests/support/s3_server.h"

namespace understudy::tests {

// Objects as the API server gives them; fields that a test doesn't care for are left out.
nlohmann::json MakeVolume(const std::string& name, const std::string& namespace_name, const std::string& claim);
nlohmann::json MakeClaim(const std::string& namespace_name, const std::string& name, const std::string& volume);
nlohmann::json MakeVirtualMachine(const std::string& namespace_name, const std::string& name, const std::string& claim);
nlohmann::json MakeSnapshot(const std::string& namespace_name, const std::string& name, const std::string& content);
nlohmann::json MakeSnapshotContent(const std::string& name, const std::string& namespace_name,
                                   const std::string& snapshot);

// velero-backup.json; `overrides` are merged over it, as in {{"status", {{"phase", "Failed"}}}}.
nlohmann::json MakeBackupDescription(const std::string& name, const nlohmann::json& overrides = {});

// "virtualmachines.kubevirt.io" of a VirtualMachine: as Velero names its folder.
std::string VeleroResource(const nlohmann::json& object);

// Entries in the order in which they were added.
class VeleroArchive {
 public:
  // With metadata/version, unless it is empty.
  explicit VeleroArchive(const std::string& version = "1.1.0");

  // The object at its plain path, and once more below its version folder, as Velero does.
  VeleroArchive& Add(const nlohmann::json& object);
  VeleroArchive& AddFile(const std::string& path, const std::string& content);
  VeleroArchive& AddFolder(const std::string& path);
  VeleroArchive& AddSymlink(const std::string& path, const std::string& target);
  VeleroArchive& AddHardLink(const std::string& path, const std::string& target);

  [[nodiscard]] std::string Tar() const;
  [[nodiscard]] std::string TarGz() const;

 private:
  enum class Kind { kFile, kFolder, kSymlink, kHardLink };
  struct Entry {
    Kind kind;
    std::string path;
    std::string content;  // of a link: its target
  };
  [[nodiscard]] std::string Write(bool gzip) const;

  std::vector<Entry> entries_;
};

// Puts the backup `name` into a bucket, as Velero does: below "<prefix>/backups/", or "backups/" without a prefix.
[[nodiscard]] absl::Status PutBackup(S3Server& server, const std::string& bucket, const std::string& prefix,
                                     const std::string& name, const VeleroArchive& archive,
                                     const nlohmann::json& description);

// The files of an archive by path, as a test's own Velero reads them. INVALID_ARGUMENT: it can't be read.
[[nodiscard]] absl::StatusOr<std::map<std::string, std::string>> ReadVeleroArchive(const std::string& tar_gz);

}  // namespace understudy::tests
