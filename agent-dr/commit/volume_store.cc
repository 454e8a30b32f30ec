#include "agent-dr/commit/volume_store.h"

#include <array>
#include <string_view>

#include "core/wire/replication_codec.h"

namespace understudy::dr {
namespace {

constexpr std::array<std::string_view, 2> kSchema = {
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
    "ALTER TABLE record_source ADD COLUMN several_names INTEGER NOT NULL DEFAULT 0;",
};

}  // namespace

absl::StatusOr<VolumeStore> VolumeStore::Open(const std::string& folder) {
  ASSIGN_OR_RETURN(store::Database database,
                   store::Database::Open(folder + "/replica.db", {.durability = store::Durability::kFull}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  return VolumeStore(std::move(database));
}

absl::StatusOr<std::optional<StoredReplica>> VolumeStore::Load() {
  ASSIGN_OR_RETURN(
      store::Statement query,
      database_.Prepare("SELECT volume, replica_id, root, root_inode, root_btime_nanoseconds, epoch, state,"
                        " sequence, published_sequence, complete FROM replica"));
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
  return replica;
}

absl::Status VolumeStore::Create(const StoredReplica& replica) {
  ASSIGN_OR_RETURN(store::Statement insert,
                   database_.Prepare("INSERT INTO replica VALUES(1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  const model::ReplicaState& state = replica.state;
  insert.BindText(1, state.volume).BindText(2, state.replica_id).BindBlob(3, state.root);
  insert.BindUnsigned(4, replica.root_folder.inode).BindInteger(5, replica.root_folder.btime_nanoseconds);
  insert.BindUnsigned(6, state.epoch).BindText(7, model::ToString(state.state));
  insert.BindUnsigned(8, state.sequence).BindUnsigned(9, state.published_sequence).BindInteger(10, state.complete);
  return insert.Run();
}

absl::StatusOr<std::optional<CommitRecord>> VolumeStore::LoadRecord() {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT operations, work_inode, work_btime_nanoseconds FROM record"));
  ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return std::nullopt;
  CommitRecord record;
  ASSIGN_OR_RETURN(record.commit, wire::DeserializeCommit(query.Bytes(0)));
  record.work_folder = {query.Unsigned(1), query.Integer(2)};
  ASSIGN_OR_RETURN(store::Statement sources,
                   database_.Prepare("SELECT operation, inode, btime_nanoseconds, several_names FROM record_source"));
  while (true) {
    ASSIGN_OR_RETURN(const bool more, sources.Step());
    if (!more) return record;
    record.sources[sources.Unsigned(0)] = {{sources.Unsigned(1), sources.Integer(2)}, sources.Integer(3) != 0};
  }
}

absl::Status VolumeStore::DeleteRecord() {
  RETURN_IF_ERROR(database_.Execute("DELETE FROM record_source"));
  return database_.Execute("DELETE FROM record");
}

absl::Status VolumeStore::WriteSequences(const model::ReplicaState& state) {
  ASSIGN_OR_RETURN(store::Statement update,
                   database_.Prepare("UPDATE replica SET sequence = ?, published_sequence = ?, complete = ?"));
  return update.BindUnsigned(1, state.sequence)
      .BindUnsigned(2, state.published_sequence)
      .BindInteger(3, state.complete)
      .Run();
}

absl::Status VolumeStore::Commit(const CommitRecord& record, const model::ReplicaState& state) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(DeleteRecord());
  ASSIGN_OR_RETURN(store::Statement insert, database_.Prepare("INSERT INTO record VALUES(?, ?, ?, ?)"));
  insert.BindUnsigned(1, record.commit.sequence).BindBlob(2, wire::SerializeCommit(record.commit));
  insert.BindUnsigned(3, record.work_folder.inode).BindInteger(4, record.work_folder.btime_nanoseconds);
  RETURN_IF_ERROR(insert.Run());
  ASSIGN_OR_RETURN(store::Statement source, database_.Prepare("INSERT INTO record_source VALUES(?, ?, ?, ?)"));
  for (const auto& [operation, entry] : record.sources) {
    source.BindUnsigned(1, operation).BindUnsigned(2, entry.identity.inode);
    source.BindInteger(3, entry.identity.btime_nanoseconds).BindInteger(4, entry.several_names);
    RETURN_IF_ERROR(source.Run());
  }
  RETURN_IF_ERROR(WriteSequences(state));
  return transaction.Commit();
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

}  // namespace understudy::dr
