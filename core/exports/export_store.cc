#include "core/exports/export_store.h"

#include <array>
#include <limits>
#include <string_view>
#include <utility>

namespace understudy::exports {
namespace {

constexpr std::array<std::string_view, 1> kSchema = {
    "CREATE TABLE export("
    "  name TEXT PRIMARY KEY, path BLOB NOT NULL UNIQUE, mode TEXT NOT NULL, forgotten INTEGER NOT NULL,"
    "  backend TEXT NOT NULL, export_id INTEGER NOT NULL, changed_at_nanoseconds INTEGER NOT NULL) WITHOUT ROWID;",
};

}  // namespace

absl::StatusOr<ExportStore> ExportStore::Open(const std::string& file) {
  ASSIGN_OR_RETURN(store::Database database, store::Database::Open(file, {.durability = store::Durability::kFull}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  return ExportStore(std::move(database));
}

absl::StatusOr<std::vector<StoredExport>> ExportStore::Load() {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT name, path, mode, forgotten, backend, export_id, changed_at_nanoseconds"
                                     " FROM export ORDER BY name"));
  std::vector<StoredExport> rows;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, query.Step());
    if (!more) return rows;
    StoredExport row;
    row.name = query.String(0);
    row.path = query.String(1);
    const absl::StatusOr<model::ExportMode> mode = model::ParseExportMode(query.Bytes(2));
    const uint64_t id = query.Unsigned(5);
    if (!mode.ok() || id > std::numeric_limits<uint16_t>::max()) {
      return absl::DataLossError(database_.path() + ": a row that this program didn't write");
    }
    row.mode = *mode;
    row.forgotten = query.Integer(3) != 0;
    row.backend = query.String(4);
    row.export_id = static_cast<uint16_t>(id);
    row.changed_at = absl::FromUnixNanos(query.Integer(6));
    rows.push_back(std::move(row));
  }
}

absl::Status ExportStore::Put(const StoredExport& row) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(Delete(row.name));
  ASSIGN_OR_RETURN(store::Statement insert, database_.Prepare("INSERT INTO export VALUES(?, ?, ?, ?, ?, ?, ?)"));
  insert.BindText(1, row.name).BindBlob(2, row.path).BindText(3, model::ToString(row.mode));
  insert.BindInteger(4, row.forgotten ? 1 : 0).BindText(5, row.backend).BindInteger(6, row.export_id);
  insert.BindInteger(7, absl::ToUnixNanos(row.changed_at));
  RETURN_IF_ERROR(insert.Run());
  return transaction.Commit();
}

absl::Status ExportStore::Delete(const std::string& name) {
  ASSIGN_OR_RETURN(store::Statement remove, database_.Prepare("DELETE FROM export WHERE name = ?"));
  return remove.BindText(1, name).Run();
}

}  // namespace understudy::exports
