#include "agent-dr/commit/volume_store.h"

#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/wire/replication_codec.h"

namespace understudy::dr {
namespace {

constexpr std::array<std::string_view, 10> kSchema = {
    "CREATE TABLE replica("
    "  one INTEGER PRIMARY KEY CHECK(one = 1),"
    "  volume TEXT NOT NULL, replica_id TEXT NOT NULL, root BLOB NOT NULL,"
    "  root_inode INTEGER NOT NULL, root_btime_nanoseconds INTEGER NOT NULL,"
    "  epoch INTEGER NOT NULL, state TEXT NOT NULL,"
    "  sequence INTEGER NOT NULL, published_sequence INTEGER NOT NULL, complete INTEGER NOT NULL);"
    "CREATE TABLE record("
    "  sequence INTEGER PRIMARY KEY, operations BLOB NOT NULL,"
    "  work_inode INTEGER NOT NULL, work_btime_nanoseconds INTEGER NOT NULL);"
    "CREATE TABLE record_source("
    "  operation INTEGER PRIMARY KEY, inode INTEGER NOT NULL, btime_nanoseconds INTEGER NOT NULL);",
    "ALTER TABLE record_source ADD COLUMN several_names INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE record ADD COLUMN digest BLOB;"
    "CREATE TABLE record_patch("
    "  operation INTEGER PRIMARY KEY, inode INTEGER NOT NULL, btime_nanoseconds INTEGER NOT NULL,"
    "  ranges BLOB NOT NULL);",
    "ALTER TABLE record ADD COLUMN keeps INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE record ADD COLUMN runs INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE replica ADD COLUMN point INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE replica ADD COLUMN point_committed_nanoseconds INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE replica ADD COLUMN point_captured_nanoseconds INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE replica ADD COLUMN point_completes_capture INTEGER NOT NULL DEFAULT 0;"
    "UPDATE replica SET point = sequence;"
    "CREATE TABLE undo("
    "  sequence INTEGER PRIMARY KEY, from_point INTEGER NOT NULL, point INTEGER NOT NULL UNIQUE,"
    "  committed_nanoseconds INTEGER NOT NULL, captured_nanoseconds INTEGER NOT NULL,"
    "  completes_capture INTEGER NOT NULL, complete INTEGER NOT NULL, superseded_nanoseconds INTEGER NOT NULL,"
    "  held_bytes INTEGER NOT NULL, measured INTEGER NOT NULL);"
    "CREATE TABLE undo_operations("
    "  sequence INTEGER PRIMARY KEY, operations BLOB NOT NULL, digest BLOB NOT NULL);"
    "CREATE TABLE undo_content("
    "  sequence INTEGER NOT NULL, kept INTEGER NOT NULL, ranges BLOB NOT NULL,"
    "  PRIMARY KEY(sequence, kept)) WITHOUT ROWID;",
    "ALTER TABLE replica ADD COLUMN commit_id TEXT NOT NULL DEFAULT '';",
    "ALTER TABLE replica ADD COLUMN held INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE undo ADD COLUMN knows_several_names INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE undo_several_names("
    "  sequence INTEGER NOT NULL, kept INTEGER NOT NULL, path BLOB NOT NULL,"
    "  PRIMARY KEY(sequence, kept, path)) WITHOUT ROWID;"
    "CREATE TABLE undo_move("
    "  sequence INTEGER NOT NULL, entry INTEGER NOT NULL, into_sequence INTEGER NOT NULL, into_entry INTEGER NOT NULL,"
    "  PRIMARY KEY(sequence, entry)) WITHOUT ROWID;"
    "CREATE TABLE point_label("
    "  point INTEGER PRIMARY KEY, label TEXT NOT NULL, pinned INTEGER NOT NULL);",
    kContentSchema,
    "ALTER TABLE replica ADD COLUMN state_since_nanoseconds INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE replica ADD COLUMN awaits_primary INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE replica ADD COLUMN hooks_due INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE replica ADD COLUMN reprotected INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE replica ADD COLUMN adopted_epoch INTEGER NOT NULL DEFAULT 0;",
    // Content digests are sums from here on: those that are kept say nothing, nor do those of the undo records that
    // there are.
    "UPDATE content SET digest = NULL;"
    "DELETE FROM content_damage;"
    "ALTER TABLE replica ADD COLUMN digests_after INTEGER NOT NULL DEFAULT 0;"
    "UPDATE replica SET digests_after = sequence;",
    "ALTER TABLE replica ADD COLUMN point_consistency INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE undo ADD COLUMN consistency INTEGER NOT NULL DEFAULT 0;",
};

// Column awaits_primary.
constexpr int kNobody = 0;
constexpr int kAwaitsPrimary = 1;
constexpr int kAwaitsPrimaryWhole = 2;  // demoted_whole

int AwaitsOf(const model::ReplicaState& state) {
  if (!state.awaits_primary) return kNobody;
  return state.demoted_whole ? kAwaitsPrimaryWhole : kAwaitsPrimary;
}

// Over everything that a replay acts on.
std::string DigestOfRecord(std::string_view operations, const CommitRecord& record) {
  std::string bytes(operations);
  const auto add = [&bytes](size_t operation, const Identity& identity) {
    bytes += fmt::format(";{},{},{},", operation, identity.inode, identity.btime_nanoseconds);
  };
  for (const auto& [operation, entry] : record.sources) {
    add(operation, entry.identity);
    bytes += entry.several_names ? '1' : '0';
  }
  for (const auto& [operation, file] : record.patches) {
    add(operation, file.identity);
    bytes += SerializeRanges(file.ranges);
  }
  if (record.keeps || record.runs != 0) bytes += fmt::format(";{},{}", record.keeps ? 1 : 0, record.runs);
  return std::string(delta::BytesOf(delta::DigestOf(bytes)));
}

}  // namespace

absl::StatusOr<VolumeStore> VolumeStore::Open(const std::string& folder) {
  ASSIGN_OR_RETURN(
      store::Database database,
      store::Database::Open(folder + "/replica.db", {.durability = store::Durability::kFull, .exclusive = true}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  return VolumeStore(std::move(database));
}

absl::StatusOr<std::optional<StoredReplica>> VolumeStore::Load() {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare(
                       "SELECT volume, replica_id, root, root_inode, root_btime_nanoseconds, epoch, state,"
                       " sequence, published_sequence, complete, point, point_committed_nanoseconds,"
                       " point_captured_nanoseconds, point_completes_capture, commit_id, state_since_nanoseconds,"
                       " awaits_primary, hooks_due, held, reprotected, adopted_epoch, point_consistency FROM replica"));
  ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return std::nullopt;
  StoredReplica replica;
  replica.state.volume = query.String(0);
  replica.state.replica_id = query.String(1);
  replica.state.root = query.String(2);
  replica.root_folder = {query.Unsigned(3), query.Integer(4)};
  replica.state.epoch = query.Unsigned(5);
  ASSIGN_OR_RETURN(replica.state.state, model::ParseVolumeState(query.Bytes(6)));
  replica.state.sequence = query.Unsigned(7);
  replica.state.published_sequence = query.Unsigned(8);
  replica.state.complete = query.Integer(9) != 0;
  replica.state.commit_id = query.String(14);
  replica.state.state_since_nanoseconds = query.Integer(15);
  replica.state.awaits_primary = query.Integer(16) != kNobody;
  replica.state.demoted_whole = query.Integer(16) == kAwaitsPrimaryWhole;
  replica.state.hooks_due = query.Integer(17) != 0;
  replica.state.held = query.Integer(18) != 0;
  replica.state.reprotected = query.Integer(19) != 0;
  replica.state.adopted_epoch = query.Unsigned(20);
  replica.point = {query.Unsigned(10), query.Integer(11), query.Integer(12), query.Integer(13) != 0,
                   replica.state.complete || replica.state.demoted_whole};
  replica.point.consistency = model::ConsistencyOf(query.Integer(21));
  return replica;
}

absl::Status VolumeStore::Create(const StoredReplica& replica, const std::optional<PointLabel>& label) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  ASSIGN_OR_RETURN(store::Statement insert,
                   database_.Prepare("INSERT INTO replica(one, volume, replica_id, root, root_inode,"
                                     " root_btime_nanoseconds, epoch, state, sequence, published_sequence, complete,"
                                     " state_since_nanoseconds, adopted_epoch, reprotected)"
                                     " VALUES(1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  const model::ReplicaState& state = replica.state;
  insert.BindText(1, state.volume).BindText(2, state.replica_id).BindBlob(3, state.root);
  insert.BindUnsigned(4, replica.root_folder.inode).BindInteger(5, replica.root_folder.btime_nanoseconds);
  insert.BindUnsigned(6, state.epoch).BindText(7, model::ToString(state.state));
  insert.BindUnsigned(8, state.sequence).BindUnsigned(9, state.published_sequence).BindInteger(10, state.complete);
  insert.BindInteger(11, state.state_since_nanoseconds).BindUnsigned(12, state.adopted_epoch);
  insert.BindInteger(13, state.reprotected);
  RETURN_IF_ERROR(insert.Run());
  RETURN_IF_ERROR(WritePoint(replica.point));
  if (label.has_value()) RETURN_IF_ERROR(SetLabel(*label));
  return transaction.Commit();
}

absl::StatusOr<std::optional<CommitRecord>> VolumeStore::LoadRecord() {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT operations, work_inode, work_btime_nanoseconds, digest, keeps, runs"
                                     " FROM record"));
  ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return std::nullopt;
  CommitRecord record;
  const std::string operations = query.String(0);
  record.work_folder = {query.Unsigned(1), query.Integer(2)};
  const std::string digest = query.String(3);
  const bool has_digest = !query.IsNull(3);  // user_version 1 wrote none
  record.keeps = query.Integer(4) != 0;
  record.runs = query.Unsigned(5);
  RETURN_IF_ERROR(LoadVacated(record));
  RETURN_IF_ERROR(LoadPatches(record));
  if (has_digest && digest != DigestOfRecord(operations, record)) {
    return absl::DataLossError(fmt::format(
        "the commit record in '{}' is damaged, so the newest commit can't be finished: check the disk, stop "
        "understudy-dr, take the folder of this file away, and the volume is compared and sent anew",
        Printable(database_.path())));
  }
  ASSIGN_OR_RETURN(record.commit, wire::DeserializeCommit(operations));
  return record;
}

absl::Status VolumeStore::LoadVacated(CommitRecord& record) {
  ASSIGN_OR_RETURN(store::Statement sources,
                   database_.Prepare("SELECT operation, inode, btime_nanoseconds, several_names FROM record_source"));
  while (true) {
    ASSIGN_OR_RETURN(const bool more, sources.Step());
    if (!more) return absl::OkStatus();
    record.sources[sources.Unsigned(0)] = {{sources.Unsigned(1), sources.Integer(2)}, sources.Integer(3) != 0};
  }
}

absl::Status VolumeStore::LoadPatches(CommitRecord& record) {
  ASSIGN_OR_RETURN(store::Statement patches,
                   database_.Prepare("SELECT operation, inode, btime_nanoseconds, ranges FROM record_patch"));
  while (true) {
    ASSIGN_OR_RETURN(const bool more, patches.Step());
    if (!more) return absl::OkStatus();
    ASSIGN_OR_RETURN(std::vector<ContentRange> ranges, ParseRanges(patches.Bytes(3)));
    record.patches[patches.Unsigned(0)] = {{patches.Unsigned(1), patches.Integer(2)}, std::move(ranges)};
  }
}

absl::Status VolumeStore::DeleteRecord() {
  RETURN_IF_ERROR(database_.Execute("DELETE FROM record_patch"));
  RETURN_IF_ERROR(database_.Execute("DELETE FROM record_source"));
  return database_.Execute("DELETE FROM record");
}

absl::Status VolumeStore::WriteSequences(const model::ReplicaState& state) {
  ASSIGN_OR_RETURN(
      store::Statement update,
      database_.Prepare("UPDATE replica SET sequence = ?, published_sequence = ?, complete = ?, commit_id = ?"));
  return update.BindUnsigned(1, state.sequence)
      .BindUnsigned(2, state.published_sequence)
      .BindInteger(3, state.complete)
      .BindText(4, state.commit_id)
      .Run();
}

absl::Status VolumeStore::Commit(const CommitRecord& record, const model::ReplicaState& state, const Point& point,
                                 UndoChanges& undo, const ContentChanges& contents) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(DeleteRecord());
  ASSIGN_OR_RETURN(store::Statement insert, database_.Prepare("INSERT INTO record VALUES(?, ?, ?, ?, ?, ?, ?)"));
  const std::string operations = wire::SerializeCommit(record.commit);
  insert.BindUnsigned(1, record.commit.sequence).BindBlob(2, operations);
  insert.BindBlob(5, DigestOfRecord(operations, record));
  insert.BindInteger(6, record.keeps).BindUnsigned(7, record.runs);
  insert.BindUnsigned(3, record.work_folder.inode).BindInteger(4, record.work_folder.btime_nanoseconds);
  RETURN_IF_ERROR(insert.Run());
  ASSIGN_OR_RETURN(store::Statement source, database_.Prepare("INSERT INTO record_source VALUES(?, ?, ?, ?)"));
  for (const auto& [operation, entry] : record.sources) {
    source.BindUnsigned(1, operation).BindUnsigned(2, entry.identity.inode);
    source.BindInteger(3, entry.identity.btime_nanoseconds).BindInteger(4, entry.several_names);
    RETURN_IF_ERROR(source.Run());
  }
  ASSIGN_OR_RETURN(store::Statement patch, database_.Prepare("INSERT INTO record_patch VALUES(?, ?, ?, ?)"));
  for (const auto& [operation, file] : record.patches) {
    patch.BindUnsigned(1, operation).BindUnsigned(2, file.identity.inode);
    patch.BindInteger(3, file.identity.btime_nanoseconds).BindBlob(4, SerializeRanges(file.ranges));
    RETURN_IF_ERROR(patch.Run());
  }
  RETURN_IF_ERROR(ChangeUndo(record, undo));
  RETURN_IF_ERROR(this->contents().Apply(contents, record.commit.sequence));
  RETURN_IF_ERROR(WriteSequences(state));
  RETURN_IF_ERROR(WritePoint(point));
  // Who commits knows the epoch.
  RETURN_IF_ERROR(database_.Execute("UPDATE replica SET awaits_primary = 0"));
  return transaction.Commit();
}

absl::Status VolumeStore::WritePoint(const Point& point) {
  ASSIGN_OR_RETURN(store::Statement update,
                   database_.Prepare("UPDATE replica SET point = ?, point_committed_nanoseconds = ?,"
                                     " point_captured_nanoseconds = ?, point_completes_capture = ?,"
                                     " point_consistency = ?"));
  return update.BindUnsigned(1, point.sequence)
      .BindInteger(2, point.committed_at_nanoseconds)
      .BindInteger(3, point.captured_at_nanoseconds)
      .BindInteger(4, point.completes_capture)
      .BindInteger(5, static_cast<int64_t>(point.consistency))
      .Run();
}

absl::Status VolumeStore::Settle(const model::ReplicaState& state) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(DeleteRecord());
  RETURN_IF_ERROR(WriteSequences(state));
  return transaction.Commit();
}

absl::Status VolumeStore::SetEpoch(model::Epoch epoch) {
  ASSIGN_OR_RETURN(store::Statement update, database_.Prepare("UPDATE replica SET epoch = ?"));
  return update.BindUnsigned(1, epoch).Run();
}

absl::Status VolumeStore::SetReprotected() {
  return database_.Execute("UPDATE replica SET reprotected = 1");
}

absl::Status VolumeStore::ChangeState(const model::ReplicaState& state, const Point& point,
                                      const std::optional<PointLabel>& label) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  ASSIGN_OR_RETURN(
      store::Statement update,
      database_.Prepare("UPDATE replica SET state = ?, state_since_nanoseconds = ?, epoch = ?, awaits_primary = ?,"
                        " hooks_due = ?, held = ?, reprotected = ?, adopted_epoch = ?"));
  update.BindText(1, model::ToString(state.state)).BindInteger(2, state.state_since_nanoseconds);
  update.BindUnsigned(3, state.epoch).BindInteger(4, AwaitsOf(state)).BindInteger(5, state.hooks_due);
  update.BindInteger(6, state.held).BindInteger(7, state.reprotected).BindUnsigned(8, state.adopted_epoch);
  RETURN_IF_ERROR(update.Run());
  RETURN_IF_ERROR(WriteSequences(state));
  RETURN_IF_ERROR(WritePoint(point));
  ASSIGN_OR_RETURN(const std::vector<UndoAbout> records, ListUndo());
  std::vector<model::Sequence> sequences;
  for (const UndoAbout& about : records) sequences.push_back(about.sequence);
  RETURN_IF_ERROR(DeleteUndo(sequences));
  RETURN_IF_ERROR(database_.Execute("DELETE FROM undo_move"));
  RETURN_IF_ERROR(database_.Execute("DELETE FROM point_label"));
  if (label.has_value()) RETURN_IF_ERROR(SetLabel(*label));
  // What files should hold is only known while nobody but the primary's commits change them.
  RETURN_IF_ERROR(database_.Execute("DELETE FROM content"));
  RETURN_IF_ERROR(database_.Execute("DELETE FROM content_damage"));
  RETURN_IF_ERROR(database_.Execute("UPDATE content_scrub SET holds_entries = NULL, under_way = 0, path = x''"));
  return transaction.Commit();
}

absl::Status VolumeStore::SetHooksRun() {
  return database_.Execute("UPDATE replica SET hooks_due = 0");
}

absl::StatusOr<std::vector<PointLabel>> VolumeStore::ListLabels() {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT point, label, pinned FROM point_label ORDER BY point"));
  std::vector<PointLabel> labels;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, query.Step());
    if (!more) return labels;
    labels.push_back({query.Unsigned(0), query.String(1), query.Integer(2) != 0});
  }
}

absl::Status VolumeStore::SetLabel(const PointLabel& label) {
  ASSIGN_OR_RETURN(store::Statement insert, database_.Prepare("INSERT OR REPLACE INTO point_label VALUES(?, ?, ?)"));
  return insert.BindUnsigned(1, label.point).BindText(2, label.label).BindInteger(3, label.pinned).Run();
}

absl::Status VolumeStore::DropLabel(model::Sequence point) {
  ASSIGN_OR_RETURN(store::Statement remove, database_.Prepare("DELETE FROM point_label WHERE point = ?"));
  return remove.BindUnsigned(1, point).Run();
}

absl::Status VolumeStore::SetHeld(bool held) {
  ASSIGN_OR_RETURN(store::Statement update, database_.Prepare("UPDATE replica SET held = ?"));
  return update.BindInteger(1, held).Run();
}

}  // namespace understudy::dr
