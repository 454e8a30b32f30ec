#include "agent-primary/rules/object_keeper_store.h"

#include <array>
#include <string_view>
#include <utility>

namespace understudy::primary {
namespace {

constexpr std::array<std::string_view, 1> kSchema = {
    "CREATE TABLE cluster(id INTEGER PRIMARY KEY CHECK (id = 1), uid TEXT NOT NULL);"
    "CREATE TABLE count(kind TEXT NOT NULL, minute INTEGER NOT NULL, entries INTEGER NOT NULL,"
    "  PRIMARY KEY(kind, minute)) WITHOUT ROWID;"
    "CREATE TABLE hold(kind TEXT PRIMARY KEY, entries_before INTEGER NOT NULL, list_is_empty INTEGER NOT NULL,"
    "  since_nanoseconds INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE held(kind TEXT NOT NULL, namespace_name TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL,"
    "  resource TEXT NOT NULL, event_id TEXT NOT NULL, approved INTEGER NOT NULL,"
    "  PRIMARY KEY(kind, namespace_name, name)) WITHOUT ROWID;",
};

}  // namespace

absl::StatusOr<ObjectKeeperStore> ObjectKeeperStore::Open(const std::string& path) {
  ASSIGN_OR_RETURN(store::Database database, store::Database::Open(path, {.durability = store::Durability::kFull}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  return ObjectKeeperStore(std::move(database));
}

absl::StatusOr<ObjectKeeperStore::Contents> ObjectKeeperStore::Read() {
  Contents contents;
  ASSIGN_OR_RETURN(store::Statement cluster, database_.Prepare("SELECT uid FROM cluster"));
  ASSIGN_OR_RETURN(const bool known, cluster.Step());
  if (known) contents.cluster_uid = cluster.String(0);
  RETURN_IF_ERROR(ReadRows(contents));
  return contents;
}

absl::Status ObjectKeeperStore::ReadRows(Contents& contents) {
  ASSIGN_OR_RETURN(store::Statement counts,
                   database_.Prepare("SELECT kind, minute, entries FROM count ORDER BY minute"));
  while (true) {
    ASSIGN_OR_RETURN(const bool found, counts.Step());
    if (!found) break;
    ASSIGN_OR_RETURN(const model::ObjectKind kind, model::ParseObjectKind(counts.Bytes(0)));
    contents.counts[kind].counts.push_back({.minute = counts.Integer(1), .entries = counts.Unsigned(2)});
  }
  ASSIGN_OR_RETURN(store::Statement holds,
                   database_.Prepare("SELECT kind, entries_before, list_is_empty, since_nanoseconds FROM hold"));
  while (true) {
    ASSIGN_OR_RETURN(const bool found, holds.Step());
    if (!found) break;
    ASSIGN_OR_RETURN(const model::ObjectKind kind, model::ParseObjectKind(holds.Bytes(0)));
    contents.holds[kind] = {.hold = {.before = holds.Unsigned(1), .gone = 0, .list_is_empty = holds.Integer(2) != 0},
                            .since_nanoseconds = holds.Integer(3)};
  }
  ASSIGN_OR_RETURN(store::Statement held,
                   database_.Prepare("SELECT kind, namespace_name, name, uid, resource, event_id, approved FROM held"));
  while (true) {
    ASSIGN_OR_RETURN(const bool found, held.Step());
    if (!found) return absl::OkStatus();
    ObjectDeletion deletion;
    ASSIGN_OR_RETURN(deletion.key.kind, model::ParseObjectKind(held.Bytes(0)));
    deletion.key.namespace_name = held.String(1);
    deletion.key.name = held.String(2);
    deletion.uid = held.String(3);
    deletion.resource = held.String(4);
    deletion.event_id = held.String(5);
    (held.Integer(6) != 0 ? contents.approved : contents.held).push_back(std::move(deletion));
  }
}

absl::Status ObjectKeeperStore::SetCluster(const std::string& uid) {
  ASSIGN_OR_RETURN(store::Statement write, database_.Prepare("INSERT OR REPLACE INTO cluster(id, uid) VALUES(1, ?)"));
  return write.BindText(1, uid).Run();
}

absl::Status ObjectKeeperStore::WriteCounts(model::ObjectKind kind, const GuardRecord& counts) {
  ASSIGN_OR_RETURN(store::Statement clear, database_.Prepare("DELETE FROM count WHERE kind = ?"));
  RETURN_IF_ERROR(clear.BindText(1, model::ToString(kind)).Run());
  ASSIGN_OR_RETURN(store::Statement add, database_.Prepare("INSERT INTO count(kind, minute, entries) VALUES(?, ?, ?)"));
  for (const EntryCount& count : counts.counts) {
    add.BindText(1, model::ToString(kind)).BindInteger(2, count.minute).BindUnsigned(3, count.entries);
    RETURN_IF_ERROR(add.Run());
  }
  return absl::OkStatus();
}

absl::Status ObjectKeeperStore::WriteHold(model::ObjectKind kind, const std::optional<KindHold>& hold) {
  if (!hold) {
    ASSIGN_OR_RETURN(store::Statement clear, database_.Prepare("DELETE FROM hold WHERE kind = ?"));
    return clear.BindText(1, model::ToString(kind)).Run();
  }
  ASSIGN_OR_RETURN(store::Statement write,
                   database_.Prepare("INSERT OR REPLACE INTO hold(kind, entries_before, list_is_empty,"
                                     " since_nanoseconds) VALUES(?, ?, ?, ?)"));
  write.BindText(1, model::ToString(kind)).BindUnsigned(2, hold->hold.before);
  return write.BindInteger(3, hold->hold.list_is_empty).BindInteger(4, hold->since_nanoseconds).Run();
}

absl::Status ObjectKeeperStore::WriteHeld(const ObjectDeletion& deletion, bool approved) {
  ASSIGN_OR_RETURN(store::Statement write,
                   database_.Prepare("INSERT OR REPLACE INTO held(kind, namespace_name, name, uid, resource, event_id,"
                                     " approved) VALUES(?, ?, ?, ?, ?, ?, ?)"));
  write.BindText(1, model::ToString(deletion.key.kind)).BindText(2, deletion.key.namespace_name);
  write.BindText(3, deletion.key.name).BindText(4, deletion.uid).BindText(5, deletion.resource);
  return write.BindText(6, deletion.event_id).BindInteger(7, approved ? 1 : 0).Run();
}

absl::Status ObjectKeeperStore::SetCounts(model::ObjectKind kind, const GuardRecord& counts) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(WriteCounts(kind, counts));
  return transaction.Commit();
}

absl::Status ObjectKeeperStore::SetHeld(model::ObjectKind kind, const std::optional<KindHold>& hold,
                                        const std::vector<ObjectDeletion>& held) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  ASSIGN_OR_RETURN(store::Statement clear, database_.Prepare("DELETE FROM held WHERE kind = ? AND NOT approved"));
  RETURN_IF_ERROR(clear.BindText(1, model::ToString(kind)).Run());
  RETURN_IF_ERROR(WriteHold(kind, hold));
  for (const ObjectDeletion& deletion : held) RETURN_IF_ERROR(WriteHeld(deletion, /*approved=*/false));
  return transaction.Commit();
}

absl::Status ObjectKeeperStore::AddHeld(model::ObjectKind kind, const KindHold& hold, const ObjectDeletion& deletion) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(WriteHold(kind, hold));
  RETURN_IF_ERROR(WriteHeld(deletion, /*approved=*/false));
  return transaction.Commit();
}

absl::Status ObjectKeeperStore::AddApproved(const ObjectDeletion& deletion) {
  return WriteHeld(deletion, /*approved=*/true);
}

absl::Status ObjectKeeperStore::ApproveHeld(model::ObjectKind kind, const GuardRecord& counts) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  ASSIGN_OR_RETURN(store::Statement approve, database_.Prepare("UPDATE held SET approved = 1 WHERE kind = ?"));
  RETURN_IF_ERROR(approve.BindText(1, model::ToString(kind)).Run());
  RETURN_IF_ERROR(WriteHold(kind, std::nullopt));
  RETURN_IF_ERROR(WriteCounts(kind, counts));
  return transaction.Commit();
}

absl::Status ObjectKeeperStore::Forget(const model::ObjectKey& key, bool last_of_hold) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  ASSIGN_OR_RETURN(store::Statement clear,
                   database_.Prepare("DELETE FROM held WHERE kind = ? AND namespace_name = ? AND name = ?"));
  clear.BindText(1, model::ToString(key.kind)).BindText(2, key.namespace_name).BindText(3, key.name);
  RETURN_IF_ERROR(clear.Run());
  if (last_of_hold) RETURN_IF_ERROR(WriteHold(key.kind, std::nullopt));
  return transaction.Commit();
}

}  // namespace understudy::primary
