#include "agent-primary/index/index_schema.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace understudy::primary {
namespace {

using store::Statement;

constexpr std::array<std::string_view, 7> kSchema = {
    R"sql(
  CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    replica_id TEXT NOT NULL, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, complete INTEGER NOT NULL,
    staged_sequence INTEGER, staged_complete INTEGER NOT NULL) STRICT;
  INSERT INTO state VALUES (1, '', 0, 0, 0, NULL, 0);
  CREATE TABLE entry (
    key BLOB PRIMARY KEY, kind INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
    ctime INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, device INTEGER NOT NULL,
    xattrs BLOB NOT NULL, content BLOB NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX entry_inode ON entry (inode);
  CREATE TABLE segment (
    inode INTEGER NOT NULL, number INTEGER NOT NULL, digest BLOB NOT NULL, signature BLOB NOT NULL,
    PRIMARY KEY (inode, number)) STRICT, WITHOUT ROWID;
  CREATE TABLE staged (
    n INTEGER PRIMARY KEY, change INTEGER NOT NULL, key BLOB, slot INTEGER, number INTEGER, digest BLOB, signature BLOB,
    kind INTEGER, inode INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, mode INTEGER, uid INTEGER, gid INTEGER,
    device INTEGER, xattrs BLOB, content BLOB) STRICT;
)sql",
    // Which names DR holds as one file can't be told from older rows: the replica is compared anew.
    R"sql(
  DELETE FROM staged; DELETE FROM entry; DELETE FROM segment;
  UPDATE state SET replica_id = '', sequence = 0, complete = 0, staged_sequence = NULL, staged_complete = 0;
  ALTER TABLE entry ADD COLUMN file INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX entry_file ON entry (file) WHERE file <> 0;
  CREATE INDEX entry_unsettled ON entry (key) WHERE ctime = -9223372036854775808;
  ALTER TABLE staged ADD COLUMN file INTEGER;
)sql",
    R"sql(
  CREATE TABLE guard (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    entries_before INTEGER, entries_gone INTEGER, since INTEGER, approved INTEGER NOT NULL,
    root_filesystem INTEGER, root_inode INTEGER, root_btime INTEGER) STRICT;
  INSERT INTO guard (id, approved) VALUES (1, 0);
  CREATE TABLE guard_count (minute INTEGER PRIMARY KEY, entries INTEGER NOT NULL) STRICT;
)sql",
    R"sql(
  ALTER TABLE state ADD COLUMN commit_id TEXT NOT NULL DEFAULT '';
  ALTER TABLE state ADD COLUMN staged_commit_id TEXT NOT NULL DEFAULT '';
)sql",
    // Content digests are sums from here on: the replica is compared anew.
    R"sql(
  DELETE FROM staged; DELETE FROM entry; DELETE FROM segment;
  UPDATE state SET replica_id = '', sequence = 0, complete = 0, commit_id = '', staged_sequence = NULL,
    staged_complete = 0, staged_commit_id = '';
  CREATE TABLE base (inode INTEGER PRIMARY KEY, clone TEXT NOT NULL, size INTEGER NOT NULL, content BLOB NOT NULL,
    clone_inode INTEGER NOT NULL, clone_ctime INTEGER NOT NULL) STRICT;
)sql",
    // Of segments the marks of their blocks are kept from here on, in place of librsync's signatures.
    R"sql(
  ALTER TABLE segment RENAME COLUMN signature TO blocks;
  UPDATE segment SET blocks = x'';
  ALTER TABLE staged RENAME COLUMN signature TO extra;
  UPDATE staged SET extra = x'' WHERE change = 5;
)sql",
    // Staged changes are few rows with many changes each (staged_changes.cc). What was staged is forgotten: where its
    // acknowledgement hasn't been seen, the replica is compared anew.
    R"sql(
  DROP TABLE staged;
  CREATE TABLE staged (n INTEGER PRIMARY KEY, changes BLOB NOT NULL) STRICT;
  UPDATE state SET staged_sequence = NULL, staged_complete = 0, staged_commit_id = '';
  CREATE INDEX entry_large ON entry (key) WHERE kind = 1 AND size > 262144;
)sql"};

}  // namespace

std::span<const std::string_view> IndexSchema() {
  return kSchema;
}

std::string_view BytesOf(const model::Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

model::Digest DigestFrom(std::string_view bytes) {
  model::Digest digest{};
  std::memcpy(digest.data(), bytes.data(), std::min(bytes.size(), digest.size()));
  return digest;
}

void BindRow(Statement& statement, int first, const IndexRow& row) {
  statement.BindInteger(first, static_cast<int64_t>(row.kind))
      .BindUnsigned(first + 1, row.inode)
      .BindUnsigned(first + 2, row.size)
      .BindInteger(first + 3, row.mtime_nanoseconds)
      .BindInteger(first + 4, row.ctime_nanoseconds)
      .BindInteger(first + 5, row.mode)
      .BindInteger(first + 6, row.uid)
      .BindInteger(first + 7, row.gid)
      .BindUnsigned(first + 8, row.device)
      .BindBlob(first + 9, BytesOf(row.xattrs))
      .BindBlob(first + 10, BytesOf(row.content))
      .BindUnsigned(first + 11, row.file);
}

IndexRow ReadRow(const Statement& statement, int first) {
  IndexRow row;
  row.kind = static_cast<model::FileKind>(statement.Integer(first));
  row.inode = statement.Unsigned(first + 1);
  row.size = statement.Unsigned(first + 2);
  row.mtime_nanoseconds = statement.Integer(first + 3);
  row.ctime_nanoseconds = statement.Integer(first + 4);
  row.mode = static_cast<uint32_t>(statement.Integer(first + 5));
  row.uid = static_cast<uint32_t>(statement.Integer(first + 6));
  row.gid = static_cast<uint32_t>(statement.Integer(first + 7));
  row.device = statement.Unsigned(first + 8);
  row.xattrs = DigestFrom(statement.Bytes(first + 9));
  row.content = DigestFrom(statement.Bytes(first + 10));
  row.file = statement.Unsigned(first + 11);
  return row;
}

absl::StatusOr<uint64_t> OneNumber(Statement& statement) {
  ASSIGN_OR_RETURN(const std::optional<uint64_t> number,
                   OneRow<uint64_t>(statement, [](const Statement& row) { return row.Unsigned(0); }));
  UNDERSTUDY_CHECK(number.has_value());
  return *number;
}

std::string DetachedKey(model::Slot slot) {
  std::string key(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) key.push_back(static_cast<char>(slot >> shift));
  return key;
}

std::pair<std::string, std::string> RangeBelow(std::string_view key) {
  return {std::string(key) + '\0', std::string(key) + '\1'};
}

}  // namespace understudy::primary
