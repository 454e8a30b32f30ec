// base_table.h: the frozen copies of large files that an index knows, by inode.
//
// A record tells what its clone holds; whether the replica holds the same the row of the file says. One thread at a
// time; `database` outlives it.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent-primary/index/index_row.h"
#include "core/store/database.h"

namespace understudy::primary {

class BaseTable {
 public:
  explicit BaseTable(store::Database& database) : database_(&database) {}

  [[nodiscard]] absl::StatusOr<std::optional<BaseRecord>> Find(uint64_t inode);
  struct Known {
    std::string path;  // a name of its file
    uint64_t inode = 0;
    BaseRecord base;
  };
  // Of the largest files, descending; at most `most`.
  [[nodiscard]] absl::StatusOr<std::vector<Known>> ListLargest(size_t most);
  // Names of all clones.
  [[nodiscard]] absl::StatusOr<std::set<std::string>> ListClones();
  [[nodiscard]] absl::Status Put(uint64_t inode, const BaseRecord& base);
  [[nodiscard]] absl::Status Drop(uint64_t inode);
  // Removes those of files that no row is of.
  [[nodiscard]] absl::Status DropOrphans();
  // Removes all records.
  [[nodiscard]] absl::Status Clear();

 private:
  store::Database* database_;
};

}  // namespace understudy::primary
