#include "agent-dr/commit/content_table.h"

#include <algorithm>
#include <cstring>

#include "core/delta/content_digest.h"

namespace understudy::dr {
namespace {

using store::Statement;

constexpr size_t kSegmentRecordBytes = 24;

model::Digest DigestFrom(std::string_view bytes) {
  model::Digest digest{};
  std::memcpy(digest.data(), bytes.data(), std::min(bytes.size(), digest.size()));
  return digest;
}

std::string Serialize(const std::vector<model::SegmentDigest>& segments) {
  std::string bytes;
  bytes.reserve(segments.size() * kSegmentRecordBytes);
  for (const model::SegmentDigest& segment : segments) {
    for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(segment.number >> shift));
    bytes.append(delta::BytesOf(segment.digest));
  }
  return bytes;
}

std::vector<model::SegmentDigest> ParseSegments(std::string_view bytes) {
  std::vector<model::SegmentDigest> segments;
  for (; bytes.size() >= kSegmentRecordBytes; bytes.remove_prefix(kSegmentRecordBytes)) {
    uint64_t number = 0;
    for (size_t i = 0; i < 8; ++i) number |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
    segments.push_back({number, DigestFrom(bytes.substr(8))});
  }
  return segments;
}

}  // namespace

absl::StatusOr<std::optional<KeptContent>> ContentTable::Find(const Identity& identity) {
  ASSIGN_OR_RETURN(Statement find, database_->Prepare("SELECT size, digest, sequence, learned, pass FROM content"
                                                      " WHERE inode = ? AND btime_nanoseconds = ?"));
  find.BindUnsigned(1, identity.inode).BindInteger(2, identity.btime_nanoseconds);
  ASSIGN_OR_RETURN(const bool found, find.Step());
  if (!found) return std::nullopt;
  KeptContent kept{.identity = identity, .size = find.Unsigned(0)};
  if (!find.IsNull(1)) kept.digest = DigestFrom(find.Bytes(1));
  kept.sequence = find.Unsigned(2);
  kept.learned = find.Integer(3) != 0;
  kept.pass = find.Unsigned(4);
  return kept;
}

absl::Status ContentTable::Apply(const ContentChanges& changes, model::Sequence sequence) {
  if (changes.holds_entries.has_value()) {
    ASSIGN_OR_RETURN(Statement update, database_->Prepare("UPDATE content_scrub SET holds_entries = ?"));
    RETURN_IF_ERROR(update.BindInteger(1, *changes.holds_entries ? 1 : 0).Run());
  }
  if (changes.brought.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const ScrubPlace place, LoadPlace());
  ASSIGN_OR_RETURN(Statement put, database_->Prepare("INSERT OR REPLACE INTO content VALUES(?, ?, ?, ?, ?, 0, ?)"));
  for (const BroughtContent& content : changes.brought) {
    put.BindUnsigned(1, content.identity.inode).BindInteger(2, content.identity.btime_nanoseconds);
    put.BindUnsigned(3, content.size).BindUnsigned(5, sequence).BindUnsigned(6, place.pass);
    if (content.digest.has_value()) {
      put.BindBlob(4, delta::BytesOf(*content.digest));
    } else {
      put.BindNull(4);
    }
    RETURN_IF_ERROR(put.Run());
  }
  return absl::OkStatus();
}

absl::Status ContentTable::Learn(std::span<const KeptContent> contents) {
  if (contents.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(*database_));
  ASSIGN_OR_RETURN(const ScrubPlace place, LoadPlace());
  ASSIGN_OR_RETURN(Statement put,
                   database_->Prepare("INSERT INTO content VALUES(?1, ?2, ?3, ?4, ?5, 1, ?6)"
                                      " ON CONFLICT DO UPDATE SET size = ?3, digest = ?4, sequence = ?5, learned = 1,"
                                      " pass = ?6 WHERE digest IS NULL AND sequence <= ?5"));
  for (const KeptContent& content : contents) {
    UNDERSTUDY_CHECK(content.digest.has_value());
    put.BindUnsigned(1, content.identity.inode).BindInteger(2, content.identity.btime_nanoseconds);
    put.BindUnsigned(3, content.size).BindBlob(4, delta::BytesOf(*content.digest));
    RETURN_IF_ERROR(put.BindUnsigned(5, content.sequence).BindUnsigned(6, place.pass).Run());
  }
  return transaction.Commit();
}

absl::StatusOr<uint64_t> ContentTable::Count() {
  ASSIGN_OR_RETURN(Statement count, database_->Prepare("SELECT count(*) FROM content"));
  RETURN_IF_ERROR(count.Step().status());
  return count.Unsigned(0);
}

absl::Status ContentTable::SavePlace(const ScrubPlace& place, std::span<const Identity> met) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(*database_));
  ASSIGN_OR_RETURN(Statement save, database_->Prepare("UPDATE content_scrub SET pass = ?, under_way = ?, path = ?,"
                                                      " ended_nanoseconds = ?"));
  save.BindUnsigned(1, place.pass).BindInteger(2, place.under_way ? 1 : 0).BindBlob(3, place.path);
  RETURN_IF_ERROR(save.BindInteger(4, place.ended_nanoseconds).Run());
  ASSIGN_OR_RETURN(Statement mark, database_->Prepare("UPDATE content SET pass = ? WHERE inode = ?"
                                                      " AND btime_nanoseconds = ?"));
  for (const Identity& identity : met) {
    mark.BindUnsigned(1, place.pass).BindUnsigned(2, identity.inode).BindInteger(3, identity.btime_nanoseconds);
    RETURN_IF_ERROR(mark.Run());
  }
  return transaction.Commit();
}

absl::StatusOr<ScrubPlace> ContentTable::LoadPlace() {
  ASSIGN_OR_RETURN(Statement load,
                   database_->Prepare("SELECT pass, under_way, path, ended_nanoseconds FROM content_scrub"));
  ASSIGN_OR_RETURN(const bool found, load.Step());
  if (!found) return absl::DataLossError(database_->path() + " has no row of the scrub");
  return ScrubPlace{load.Unsigned(0), load.Integer(1) != 0, load.String(2), load.Integer(3)};
}

absl::StatusOr<ContentTable::CollectPlace> ContentTable::Collect(uint64_t pass, const CollectPlace& place) {
  ASSIGN_OR_RETURN(Statement find, database_->Prepare("SELECT inode, btime_nanoseconds FROM content"
                                                      " WHERE (inode, btime_nanoseconds) > (?, ?)"
                                                      " ORDER BY inode, btime_nanoseconds LIMIT 1 OFFSET ?"));
  find.BindInteger(1, place.inode).BindInteger(2, place.btime_nanoseconds).BindUnsigned(3, kCollectedAtOnce - 1);
  ASSIGN_OR_RETURN(const bool more, find.Step());
  const CollectPlace last = more ? CollectPlace{find.Integer(0), find.Integer(1), false}
                                 : CollectPlace{INT64_MAX, INT64_MAX, /*at_end=*/true};
  ASSIGN_OR_RETURN(Statement collect, database_->Prepare("DELETE FROM content WHERE (inode, btime_nanoseconds) > (?, ?)"
                                                         " AND (inode, btime_nanoseconds) <= (?, ?) AND pass + 1 < ?"));
  collect.BindInteger(1, place.inode).BindInteger(2, place.btime_nanoseconds);
  collect.BindInteger(3, last.inode).BindInteger(4, last.btime_nanoseconds);
  RETURN_IF_ERROR(collect.BindUnsigned(5, pass).Run());
  return last;
}

absl::StatusOr<std::vector<Damage>> ContentTable::ListDamage() {
  ASSIGN_OR_RETURN(Statement list,
                   database_->Prepare("SELECT path, inode, btime_nanoseconds, size, sequence, found_nanoseconds, why,"
                                      " segments FROM content_damage ORDER BY path"));
  std::vector<Damage> damages;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, list.Step());
    if (!more) return damages;
    Damage damage;
    damage.file.path = list.String(0);
    damage.identity = {list.Unsigned(1), list.Integer(2)};
    damage.file.size = list.Unsigned(3);
    damage.sequence = list.Unsigned(4);
    damage.found_nanoseconds = list.Integer(5);
    damage.why = list.String(6);
    if (!list.IsNull(7)) damage.file.segments = ParseSegments(list.Bytes(7));
    damages.push_back(std::move(damage));
  }
}

absl::StatusOr<bool> ContentTable::PutDamage(const Damage& damage) {
  ASSIGN_OR_RETURN(Statement put,
                   database_->Prepare("INSERT OR REPLACE INTO content_damage SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8"
                                      " WHERE (SELECT count(*) FROM content_damage WHERE path <> ?1) < ?9"));
  put.BindBlob(1, damage.file.path).BindUnsigned(2, damage.identity.inode);
  put.BindInteger(3, damage.identity.btime_nanoseconds).BindUnsigned(4, damage.file.size);
  put.BindUnsigned(5, damage.sequence).BindInteger(6, damage.found_nanoseconds).BindText(7, damage.why);
  if (damage.file.segments.has_value()) {
    put.BindBlob(8, Serialize(*damage.file.segments));
  } else {
    put.BindNull(8);
  }
  RETURN_IF_ERROR(put.BindUnsigned(9, kMaxDamage).Run());
  return database_->ChangedRows() > 0;
}

absl::Status ContentTable::RemoveDamage(std::string_view path) {
  ASSIGN_OR_RETURN(Statement remove, database_->Prepare("DELETE FROM content_damage WHERE path = ?"));
  return remove.BindBlob(1, path).Run();
}

absl::StatusOr<std::optional<bool>> ContentTable::HoldsEntries() {
  ASSIGN_OR_RETURN(Statement load, database_->Prepare("SELECT holds_entries FROM content_scrub"));
  ASSIGN_OR_RETURN(const bool found, load.Step());
  if (!found || load.IsNull(0)) return std::nullopt;
  return load.Integer(0) != 0;
}

}  // namespace understudy::dr
