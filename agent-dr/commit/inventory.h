// inventory.h: what a replica's folder holds, entry by entry.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/file_io.h"
#include "core/os/root.h"
#include "core/os/stat.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {

// Past so many files with a link count above one the inode number stands for each, whether or not another name is
// within the tree.
inline constexpr size_t kMaxTrackedLinks = 1'000'000;

// Called with each content that was read.
using ContentVisitor = std::function<absl::Status(const os::EntryStat&, const model::Digest&)>;

// Which files have several names in a tree.
class LinkNames {
 public:
  // Walks the whole tree. `go_on` is asked before each entry.
  [[nodiscard]] absl::Status Count(os::TreeWalk walk, const os::GoOn& go_on);
  // Of the names of one file: its inode number; 0: it has one name.
  [[nodiscard]] uint64_t LinkIdOf(const os::EntryStat& stat) const;

 private:
  absl::flat_hash_map<uint64_t, bool> several_;  // by inode number: whether it was met more than once
};

// Gives every entry but the root, in key order, and rests between two calls as long as it likes: as long as nobody
// changes the tree. One thread at a time.
class InventoryWalk {
 public:
  // Entries of the root named `excluded_name` are left out. With digests, every regular file is read. Walks the tree
  // once for the files with several names within it, whose inode numbers are their `link_id`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<InventoryWalk>> Begin(const os::Root& root,
                                                                            const std::string& excluded_name,
                                                                            bool with_digests, const os::GoOn& go_on);
  // nullopt at the end. `go_on` is asked first, and while a file is read; `visit_content` is told of each content read.
  [[nodiscard]] absl::StatusOr<std::optional<model::InventoryEntry>> Next(const ContentVisitor& visit_content,
                                                                          const os::GoOn& go_on);

 private:
  InventoryWalk(os::Root root, bool with_digests) : root_(std::move(root)), with_digests_(with_digests) {}

  const os::Root root_;  // its own, whatever becomes of the replica's
  const bool with_digests_;
  LinkNames links_;
  std::optional<os::TreeWalk> walk_;
};

}  // namespace understudy::dr
