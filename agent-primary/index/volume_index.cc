#include "agent-primary/index/volume_index.h"

#include <array>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "core/model/path.h"

namespace understudy::primary {
namespace {

using store::Statement;

// Keys are model::Key of paths; rows that are detached inside a commit stand below a key that begins with NUL, which no
// path's does.
constexpr std::array<std::string_view, 4> kSchema = {
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
)sql"};

// The row's columns, in the order of BindRow and ReadRow.
#define ROW_COLUMNS "kind, inode, size, mtime, ctime, mode, uid, gid, device, xattrs, content, file"

// What `staged.change` says; the index in IndexChange.
enum StagedChange : int {
  kRemove,
  kDetach,
  kAttach,
  kCopySegments,
  kPut,
  kPutSegment,
  kRemoveSegment,
  kTruncateSegments,
  kUnsettle
};

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

std::string DetachedKey(model::Slot slot) {
  std::string key(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) key.push_back(static_cast<char>(slot >> shift));
  return key;
}

// Keys of what is below the folder with this key: [first, second).
std::pair<std::string, std::string> RangeBelow(std::string_view key) {
  return {std::string(key) + '\0', std::string(key) + '\1'};
}

// Of a statement whose rows are keys.
absl::StatusOr<std::vector<std::string>> Paths(Statement& list) {
  std::vector<std::string> paths;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, list.Step());
    if (!found) return paths;
    paths.push_back(model::PathOfKey(list.Bytes(0)));
  }
}

// Steps a statement that gives at most one row, and hands that row over.
template <typename T, typename Read>
absl::StatusOr<std::optional<T>> OneRow(Statement& statement, Read read) {
  ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (!found) return std::optional<T>();
  std::optional<T> result(read(statement));
  statement.Reset();
  return result;
}

}  // namespace

struct VolumeIndex::Statements {
  Statement find, find_inode, list_inode, list_file, list, put, remove, segment, put_segment, remove_segment,
      drop_segments, truncate_segments, copy_segments, count_inode, remove_below, drop_segments_below, move, unsettle;
};

VolumeIndex::VolumeIndex(store::Database database) : database_(std::move(database)) {}
VolumeIndex::~VolumeIndex() = default;

absl::StatusOr<std::unique_ptr<VolumeIndex>> VolumeIndex::Open(const std::string& file) {
  ASSIGN_OR_RETURN(store::Database database, store::Database::Open(file, {.durability = store::Durability::kNormal}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  std::unique_ptr<VolumeIndex> index(new VolumeIndex(std::move(database)));
  RETURN_IF_ERROR(index->Prepare());
  RETURN_IF_ERROR(index->LoadState());
  RETURN_IF_ERROR(index->LoadGuard());
  RETURN_IF_ERROR(index->CountEntries());
  return index;
}

absl::Status VolumeIndex::Prepare() {
  const auto prepare = [&](std::string_view sql) { return database_.Prepare(sql); };
  ASSIGN_OR_RETURN(Statement find, prepare("SELECT " ROW_COLUMNS " FROM entry WHERE key = ?1"));
  ASSIGN_OR_RETURN(Statement find_inode, prepare("SELECT key, " ROW_COLUMNS " FROM entry WHERE inode = ?1 LIMIT 1"));
  ASSIGN_OR_RETURN(Statement list_inode,
                   prepare("SELECT key, " ROW_COLUMNS " FROM entry WHERE inode = ?1 ORDER BY key"));
  ASSIGN_OR_RETURN(Statement list_file,
                   prepare("SELECT key, " ROW_COLUMNS " FROM entry WHERE file = ?1 AND file <> 0 ORDER BY key"));
  ASSIGN_OR_RETURN(Statement list,
                   prepare("SELECT key, " ROW_COLUMNS " FROM entry WHERE key > ?1 AND key < ?2 ORDER BY key LIMIT ?3"));
  ASSIGN_OR_RETURN(Statement put, prepare("INSERT OR REPLACE INTO entry (key, " ROW_COLUMNS
                                          ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"));
  ASSIGN_OR_RETURN(Statement remove, prepare("DELETE FROM entry WHERE key = ?1"));
  ASSIGN_OR_RETURN(Statement segment,
                   prepare("SELECT digest, signature FROM segment WHERE inode = ?1 AND number = ?2"));
  ASSIGN_OR_RETURN(Statement put_segment, prepare("INSERT OR REPLACE INTO segment VALUES (?1, ?2, ?3, ?4)"));
  ASSIGN_OR_RETURN(Statement remove_segment, prepare("DELETE FROM segment WHERE inode = ?1 AND number = ?2"));
  ASSIGN_OR_RETURN(Statement drop_segments, prepare("DELETE FROM segment WHERE inode = ?1"));
  ASSIGN_OR_RETURN(Statement truncate_segments, prepare("DELETE FROM segment WHERE inode = ?1 AND number >= ?2"));
  ASSIGN_OR_RETURN(Statement copy_segments,
                   prepare("INSERT OR REPLACE INTO segment SELECT ?2, number, digest, signature FROM segment "
                           "WHERE inode = ?1"));
  ASSIGN_OR_RETURN(Statement count_inode, prepare("SELECT count(*) FROM entry WHERE inode = ?1"));
  ASSIGN_OR_RETURN(Statement remove_below, prepare("DELETE FROM entry WHERE key >= ?1 AND key < ?2"));
  ASSIGN_OR_RETURN(Statement drop_segments_below,
                   prepare("DELETE FROM segment WHERE inode IN (SELECT inode FROM entry WHERE key >= ?1 AND key < ?2) "
                           "AND inode NOT IN (SELECT inode FROM entry AS other WHERE other.inode = segment.inode "
                           "AND NOT (other.key >= ?1 AND other.key < ?2))"));
  // The concatenation of blobs is a text of the same bytes.
  ASSIGN_OR_RETURN(Statement move, prepare("UPDATE entry SET key = CAST(?1 || substr(key, length(?2) + 1) AS BLOB) "
                                           "WHERE key = ?2 OR (key >= ?3 AND key < ?4)"));
  ASSIGN_OR_RETURN(Statement unsettle, prepare("UPDATE entry SET ctime = ?2, mtime = ?3 WHERE key = ?1"));
  statements_ = std::make_unique<Statements>(Statements{
      std::move(find), std::move(find_inode), std::move(list_inode), std::move(list_file), std::move(list),
      std::move(put), std::move(remove), std::move(segment), std::move(put_segment), std::move(remove_segment),
      std::move(drop_segments), std::move(truncate_segments), std::move(copy_segments), std::move(count_inode),
      std::move(remove_below), std::move(drop_segments_below), std::move(move), std::move(unsettle)});
  return absl::OkStatus();
}

absl::Status VolumeIndex::LoadState() {
  ASSIGN_OR_RETURN(Statement load, database_.Prepare("SELECT replica_id, epoch, sequence, complete, staged_sequence, "
                                                     "staged_complete, commit_id, staged_commit_id FROM state"));
  ASSIGN_OR_RETURN(const bool found, load.Step());
  if (!found) return absl::DataLossError("the index " + database_.path() + " has no state: remove the file");
  state_.replica_id = load.String(0);
  state_.epoch = load.Unsigned(1);
  state_.sequence = load.Unsigned(2);
  state_.complete = load.Integer(3) != 0;
  state_.staged_sequence = load.IsNull(4) ? std::nullopt : std::optional(load.Unsigned(4));
  state_.staged_complete = load.Integer(5) != 0;
  state_.commit_id = load.String(6);
  state_.staged_commit_id = load.String(7);
  return absl::OkStatus();
}

absl::Status VolumeIndex::SaveState(const IndexState& state) {
  ASSIGN_OR_RETURN(
      Statement save,
      database_.Prepare("UPDATE state SET replica_id = ?1, epoch = ?2, sequence = ?3, complete = ?4, "
                        "staged_sequence = ?5, staged_complete = ?6, commit_id = ?7, staged_commit_id = ?8"));
  save.BindText(1, state.replica_id)
      .BindUnsigned(2, state.epoch)
      .BindUnsigned(3, state.sequence)
      .BindInteger(4, state.complete ? 1 : 0)
      .BindInteger(6, state.staged_complete ? 1 : 0)
      .BindText(7, state.commit_id)
      .BindText(8, state.staged_commit_id);
  if (state.staged_sequence.has_value()) {
    save.BindUnsigned(5, *state.staged_sequence);
  } else {
    save.BindNull(5);
  }
  return save.Run();
}

absl::Status VolumeIndex::LoadGuard() {
  ASSIGN_OR_RETURN(Statement load, database_.Prepare("SELECT entries_before, entries_gone, since, approved, "
                                                     "root_filesystem, root_inode, root_btime FROM guard"));
  ASSIGN_OR_RETURN(const bool found, load.Step());
  if (!found) return absl::DataLossError("the index " + database_.path() + " has no guard: remove the file");
  if (!load.IsNull(0)) {
    guard_.held = HeldDeletion{load.Unsigned(0), load.Unsigned(1), load.Integer(2), load.Integer(3) != 0};
  }
  if (!load.IsNull(5)) guard_.root = RootIdentity{load.Unsigned(4), load.Unsigned(5), load.Integer(6)};
  ASSIGN_OR_RETURN(Statement counts, database_.Prepare("SELECT minute, entries FROM guard_count ORDER BY minute"));
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, counts.Step());
    if (!more) return absl::OkStatus();
    guard_.counts.push_back({counts.Integer(0), counts.Unsigned(1)});
  }
}

absl::StatusOr<uint64_t> VolumeIndex::CountBytes() {
  ASSIGN_OR_RETURN(Statement sum, database_.Prepare("SELECT ifnull(sum(size), 0) FROM entry WHERE kind = ?1"));
  sum.BindInteger(1, static_cast<int64_t>(model::FileKind::kRegular));
  ASSIGN_OR_RETURN(const bool found, sum.Step());
  UNDERSTUDY_CHECK(found);
  return sum.Unsigned(0);
}

absl::Status VolumeIndex::SaveGuard(const GuardRecord& record, store::Durability durability) {
  if (record == guard_) return absl::OkStatus();
  RETURN_IF_ERROR(database_.SetDurability(durability));
  const absl::Cleanup restore = [this] { (void)database_.SetDurability(store::Durability::kNormal); };
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  ASSIGN_OR_RETURN(Statement save, database_.Prepare("UPDATE guard SET entries_before = ?1, entries_gone = ?2, since = "
                                                     "?3, approved = ?4, root_filesystem = ?5, root_inode = ?6, "
                                                     "root_btime = ?7"));
  save.BindInteger(4, record.held.has_value() && record.held->approved ? 1 : 0);
  if (record.held.has_value()) {  // what isn't bound is NULL
    save.BindUnsigned(1, record.held->entries_before)
        .BindUnsigned(2, record.held->entries_gone)
        .BindInteger(3, record.held->since_nanoseconds);
  }
  if (record.root.has_value()) {
    save.BindUnsigned(5, record.root->filesystem)
        .BindUnsigned(6, record.root->inode)
        .BindInteger(7, record.root->btime_nanoseconds);
  }
  RETURN_IF_ERROR(save.Run());
  if (record.counts != guard_.counts) {
    RETURN_IF_ERROR(database_.Execute("DELETE FROM guard_count"));
    ASSIGN_OR_RETURN(Statement put, database_.Prepare("INSERT INTO guard_count VALUES (?1, ?2)"));
    for (const EntryCount& count : record.counts) {
      RETURN_IF_ERROR(put.BindInteger(1, count.minute).BindUnsigned(2, count.entries).Run());
    }
  }
  RETURN_IF_ERROR(transaction.Commit());
  guard_ = record;
  return absl::OkStatus();
}

absl::Status VolumeIndex::CountEntries() {
  ASSIGN_OR_RETURN(const uint64_t rows, CountRows());
  ASSIGN_OR_RETURN(const std::optional<IndexRow> root, Find(""));
  entries_ = rows - (root.has_value() ? 1 : 0);
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> VolumeIndex::CountBelow(std::string_view folder) {
  UNDERSTUDY_CHECK(!folder.empty());
  const auto [begin, end] = RangeBelow(model::Key(folder));
  ASSIGN_OR_RETURN(Statement count, database_.Prepare("SELECT count(*) FROM entry WHERE key >= ?1 AND key < ?2"));
  count.BindBlob(1, begin).BindBlob(2, end);
  ASSIGN_OR_RETURN(const bool found, count.Step());
  UNDERSTUDY_CHECK(found);
  return count.Unsigned(0);
}

absl::Status VolumeIndex::ForgetIdentities() {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(database_.Execute("DELETE FROM segment"));
  statements_->remove.BindBlob(1, model::Key(""));
  RETURN_IF_ERROR(statements_->remove.Run());
  ASSIGN_OR_RETURN(Statement forget, database_.Prepare("UPDATE entry SET inode = 0, ctime = ?1"));
  RETURN_IF_ERROR(forget.BindInteger(1, kUnsettledCtime).Run());
  return transaction.Commit();
}

absl::StatusOr<uint64_t> VolumeIndex::CountRows() {
  ASSIGN_OR_RETURN(Statement count, database_.Prepare("SELECT count(*) FROM entry"));
  ASSIGN_OR_RETURN(const bool found, count.Step());
  UNDERSTUDY_CHECK(found);
  return count.Unsigned(0);
}

absl::StatusOr<std::optional<IndexRow>> VolumeIndex::Find(std::string_view path) {
  statements_->find.BindBlob(1, model::Key(path));
  return OneRow<IndexRow>(statements_->find, [](const Statement& row) { return ReadRow(row, 0); });
}

absl::StatusOr<std::optional<IndexEntry>> VolumeIndex::FindByInode(uint64_t inode) {
  statements_->find_inode.BindUnsigned(1, inode);
  return OneRow<IndexEntry>(statements_->find_inode, [](const Statement& row) {
    return IndexEntry{model::PathOfKey(row.Bytes(0)), ReadRow(row, 1)};
  });
}

absl::StatusOr<std::vector<IndexEntry>> VolumeIndex::ListBelow(std::string_view folder, std::string_view after_path,
                                                               size_t limit) {
  const auto [begin, end] = RangeBelow(model::Key(folder));
  const std::string after = model::Key(after_path);
  Statement& list = statements_->list;
  if (folder.empty()) {
    list.BindBlob(1, after).BindBlob(2, std::string(256, '\xff'));  // longer than any name of nothing but 0xff
  } else {
    list.BindBlob(1, after_path.empty() ? begin : after).BindBlob(2, end);
  }
  list.BindUnsigned(3, limit);
  return List(list);
}

absl::StatusOr<std::vector<IndexEntry>> VolumeIndex::List(Statement& statement) {
  std::vector<IndexEntry> entries;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return entries;
    entries.push_back({model::PathOfKey(statement.Bytes(0)), ReadRow(statement, 1)});
  }
}

absl::StatusOr<std::vector<IndexEntry>> VolumeIndex::ListByInode(uint64_t inode) {
  return List(statements_->list_inode.BindUnsigned(1, inode));
}

absl::StatusOr<std::vector<IndexEntry>> VolumeIndex::ListByFile(uint64_t file) {
  return List(statements_->list_file.BindUnsigned(1, file));
}

absl::StatusOr<uint64_t> VolumeIndex::NewFile() {
  if (last_file_ == 0) {
    ASSIGN_OR_RETURN(Statement highest, database_.Prepare("SELECT max(ifnull((SELECT max(file) FROM entry WHERE file "
                                                          "<> 0), 0), ifnull((SELECT max(file) FROM staged), 0))"));
    ASSIGN_OR_RETURN(const bool found, highest.Step());
    UNDERSTUDY_CHECK(found);
    last_file_ = highest.Unsigned(0);
  }
  return ++last_file_;
}

absl::StatusOr<std::vector<std::string>> VolumeIndex::ListLarge(uint64_t min_size) {
  ASSIGN_OR_RETURN(Statement list, database_.Prepare("SELECT key FROM entry WHERE kind = ?1 AND size >= ?2"));
  list.BindInteger(1, static_cast<int64_t>(model::FileKind::kRegular)).BindUnsigned(2, min_size);
  return Paths(list);
}

absl::StatusOr<std::vector<std::string>> VolumeIndex::ListUnsettled(size_t limit) {
  static_assert(kUnsettledCtime == INT64_MIN, "the partial index says -9223372036854775808");
  ASSIGN_OR_RETURN(Statement list,
                   database_.Prepare("SELECT key FROM entry WHERE ctime = -9223372036854775808 LIMIT ?1"));
  list.BindUnsigned(1, limit);
  return Paths(list);
}

absl::StatusOr<std::optional<SegmentRecord>> VolumeIndex::FindSegment(uint64_t inode, uint64_t number) {
  statements_->segment.BindUnsigned(1, inode).BindUnsigned(2, number);
  return OneRow<SegmentRecord>(statements_->segment, [&](const Statement& row) {
    return SegmentRecord{number, DigestFrom(row.Bytes(0)), row.String(1)};
  });
}

absl::StatusOr<std::vector<model::SegmentDigest>> VolumeIndex::ListSegmentDigests(uint64_t inode) {
  ASSIGN_OR_RETURN(Statement list,
                   database_.Prepare("SELECT number, digest FROM segment WHERE inode = ?1 ORDER BY number"));
  list.BindUnsigned(1, inode);
  std::vector<model::SegmentDigest> segments;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, list.Step());
    if (!found) return segments;
    segments.push_back({list.Unsigned(0), DigestFrom(list.Bytes(1))});
  }
}

absl::StatusOr<bool> VolumeIndex::DropSegmentsOfKey(std::string_view key, uint64_t unless_inode) {
  statements_->find.BindBlob(1, key);
  ASSIGN_OR_RETURN(const std::optional<IndexRow> row,
                   OneRow<IndexRow>(statements_->find, [](const Statement& found) { return ReadRow(found, 0); }));
  if (!row.has_value() || row->kind != model::FileKind::kRegular || row->inode == unless_inode) return row.has_value();
  statements_->count_inode.BindUnsigned(1, row->inode);
  ASSIGN_OR_RETURN(const std::optional<int64_t> names,
                   OneRow<int64_t>(statements_->count_inode, [](const Statement& found) { return found.Integer(0); }));
  if (names.value_or(0) > 1) return true;  // another hard link has that content still
  RETURN_IF_ERROR(statements_->drop_segments.BindUnsigned(1, row->inode).Run());
  return true;
}

absl::Status VolumeIndex::RemoveKey(std::string_view key) {
  ASSIGN_OR_RETURN(const bool there, DropSegmentsOfKey(key, 0));
  if (!there) return absl::OkStatus();
  if (!key.empty()) --entries_;
  return statements_->remove.BindBlob(1, key).Run();
}

absl::Status VolumeIndex::RemoveBelow(std::string_view key) {
  const auto [begin, end] = RangeBelow(key);
  // Segments of a file that has another name elsewhere stay; the rows have to be counted while they are there.
  RETURN_IF_ERROR(statements_->drop_segments_below.BindBlob(1, begin).BindBlob(2, end).Run());
  RETURN_IF_ERROR(statements_->remove_below.BindBlob(1, begin).BindBlob(2, end).Run());
  entries_ -= static_cast<uint64_t>(database_.ChangedRows());
  return absl::OkStatus();
}

absl::Status VolumeIndex::Move(std::string_view from_key, const std::string& to_key) {
  const auto [begin, end] = RangeBelow(from_key);
  return statements_->move.BindBlob(1, to_key).BindBlob(2, from_key).BindBlob(3, begin).BindBlob(4, end).Run();
}

absl::Status VolumeIndex::Apply(const IndexChange& change) {
  struct Visitor {
    VolumeIndex& index;
    Statements& sql;

    absl::Status operator()(const RemoveRow& op) const {
      const std::string key = model::Key(op.path);
      RETURN_IF_ERROR(index.RemoveKey(key));
      return index.RemoveBelow(key);
    }
    absl::Status operator()(const DetachRows& op) const {
      return index.Move(model::Key(op.path), DetachedKey(op.slot));
    }
    absl::Status operator()(const AttachRows& op) const {
      // A file that was there is replaced by the rename.
      const std::string key = model::Key(op.path);
      RETURN_IF_ERROR(index.RemoveKey(key));
      return index.Move(DetachedKey(op.slot), key);
    }
    absl::Status operator()(const CopySegments& op) const {
      return sql.copy_segments.BindUnsigned(1, op.from_inode).BindUnsigned(2, op.to_inode).Run();
    }
    absl::Status operator()(const PutRow& op) const {
      const std::string key = model::Key(op.path);
      ASSIGN_OR_RETURN(const bool there, index.DropSegmentsOfKey(key, op.row.inode));
      if (!there && !key.empty()) ++index.entries_;
      sql.put.BindBlob(1, key);
      BindRow(sql.put, 2, op.row);
      return sql.put.Run();
    }
    absl::Status operator()(const PutSegment& op) const {
      return sql.put_segment.BindUnsigned(1, op.inode)
          .BindUnsigned(2, op.segment.number)
          .BindBlob(3, BytesOf(op.segment.digest))
          .BindBlob(4, op.segment.signature)
          .Run();
    }
    absl::Status operator()(const RemoveSegment& op) const {
      return sql.remove_segment.BindUnsigned(1, op.inode).BindUnsigned(2, op.number).Run();
    }
    absl::Status operator()(const UnsettleRow& op) const {
      return sql.unsettle.BindBlob(1, model::Key(op.path))
          .BindInteger(2, kUnsettledCtime)
          .BindInteger(3, kUnknownMtime)
          .Run();
    }
    absl::Status operator()(const TruncateSegments& op) const {
      return sql.truncate_segments.BindUnsigned(1, op.inode).BindUnsigned(2, op.from_number).Run();
    }
  };
  return std::visit(Visitor{*this, *statements_}, change);
}

absl::Status VolumeIndex::Refresh(std::span<const IndexChange> changes) {
  if (changes.empty()) return absl::OkStatus();
  absl::Cleanup recount = [this, before = entries_] { entries_ = before; };
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  for (const IndexChange& change : changes) RETURN_IF_ERROR(Apply(change));
  RETURN_IF_ERROR(transaction.Commit());
  std::move(recount).Cancel();
  return absl::OkStatus();
}

absl::Status VolumeIndex::Stage(model::Sequence sequence, bool completes_capture, std::span<const IndexChange> changes,
                                std::string commit_id) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(database_.Execute("DELETE FROM staged"));
  ASSIGN_OR_RETURN(Statement insert,
                   database_.Prepare("INSERT INTO staged (change, key, slot, number, digest, signature, " ROW_COLUMNS
                                     ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, "
                                     "?16, ?17, ?18)"));
  struct Visitor {
    Statement& insert;

    void operator()(const UnsettleRow& op) const { insert.BindBlob(2, model::Key(op.path)); }
    void operator()(const RemoveRow& op) const { insert.BindBlob(2, model::Key(op.path)); }
    void operator()(const DetachRows& op) const { insert.BindBlob(2, model::Key(op.path)).BindInteger(3, op.slot); }
    void operator()(const AttachRows& op) const { insert.BindBlob(2, model::Key(op.path)).BindInteger(3, op.slot); }
    void operator()(const CopySegments& op) const {
      insert.BindUnsigned(4, op.from_inode).BindUnsigned(8, op.to_inode);
    }
    void operator()(const PutRow& op) const {
      insert.BindBlob(2, model::Key(op.path));
      BindRow(insert, 7, op.row);
    }
    void operator()(const PutSegment& op) const {
      insert.BindUnsigned(4, op.segment.number)
          .BindBlob(5, BytesOf(op.segment.digest))
          .BindBlob(6, op.segment.signature)
          .BindUnsigned(8, op.inode);
    }
    void operator()(const RemoveSegment& op) const { insert.BindUnsigned(4, op.number).BindUnsigned(8, op.inode); }
    void operator()(const TruncateSegments& op) const {
      insert.BindUnsigned(4, op.from_number).BindUnsigned(8, op.inode);
    }
  };
  constexpr int kParameters = 18;
  for (const IndexChange& change : changes) {
    for (int i = 1; i <= kParameters; ++i) insert.BindNull(i);
    insert.BindInteger(1, static_cast<int64_t>(change.index()));
    std::visit(Visitor{insert}, change);
    RETURN_IF_ERROR(insert.Run());
  }
  IndexState next = state_;
  next.staged_sequence = sequence;
  next.staged_commit_id = std::move(commit_id);
  next.staged_complete = completes_capture;
  RETURN_IF_ERROR(SaveState(next));
  RETURN_IF_ERROR(transaction.Commit());
  state_ = next;
  return absl::OkStatus();
}

absl::Status VolumeIndex::Acknowledge() {
  UNDERSTUDY_CHECK(state_.staged_sequence.has_value());
  absl::Cleanup recount = [this, before = entries_] { entries_ = before; };
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  {
    ASSIGN_OR_RETURN(Statement staged,
                     database_.Prepare("SELECT change, key, slot, number, digest, signature, " ROW_COLUMNS
                                       " FROM staged ORDER BY n"));
    for (;;) {
      ASSIGN_OR_RETURN(const bool found, staged.Step());
      if (!found) break;
      const std::string path = model::PathOfKey(staged.Bytes(1));
      const auto slot = static_cast<model::Slot>(staged.Integer(2));
      const uint64_t number = staged.Unsigned(3);
      const uint64_t inode = staged.Unsigned(7);
      IndexChange change;
      switch (static_cast<StagedChange>(staged.Integer(0))) {
        case kRemove:
          change = RemoveRow{path};
          break;
        case kDetach:
          change = DetachRows{path, slot};
          break;
        case kAttach:
          change = AttachRows{slot, path};
          break;
        case kCopySegments:
          change = CopySegments{number, inode};
          break;
        case kPut:
          change = PutRow{path, ReadRow(staged, 6)};
          break;
        case kPutSegment:
          change = PutSegment{inode, {number, DigestFrom(staged.Bytes(4)), staged.String(5)}};
          break;
        case kRemoveSegment:
          change = RemoveSegment{inode, number};
          break;
        case kTruncateSegments:
          change = TruncateSegments{inode, number};
          break;
        case kUnsettle:
          change = UnsettleRow{path};
          break;
      }
      RETURN_IF_ERROR(Apply(change));
    }
  }
  RETURN_IF_ERROR(database_.Execute("DELETE FROM staged"));
  IndexState next = state_;
  next.sequence = *state_.staged_sequence;
  next.commit_id = state_.staged_commit_id;
  next.complete = state_.complete || state_.staged_complete;
  next.staged_sequence.reset();
  next.staged_commit_id.clear();
  next.staged_complete = false;
  RETURN_IF_ERROR(SaveState(next));
  RETURN_IF_ERROR(transaction.Commit());
  std::move(recount).Cancel();
  state_ = next;
  return absl::OkStatus();
}

absl::Status VolumeIndex::DropStaged() {
  if (!state_.staged_sequence.has_value()) return absl::OkStatus();
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(database_.Execute("DELETE FROM staged"));
  IndexState next = state_;
  next.staged_sequence.reset();
  next.staged_commit_id.clear();
  next.staged_complete = false;
  RETURN_IF_ERROR(SaveState(next));
  RETURN_IF_ERROR(transaction.Commit());
  state_ = next;
  return absl::OkStatus();
}

absl::Status VolumeIndex::Rebuild(const IndexState& state, const std::function<absl::Status(VolumeIndex&)>& fill) {
  absl::Cleanup recount = [this, before = entries_] { entries_ = before; };
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(database_.Execute("DELETE FROM staged; DELETE FROM entry; DELETE FROM segment"));
  entries_ = 0;
  last_file_ = 0;
  RETURN_IF_ERROR(fill(*this));
  IndexState next = state;
  next.staged_sequence.reset();
  next.staged_commit_id.clear();
  next.staged_complete = false;
  RETURN_IF_ERROR(SaveState(next));
  RETURN_IF_ERROR(transaction.Commit());
  std::move(recount).Cancel();
  state_ = next;
  return absl::OkStatus();
}

absl::Status VolumeIndex::PutRebuilt(const std::string& path, const IndexRow& row) {
  return Apply(PutRow{path, row});
}

}  // namespace understudy::primary
