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
    "ALTER TABLE record_source ADD COLUMN several_names INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE record ADD COLUMN digest BLOB;"
    "CREATE TABLE record_patch("
    "  operation INTEGER PRIMARY KEY, inode INTEGER NOT NULL, btime_nanoseconds INTEGER NOT NULL,"
    "  ranges BLOB NOT NULL);",
};

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
  const model::Digest digest = delta::DigestOf(bytes);
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

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
                   database_.Prepare("SELECT operations, work_inode, work_btime_nanoseconds, digest FROM record"));
  ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return std::nullopt;
  CommitRecord record;
  const std::string operations = query.String(0);
  record.work_folder = {query.Unsigned(1), query.Integer(2)};
  const std::string digest = query.String(3);
  const bool has_digest = !query.IsNull(3);  // user_version 1 wrote none
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
  ASSIGN_OR_RETURN(store::Statement insert, database_.Prepare("INSERT INTO record VALUES(?, ?, ?, ?, ?)"));
  const std::string operations = wire::SerializeCommit(record.commit);
  insert.BindUnsigned(1, record.commit.sequence).BindBlob(2, operations);
  insert.BindBlob(5, DigestOfRecord(operations, record));
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
