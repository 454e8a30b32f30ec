// by_hand_file.h: the exports that aren't in any agent's file, kept while exportfs -r drops them, so that whatever cuts
// that short they can be put back (docs/formats/exports.md).
//
// Only for who holds the lock over the server's exports.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/exports/exports_file.h"

namespace understudy::exports {

class ByHandFile {
 public:
  // In the folder of the server's files, under a name that no server reads.
  explicit ByHandFile(const std::string& folder) : path_(folder + "/.understudy.by-hand") {}

  // Durable when it returns OK; nothing to keep is no file.
  [[nodiscard]] absl::Status Keep(std::span<const EtabEntry> entries) const;
  // What a run that was cut short kept; empty: nothing. What was kept before this host started isn't among it: no start
  // brings back what was exported by hand. DATA_LOSS: the file isn't what Keep wrote.
  [[nodiscard]] absl::StatusOr<std::vector<EtabEntry>> Load() const;
  [[nodiscard]] absl::Status Drop() const;

 private:
  const std::string path_;
};

}  // namespace understudy::exports
