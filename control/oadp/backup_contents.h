// backup_contents.h: gathers what a failover needs out of the objects of an archive, as they come. Pure.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "control/oadp/archive_path.h"
#include "control/oadp/backup_archive.h"
#include "core/base/status.h"

namespace understudy::control {

inline constexpr int kMaxObjectDepth = 64;  // of nested objects and lists; Kubernetes' own objects stay far below

// Not thread-safe; one for each archive.
class ContentsBuilder {
 public:
  // `namespaces` empty: all.
  explicit ContentsBuilder(const std::vector<std::string>& namespaces)
      : wanted_(namespaces.begin(), namespaces.end()) {}

  // Counts the object. True: its text is needed, and AddObject is to follow.
  [[nodiscard]] bool Count(const ArchivePath& path);
  // INVALID_ARGUMENT: the text isn't the object that the path says.
  [[nodiscard]] absl::Status AddObject(const ArchivePath& path, std::string_view text);
  // All objects have come: leaves out volumes and snapshot contents that belong to none of them.
  [[nodiscard]] BackupContents Finish() &&;

 private:
  [[nodiscard]] bool IsWanted(const std::string& namespace_name) const {
    return wanted_.empty() || wanted_.contains(namespace_name);
  }

  const std::unordered_set<std::string> wanted_;
  BackupContents contents_;
};

}  // namespace understudy::control
