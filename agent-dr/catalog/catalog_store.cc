#include "agent-dr/catalog/catalog_store.h"

#include <array>
#include <string_view>
#include <utility>

#include "core/wire/limits.h"

namespace understudy::dr {
namespace {

constexpr std::array<std::string_view, 2> kSchema = {
    "CREATE TABLE entry("
    "  kind TEXT NOT NULL, namespace_name TEXT NOT NULL, name TEXT NOT NULL,"
    "  revision INTEGER NOT NULL UNIQUE, uid TEXT NOT NULL, resource TEXT NOT NULL, volume TEXT NOT NULL,"
    "  replica_path BLOB NOT NULL, server TEXT NOT NULL, deleted INTEGER NOT NULL,"
    "  observed_at_nanoseconds INTEGER NOT NULL,"
    "  PRIMARY KEY(kind, namespace_name, name)) WITHOUT ROWID;",
    // Kept apart: entries go, and a revision never comes twice.
    "CREATE TABLE newest(only INTEGER PRIMARY KEY CHECK(only = 1), revision INTEGER NOT NULL);"
    "INSERT INTO newest SELECT 1, coalesce(max(revision), 0) FROM entry;"
    // When they were deleted wasn't kept; from now on it is.
    "UPDATE entry SET resource = '{}', observed_at_nanoseconds = CAST(strftime('%s', 'now') AS INTEGER) * 1000000000"
    "  WHERE deleted;",
};

// All that is left to say of a deleted object; an entry's resource is never empty.
constexpr std::string_view kNoResource = "{}";
constexpr absl::Duration kPurgeInterval = absl::Hours(1);

constexpr std::string_view kColumns =
    "kind, namespace_name, name, revision, uid, resource, volume, replica_path, server, deleted,"
    " observed_at_nanoseconds";

absl::StatusOr<model::CatalogEntry> EntryAt(const store::Statement& row) {
  model::CatalogEntry entry;
  ASSIGN_OR_RETURN(entry.key.kind, model::ParseObjectKind(row.Bytes(0)));
  entry.key.namespace_name = row.String(1);
  entry.key.name = row.String(2);
  entry.revision = row.Unsigned(3);
  entry.uid = row.String(4);
  entry.resource = row.String(5);
  entry.volume = row.String(6);
  entry.replica_path = row.String(7);
  entry.server = row.String(8);
  entry.deleted = row.Integer(9) != 0;
  entry.observed_at = absl::FromUnixNanos(row.Integer(10));
  return entry;
}

// Whether they say the same of the object.
bool SameContent(const model::CatalogEntry& a, const model::CatalogEntry& b) {
  return a.uid == b.uid && a.resource == b.resource && a.volume == b.volume && a.replica_path == b.replica_path &&
         a.server == b.server && a.deleted == b.deleted;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CatalogStore>> CatalogStore::Open(const std::string& path, CheckVolume check_volume,
                                                                 Clock& clock) {
  ASSIGN_OR_RETURN(store::Database database, store::Database::Open(path, {.durability = store::Durability::kFull}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  std::unique_ptr<CatalogStore> catalog(new CatalogStore(std::move(database), std::move(check_volume), clock));
  absl::MutexLock lock(&catalog->mutex_);
  ASSIGN_OR_RETURN(store::Statement query, catalog->database_.Prepare("SELECT revision FROM newest"));
  RETURN_IF_ERROR(query.Step().status());
  catalog->revision_ = query.Unsigned(0);
  RETURN_IF_ERROR(catalog->Purge());
  return catalog;
}

absl::StatusOr<std::optional<model::CatalogEntry>> CatalogStore::Find(const model::ObjectKey& key) {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT " + std::string(kColumns) +
                                     " FROM entry WHERE kind = ? AND namespace_name = ? AND name = ?"));
  query.BindText(1, model::ToString(key.kind)).BindText(2, key.namespace_name).BindText(3, key.name);
  ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return std::nullopt;
  ASSIGN_OR_RETURN(model::CatalogEntry entry, EntryAt(query));
  return entry;
}

absl::StatusOr<uint64_t> CatalogStore::Write(const model::CatalogEntry& entry) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  ASSIGN_OR_RETURN(store::Statement write, database_.Prepare("INSERT OR REPLACE INTO entry(" + std::string(kColumns) +
                                                             ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  const uint64_t revision = revision_ + 1;
  write.BindText(1, model::ToString(entry.key.kind)).BindText(2, entry.key.namespace_name);
  write.BindText(3, entry.key.name).BindUnsigned(4, revision).BindText(5, entry.uid).BindText(6, entry.resource);
  write.BindText(7, entry.volume).BindBlob(8, entry.replica_path).BindText(9, entry.server);
  write.BindInteger(10, entry.deleted).BindInteger(11, absl::ToUnixNanos(entry.observed_at));
  RETURN_IF_ERROR(write.Run());
  ASSIGN_OR_RETURN(store::Statement count, database_.Prepare("UPDATE newest SET revision = ?"));
  RETURN_IF_ERROR(count.BindUnsigned(1, revision).Run());
  RETURN_IF_ERROR(transaction.Commit());
  revision_ = revision;
  return revision;
}

absl::Status CatalogStore::Purge() {
  purged_at_ = clock_.Now();
  ASSIGN_OR_RETURN(store::Statement purge,
                   database_.Prepare("DELETE FROM entry WHERE deleted AND observed_at_nanoseconds < ?"));
  return purge.BindInteger(1, absl::ToUnixNanos(purged_at_ - kDeletedKept)).Run();
}

absl::StatusOr<uint64_t> CatalogStore::Put(const model::CatalogEntry& entry) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const std::optional<model::CatalogEntry> present, Find(entry.key));
  if (present.has_value() && SameContent(*present, entry)) return present->revision;
  // An object that was made anew may have its data in another volume than the one of its name that is in use.
  if (present.has_value() && !present->deleted && !present->volume.empty()) {
    RETURN_IF_ERROR(check_volume_(present->volume));
  }
  if (!entry.volume.empty()) RETURN_IF_ERROR(check_volume_(entry.volume));
  return Write(entry);
}

absl::StatusOr<uint64_t> CatalogStore::Delete(const model::ObjectKey& key, const std::string& uid) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(std::optional<model::CatalogEntry> present, Find(key));
  if (!present.has_value()) return 0;
  const bool another = !uid.empty() && !present->uid.empty() && present->uid != uid;
  if (present->deleted || another) return present->revision;
  if (!present->volume.empty()) RETURN_IF_ERROR(check_volume_(present->volume));
  present->deleted = true;
  present->resource = kNoResource;
  present->observed_at = clock_.Now();
  ASSIGN_OR_RETURN(const uint64_t revision, Write(*present));
  if (clock_.Now() - purged_at_ >= kPurgeInterval) RETURN_IF_ERROR(Purge());
  return revision;
}

absl::StatusOr<CatalogStore::Page> CatalogStore::List(const Filter& filter, uint64_t after_revision) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT " + std::string(kColumns) +
                                     " FROM entry WHERE revision > ? AND (? OR NOT deleted) AND (? = '' OR kind = ?)"
                                     " ORDER BY revision"));
  const std::string_view kind = filter.kind.has_value() ? model::ToString(*filter.kind) : std::string_view();
  query.BindUnsigned(1, after_revision).BindInteger(2, filter.include_deleted).BindText(3, kind).BindText(4, kind);
  Page page;
  size_t bytes = 0;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return page;
    if (page.entries.size() == wire::kMaxPageEntries || bytes >= wire::kMaxPageBytes) {
      page.more = true;
      return page;
    }
    ASSIGN_OR_RETURN(model::CatalogEntry entry, EntryAt(query));
    bytes += entry.resource.size();
    page.entries.push_back(std::move(entry));
  }
}

uint64_t CatalogStore::Revision() const {
  absl::MutexLock lock(&mutex_);
  return revision_;
}

bool CatalogStore::WaitForChange(uint64_t revision, absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  const auto changed = [this, revision]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return revision_ > revision; };
  return mutex_.AwaitWithTimeout(absl::Condition(&changed), timeout);
}

}  // namespace understudy::dr
