#include "agent-primary/index/entry_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "agent-primary/index/staged_changes.h"
#include "core/model/path.h"

namespace understudy::primary {
namespace {

using store::Statement;

// Of a statement whose rows are keys.
absl::StatusOr<std::vector<std::string>> Paths(Statement& list) {
  std::vector<std::string> paths;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, list.Step());
    if (!found) return paths;
    paths.push_back(model::PathOfKey(list.Bytes(0)));
  }
}

IndexEntry ReadEntry(const Statement& statement) {
  return {model::PathOfKey(statement.Bytes(0)), ReadRow(statement, 1)};
}

}  // namespace

absl::StatusOr<EntryTable> EntryTable::Open(store::Database& database) {
  // Rows with their keys, as ReadEntry takes them.
  const auto select = [&](std::string_view rest) {
    return database.Prepare(fmt::format("SELECT key, {} FROM entry WHERE {}", kRowColumns, rest));
  };
  ASSIGN_OR_RETURN(Statement find, database.Prepare(fmt::format("SELECT {} FROM entry WHERE key = ?1", kRowColumns)));
  ASSIGN_OR_RETURN(Statement find_kind, database.Prepare("SELECT kind, inode FROM entry WHERE key = ?1"));
  ASSIGN_OR_RETURN(Statement find_inode, select("inode = ?1 LIMIT 1"));
  ASSIGN_OR_RETURN(Statement list_inode, select("inode = ?1 ORDER BY key"));
  ASSIGN_OR_RETURN(Statement list_file, select("file = ?1 AND file <> 0 ORDER BY key"));
  ASSIGN_OR_RETURN(Statement list, select("key > ?1 AND key < ?2 ORDER BY key LIMIT ?3"));
  ASSIGN_OR_RETURN(Statement put,
                   database.Prepare(fmt::format("INSERT OR REPLACE INTO entry (key, {}) VALUES (?1, ?2, ?3, ?4, ?5, "
                                                "?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                                                kRowColumns)));
  ASSIGN_OR_RETURN(Statement remove, database.Prepare("DELETE FROM entry WHERE key = ?1"));
  ASSIGN_OR_RETURN(Statement count_inode, database.Prepare("SELECT count(*) FROM entry WHERE inode = ?1"));
  ASSIGN_OR_RETURN(Statement remove_below, database.Prepare("DELETE FROM entry WHERE key >= ?1 AND key < ?2"));
  // The concatenation of blobs is a text of the same bytes.
  ASSIGN_OR_RETURN(Statement move,
                   database.Prepare("UPDATE entry SET key = CAST(?1 || substr(key, length(?2) + 1) AS BLOB) "
                                    "WHERE key = ?2 OR (key >= ?3 AND key < ?4)"));
  ASSIGN_OR_RETURN(Statement unsettle, database.Prepare("UPDATE entry SET ctime = ?2, mtime = ?3 WHERE key = ?1"));
  EntryTable table(database,
                   Statements{std::move(find), std::move(find_kind), std::move(find_inode), std::move(list_inode),
                              std::move(list_file), std::move(list), std::move(put), std::move(remove),
                              std::move(count_inode), std::move(remove_below), std::move(move), std::move(unsettle)});
  ASSIGN_OR_RETURN(const uint64_t rows, table.CountRows());
  ASSIGN_OR_RETURN(const std::optional<IndexRow> root, table.Find(model::Key("")));
  table.count_ = rows - (root.has_value() ? 1 : 0);
  return table;
}

absl::StatusOr<uint64_t> EntryTable::CountRows() {
  ASSIGN_OR_RETURN(Statement count, database_->Prepare("SELECT count(*) FROM entry"));
  return OneNumber(count);
}

absl::StatusOr<uint64_t> EntryTable::CountBelow(std::string_view folder) {
  UNDERSTUDY_CHECK(!folder.empty());
  const auto [begin, end] = RangeBelow(model::Key(folder));
  ASSIGN_OR_RETURN(Statement count, database_->Prepare("SELECT count(*) FROM entry WHERE key >= ?1 AND key < ?2"));
  return OneNumber(count.BindBlob(1, begin).BindBlob(2, end));
}

absl::StatusOr<uint64_t> EntryTable::CountBytes() {
  ASSIGN_OR_RETURN(Statement sum, database_->Prepare("SELECT ifnull(sum(size), 0) FROM entry WHERE kind = ?1"));
  return OneNumber(sum.BindInteger(1, static_cast<int64_t>(model::FileKind::kRegular)));
}

absl::StatusOr<uint64_t> EntryTable::CountNames(uint64_t inode) {
  return OneNumber(sql_.count_inode.BindUnsigned(1, inode));
}

absl::StatusOr<std::optional<IndexRow>> EntryTable::Find(std::string_view key) {
  return OneRow<IndexRow>(sql_.find.BindBlob(1, key), [](const Statement& row) { return ReadRow(row, 0); });
}

absl::StatusOr<std::optional<EntryTable::KindAndInode>> EntryTable::FindKind(std::string_view key) {
  return OneRow<KindAndInode>(sql_.find_kind.BindBlob(1, key), [](const Statement& row) {
    return KindAndInode{static_cast<model::FileKind>(row.Integer(0)), row.Unsigned(1)};
  });
}

absl::StatusOr<std::optional<IndexEntry>> EntryTable::FindByInode(uint64_t inode) {
  return OneRow<IndexEntry>(sql_.find_inode.BindUnsigned(1, inode), ReadEntry);
}

absl::StatusOr<std::vector<IndexEntry>> EntryTable::List(Statement& statement) {
  std::vector<IndexEntry> entries;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return entries;
    entries.push_back(ReadEntry(statement));
  }
}

absl::StatusOr<std::vector<IndexEntry>> EntryTable::ListByInode(uint64_t inode) {
  return List(sql_.list_inode.BindUnsigned(1, inode));
}

absl::StatusOr<std::vector<IndexEntry>> EntryTable::ListByFile(uint64_t file) {
  return List(sql_.list_file.BindUnsigned(1, file));
}

absl::StatusOr<std::vector<IndexEntry>> EntryTable::ListBelow(std::string_view folder, std::string_view after_path,
                                                              size_t limit) {
  const auto [begin, end] = RangeBelow(model::Key(folder));
  const std::string after = model::Key(after_path);
  if (folder.empty()) {
    sql_.list.BindBlob(1, after).BindBlob(2, std::string(256, '\xff'));  // longer than any name of nothing but 0xff
  } else {
    sql_.list.BindBlob(1, after_path.empty() ? begin : after).BindBlob(2, end);
  }
  return List(sql_.list.BindUnsigned(3, limit));
}

absl::StatusOr<std::vector<std::string>> EntryTable::ListLarge(const std::string& after) {
  static_assert(static_cast<int>(model::FileKind::kRegular) == 1 && kMaxSmallFileBytes == 262144,
                "as the partial index says");
  ASSIGN_OR_RETURN(
      Statement list,
      database_->Prepare("SELECT key FROM entry WHERE kind = 1 AND size > 262144 AND key > ?1 ORDER BY key"));
  list.BindBlob(1, after.empty() ? std::string() : model::Key(after));
  return Paths(list);
}

absl::StatusOr<bool> EntryTable::HasLarge() {
  ASSIGN_OR_RETURN(Statement any, database_->Prepare("SELECT 1 FROM entry WHERE kind = 1 AND size > 262144 LIMIT 1"));
  return any.Step();
}

absl::StatusOr<std::vector<std::string>> EntryTable::ListUnsettled(size_t limit) {
  static_assert(kUnsettledCtime == INT64_MIN, "the partial index says -9223372036854775808");
  ASSIGN_OR_RETURN(Statement list,
                   database_->Prepare("SELECT key FROM entry WHERE ctime = -9223372036854775808 LIMIT ?1"));
  list.BindUnsigned(1, limit);
  return Paths(list);
}

absl::StatusOr<uint64_t> EntryTable::NewFile() {
  if (last_file_ == 0) {
    ASSIGN_OR_RETURN(Statement highest,
                     database_->Prepare("SELECT ifnull((SELECT max(file) FROM entry WHERE file <> 0), 0)"));
    ASSIGN_OR_RETURN(last_file_, OneNumber(highest));
    RETURN_IF_ERROR(VisitStaged(*database_, [&](const IndexChange& change) {
      if (const auto* put = std::get_if<PutRow>(&change)) last_file_ = std::max(last_file_, put->row.file);
      return absl::OkStatus();
    }));
  }
  return ++last_file_;
}

absl::Status EntryTable::Insert(std::string_view key, const IndexRow& row) {
  if (!key.empty()) ++count_;
  return Replace(key, row);
}

absl::Status EntryTable::Replace(std::string_view key, const IndexRow& row) {
  sql_.put.BindBlob(1, key);
  BindRow(sql_.put, 2, row);
  return sql_.put.Run();
}

absl::Status EntryTable::Remove(std::string_view key) {
  if (!key.empty()) --count_;
  return sql_.remove.BindBlob(1, key).Run();
}

absl::Status EntryTable::RemoveBelow(std::string_view key) {
  const auto [begin, end] = RangeBelow(key);
  RETURN_IF_ERROR(sql_.remove_below.BindBlob(1, begin).BindBlob(2, end).Run());
  count_ -= static_cast<uint64_t>(database_->ChangedRows());
  return absl::OkStatus();
}

absl::Status EntryTable::Move(std::string_view from_key, std::string_view to_key) {
  const auto [begin, end] = RangeBelow(from_key);
  return sql_.move.BindBlob(1, to_key).BindBlob(2, from_key).BindBlob(3, begin).BindBlob(4, end).Run();
}

absl::Status EntryTable::Unsettle(std::string_view key) {
  return sql_.unsettle.BindBlob(1, key).BindInteger(2, kUnsettledCtime).BindInteger(3, kUnknownMtime).Run();
}

absl::Status EntryTable::ForgetIdentities() {
  RETURN_IF_ERROR(sql_.remove.BindBlob(1, model::Key("")).Run());
  ASSIGN_OR_RETURN(Statement forget, database_->Prepare("UPDATE entry SET inode = 0, ctime = ?1"));
  return forget.BindInteger(1, kUnsettledCtime).Run();
}

absl::Status EntryTable::Clear() {
  count_ = 0;
  last_file_ = 0;
  return database_->Execute("DELETE FROM entry");
}

}  // namespace understudy::primary
