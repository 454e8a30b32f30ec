#include "agent-primary/index/base_table.h"

#include "agent-primary/index/index_schema.h"
#include "core/model/path.h"

namespace understudy::primary {

using store::Statement;

absl::StatusOr<std::optional<BaseRecord>> BaseTable::Find(uint64_t inode) {
  ASSIGN_OR_RETURN(
      Statement find,
      database_->Prepare("SELECT clone, size, content, clone_inode, clone_ctime FROM base WHERE inode = ?1"));
  return OneRow<BaseRecord>(find.BindUnsigned(1, inode), [](const Statement& row) {
    return BaseRecord{row.String(0), row.Unsigned(1), DigestFrom(row.Bytes(2)), row.Unsigned(3), row.Integer(4)};
  });
}

absl::StatusOr<std::vector<BaseTable::Known>> BaseTable::ListLargest(size_t most) {
  ASSIGN_OR_RETURN(Statement list,
                   database_->Prepare("SELECT entry.key, base.inode, base.clone, base.size, base.content, "
                                      "base.clone_inode, base.clone_ctime FROM base JOIN entry ON entry.inode = "
                                      "base.inode GROUP BY base.inode ORDER BY base.size DESC LIMIT ?1"));
  list.BindUnsigned(1, most);
  std::vector<Known> known;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, list.Step());
    if (!found) return known;
    known.push_back(
        {model::PathOfKey(list.Bytes(0)), list.Unsigned(1),
         BaseRecord{list.String(2), list.Unsigned(3), DigestFrom(list.Bytes(4)), list.Unsigned(5), list.Integer(6)}});
  }
}

absl::StatusOr<std::set<std::string>> BaseTable::ListClones() {
  ASSIGN_OR_RETURN(Statement list, database_->Prepare("SELECT clone FROM base"));
  std::set<std::string> clones;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, list.Step());
    if (!found) return clones;
    clones.insert(list.String(0));
  }
}

absl::Status BaseTable::Put(uint64_t inode, const BaseRecord& base) {
  ASSIGN_OR_RETURN(Statement put, database_->Prepare("INSERT OR REPLACE INTO base VALUES (?1, ?2, ?3, ?4, ?5, ?6)"));
  return put.BindUnsigned(1, inode)
      .BindText(2, base.clone)
      .BindUnsigned(3, base.size)
      .BindBlob(4, BytesOf(base.content))
      .BindUnsigned(5, base.clone_inode)
      .BindInteger(6, base.clone_ctime_nanoseconds)
      .Run();
}

absl::Status BaseTable::Drop(uint64_t inode) {
  ASSIGN_OR_RETURN(Statement drop, database_->Prepare("DELETE FROM base WHERE inode = ?1"));
  return drop.BindUnsigned(1, inode).Run();
}

absl::Status BaseTable::DropOrphans() {
  return database_->Execute(
      "DELETE FROM base WHERE NOT EXISTS (SELECT 1 FROM entry WHERE entry.inode = base.inode AND entry.content = "
      "base.content)");
}

absl::Status BaseTable::Clear() {
  return database_->Execute("DELETE FROM base");
}

}  // namespace understudy::primary
