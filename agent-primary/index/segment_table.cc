#include "agent-primary/index/segment_table.h"

namespace understudy::primary {

using store::Statement;

absl::StatusOr<SegmentTable> SegmentTable::Open(store::Database& database) {
  const auto prepare = [&](std::string_view sql) { return database.Prepare(sql); };
  ASSIGN_OR_RETURN(Statement find, prepare("SELECT digest, blocks FROM segment WHERE inode = ?1 AND number = ?2"));
  ASSIGN_OR_RETURN(Statement put, prepare("INSERT OR REPLACE INTO segment VALUES (?1, ?2, ?3, ?4)"));
  ASSIGN_OR_RETURN(Statement remove, prepare("DELETE FROM segment WHERE inode = ?1 AND number = ?2"));
  ASSIGN_OR_RETURN(Statement drop, prepare("DELETE FROM segment WHERE inode = ?1"));
  ASSIGN_OR_RETURN(Statement truncate, prepare("DELETE FROM segment WHERE inode = ?1 AND number >= ?2"));
  ASSIGN_OR_RETURN(Statement copy, prepare("INSERT OR REPLACE INTO segment SELECT ?2, number, digest, blocks "
                                           "FROM segment WHERE inode = ?1"));
  ASSIGN_OR_RETURN(Statement drop_below,
                   prepare("DELETE FROM segment WHERE inode IN (SELECT inode FROM entry WHERE key >= ?1 AND key < ?2) "
                           "AND inode NOT IN (SELECT inode FROM entry AS other WHERE other.inode = segment.inode "
                           "AND NOT (other.key >= ?1 AND other.key < ?2))"));
  return SegmentTable(database, Statements{std::move(find), std::move(put), std::move(remove), std::move(drop),
                                           std::move(truncate), std::move(copy), std::move(drop_below)});
}

absl::StatusOr<std::optional<SegmentRecord>> SegmentTable::Find(uint64_t inode, uint64_t number) {
  return OneRow<SegmentRecord>(sql_.find.BindUnsigned(1, inode).BindUnsigned(2, number), [&](const Statement& row) {
    return SegmentRecord{number, DigestFrom(row.Bytes(0)), row.String(1)};
  });
}

absl::StatusOr<std::vector<model::SegmentDigest>> SegmentTable::ListDigests(uint64_t inode) {
  ASSIGN_OR_RETURN(Statement list,
                   database_->Prepare("SELECT number, digest FROM segment WHERE inode = ?1 ORDER BY number"));
  list.BindUnsigned(1, inode);
  std::vector<model::SegmentDigest> segments;
  for (;;) {
    ASSIGN_OR_RETURN(const bool found, list.Step());
    if (!found) return segments;
    segments.push_back({list.Unsigned(0), DigestFrom(list.Bytes(1))});
  }
}

absl::Status SegmentTable::Put(uint64_t inode, const SegmentRecord& segment) {
  return sql_.put.BindUnsigned(1, inode)
      .BindUnsigned(2, segment.number)
      .BindBlob(3, BytesOf(segment.digest))
      .BindBlob(4, segment.blocks)
      .Run();
}

absl::Status SegmentTable::Remove(uint64_t inode, uint64_t number) {
  return sql_.remove.BindUnsigned(1, inode).BindUnsigned(2, number).Run();
}

absl::Status SegmentTable::Truncate(uint64_t inode, uint64_t from_number) {
  return sql_.truncate.BindUnsigned(1, inode).BindUnsigned(2, from_number).Run();
}

absl::Status SegmentTable::Copy(uint64_t from_inode, uint64_t to_inode) {
  return sql_.copy.BindUnsigned(1, from_inode).BindUnsigned(2, to_inode).Run();
}

absl::Status SegmentTable::Drop(uint64_t inode) {
  return sql_.drop.BindUnsigned(1, inode).Run();
}

absl::Status SegmentTable::DropBelow(std::string_view key) {
  const auto [begin, end] = RangeBelow(key);
  return sql_.drop_below.BindBlob(1, begin).BindBlob(2, end).Run();
}

absl::Status SegmentTable::Clear() {
  return database_->Execute("DELETE FROM segment");
}

}  // namespace understudy::primary
