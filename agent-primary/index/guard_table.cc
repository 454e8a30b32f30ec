#include "agent-primary/index/guard_table.h"

namespace understudy::primary {

using store::Statement;

absl::StatusOr<GuardRecord> LoadGuard(store::Database& database) {
  GuardRecord record;
  ASSIGN_OR_RETURN(Statement load, database.Prepare("SELECT entries_before, entries_gone, since, approved, "
                                                    "root_filesystem, root_inode, root_btime FROM guard"));
  ASSIGN_OR_RETURN(const bool found, load.Step());
  if (!found) return absl::DataLossError("the index " + database.path() + " has no guard: remove the file");
  if (!load.IsNull(0)) {
    record.held = HeldDeletion{load.Unsigned(0), load.Unsigned(1), load.Integer(2), load.Integer(3) != 0};
  }
  if (!load.IsNull(5)) record.root = RootIdentity{load.Unsigned(4), load.Unsigned(5), load.Integer(6)};
  ASSIGN_OR_RETURN(Statement counts, database.Prepare("SELECT minute, entries FROM guard_count ORDER BY minute"));
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, counts.Step());
    if (!more) return record;
    record.counts.push_back({counts.Integer(0), counts.Unsigned(1)});
  }
}

absl::Status StoreGuard(store::Database& database, const GuardRecord& before, const GuardRecord& record) {
  ASSIGN_OR_RETURN(Statement save, database.Prepare("UPDATE guard SET entries_before = ?1, entries_gone = ?2, since = "
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
  if (record.counts == before.counts) return absl::OkStatus();
  RETURN_IF_ERROR(database.Execute("DELETE FROM guard_count"));
  ASSIGN_OR_RETURN(Statement put, database.Prepare("INSERT INTO guard_count VALUES (?1, ?2)"));
  for (const EntryCount& count : record.counts) {
    RETURN_IF_ERROR(put.BindInteger(1, count.minute).BindUnsigned(2, count.entries).Run());
  }
  return absl::OkStatus();
}

}  // namespace understudy::primary
