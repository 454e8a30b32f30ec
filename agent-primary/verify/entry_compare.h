// entry_compare.h: one entry of a volume as it stands here, and what differs from it at DR.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/verify.h"
#include "core/os/root.h"
#include "core/os/stat.h"

namespace understudy::primary {

struct LocalEntry {
  os::EntryStat stat;  // before the rest was read
  model::InventoryEntry entry;
};

// nullopt: nothing stands there. With digests the content of a regular file is read. ABORTED: it changes just now.
[[nodiscard]] absl::StatusOr<std::optional<LocalEntry>> ReadLocalEntry(const os::Root& root, const std::string& path,
                                                                       bool with_digest);

// Pure. nullopt: nothing stands there. Contents are compared where both digests are there; other names of a file
// aren't.
[[nodiscard]] std::vector<model::Difference> CompareEntries(const std::string& path,
                                                            const std::optional<LocalEntry>& here,
                                                            const std::optional<model::ListedEntry>& there);

}  // namespace understudy::primary
