// entry_table.h: the rows of an index: what the replica holds at each path, and how many entries that are.
//
// Looks rows up by path, inode and file, and changes them by key. It knows nothing of transactions: the owner keeps
// what belongs together in one, and puts the count back when it rolls back. One thread at a time; `database` outlives
// it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent-primary/index/index_row.h"
#include "agent-primary/index/index_schema.h"
#include "core/store/database.h"

namespace understudy::primary {

class EntryTable {
 public:
  // Goes through all rows once, to count them.
  [[nodiscard]] static absl::StatusOr<EntryTable> Open(store::Database& database);

  // As of VolumeIndex's functions with these names.
  [[nodiscard]] absl::StatusOr<uint64_t> CountRows();
  [[nodiscard]] absl::StatusOr<uint64_t> CountBelow(std::string_view folder);
  [[nodiscard]] absl::StatusOr<uint64_t> CountBytes();
  [[nodiscard]] absl::StatusOr<std::optional<IndexEntry>> FindByInode(uint64_t inode);
  [[nodiscard]] absl::StatusOr<std::vector<IndexEntry>> ListByInode(uint64_t inode);
  [[nodiscard]] absl::StatusOr<std::vector<IndexEntry>> ListByFile(uint64_t file);
  [[nodiscard]] absl::StatusOr<std::vector<IndexEntry>> ListBelow(std::string_view folder, std::string_view after_path,
                                                                  size_t limit);
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> ListLarge(const std::string& after);
  [[nodiscard]] absl::StatusOr<bool> HasLarge();
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> ListUnsettled(size_t limit);
  [[nodiscard]] absl::StatusOr<uint64_t> NewFile();

  [[nodiscard]] absl::StatusOr<std::optional<IndexRow>> Find(std::string_view key);
  // The same, of its row what costs least.
  struct KindAndInode {
    model::FileKind kind = model::FileKind::kRegular;
    uint64_t inode = 0;
  };
  [[nodiscard]] absl::StatusOr<std::optional<KindAndInode>> FindKind(std::string_view key);
  // How many rows have this inode number.
  [[nodiscard]] absl::StatusOr<uint64_t> CountNames(uint64_t inode);

  // How many rows there are but the root's, as the changes below count them.
  [[nodiscard]] uint64_t count() const { return count_; }
  void RestoreCount(uint64_t count) { count_ = count; }

  // There is no row with this key.
  [[nodiscard]] absl::Status Insert(std::string_view key, const IndexRow& row);
  // There is one.
  [[nodiscard]] absl::Status Replace(std::string_view key, const IndexRow& row);
  // There is one; what is below it stays.
  [[nodiscard]] absl::Status Remove(std::string_view key);
  [[nodiscard]] absl::Status RemoveBelow(std::string_view key);
  // The row, if there is one, and all below it.
  [[nodiscard]] absl::Status Move(std::string_view from_key, std::string_view to_key);
  // As UnsettleRow says.
  [[nodiscard]] absl::Status Unsettle(std::string_view key);
  // The root's row goes, and no other has an inode number or a settled ctime any more.
  [[nodiscard]] absl::Status ForgetIdentities();
  // Removes all rows.
  [[nodiscard]] absl::Status Clear();

 private:
  struct Statements {
    store::Statement find, find_kind, find_inode, list_inode, list_file, list, put, remove, count_inode, remove_below,
        move, unsettle;
  };
  EntryTable(store::Database& database, Statements statements) : database_(&database), sql_(std::move(statements)) {}
  static absl::StatusOr<std::vector<IndexEntry>> List(store::Statement& statement);

  store::Database* database_;
  Statements sql_;
  uint64_t count_ = 0;
  uint64_t last_file_ = 0;  // that NewFile gave, or a row had; 0: not known yet
};

}  // namespace understudy::primary
