// inventory.h: what a replica's folder holds, entry by entry.
#pragma once

#include <functional>
#include <string>

#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/file_io.h"
#include "core/os/root.h"
#include "core/os/stat.h"

namespace understudy::dr {

// Past so many files with a link count above one the inode number stands for each, whether or not another name is
// within the tree.
inline constexpr size_t kMaxTrackedLinks = 1'000'000;

// Called with each content that was read.
using ContentVisitor = std::function<absl::Status(const os::EntryStat&, const model::Digest&)>;

// Every entry but the root, in key order, to `visit`; an error of `visit` ends it. Entries of the root named
// `excluded_name` are left out. With digests, every regular file is read. The tree is walked twice: first for the files
// that have several names within it, whose inode numbers are their `link_id`. `go_on` is asked before each entry, and
// while a file is read.
[[nodiscard]] absl::Status ListInventory(
    const os::Root& root, const std::string& excluded_name, bool with_digests,
    const std::function<absl::Status(model::InventoryEntry)>& visit, const ContentVisitor& visit_content = nullptr,
    const os::GoOn& go_on = [] { return absl::OkStatus(); });

}  // namespace understudy::dr
