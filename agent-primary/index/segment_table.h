// segment_table.h: the segment records of an index: what the replica holds in each segment of a large file, by inode.
//
// Names are the rows' affair: whoever removes a row says whether its file still has another. One thread at a time;
// `database` outlives it.
#pragma once

#include <vector>

#include "agent-primary/index/index_row.h"
#include "agent-primary/index/index_schema.h"
#include "core/store/database.h"

namespace understudy::primary {

class SegmentTable {
 public:
  [[nodiscard]] static absl::StatusOr<SegmentTable> Open(store::Database& database);

  [[nodiscard]] absl::StatusOr<std::optional<SegmentRecord>> Find(uint64_t inode, uint64_t number);
  // Of every record of the file, ascending.
  [[nodiscard]] absl::StatusOr<std::vector<model::SegmentDigest>> ListDigests(uint64_t inode);

  [[nodiscard]] absl::Status Put(uint64_t inode, const SegmentRecord& segment);
  [[nodiscard]] absl::Status Remove(uint64_t inode, uint64_t number);
  // Removes every record from this number on.
  [[nodiscard]] absl::Status Truncate(uint64_t inode, uint64_t from_number);
  [[nodiscard]] absl::Status Copy(uint64_t from_inode, uint64_t to_inode);
  // Removes the records of one file.
  [[nodiscard]] absl::Status Drop(uint64_t inode);
  // Removes those of files that have rows below the folder with this key, and none elsewhere: call it while the rows
  // are there.
  [[nodiscard]] absl::Status DropBelow(std::string_view key);
  // Removes all records.
  [[nodiscard]] absl::Status Clear();

 private:
  struct Statements {
    store::Statement find, put, remove, drop, truncate, copy, drop_below;
  };
  SegmentTable(store::Database& database, Statements statements) : database_(&database), sql_(std::move(statements)) {}

  store::Database* database_;
  Statements sql_;
};

}  // namespace understudy::primary
