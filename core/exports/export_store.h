// export_store.h: the exports that are desired, durably (docs/formats/exports.md).
//
// One SQLite file, synchronous=FULL: what a call did is durable when it returns OK. One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/model/exports.h"
#include "core/store/database.h"

namespace understudy::exports {

struct StoredExport {
  std::string name;
  std::string path;
  model::ExportMode mode = model::ExportMode::kNone;
  bool forgotten = false;  // goes once the server has let go of it
  std::string backend;     // that may have it
  uint16_t export_id = 0;  // of that backend
  absl::Time changed_at;   // when `mode` was set
};

class ExportStore {
 public:
  [[nodiscard]] static absl::StatusOr<ExportStore> Open(const std::string& file);

  // Ascending by name. DATA_LOSS: a row isn't what was written.
  [[nodiscard]] absl::StatusOr<std::vector<StoredExport>> Load();
  // In place of what has its name. ALREADY_EXISTS: another name has the path.
  [[nodiscard]] absl::Status Put(const StoredExport& row);
  [[nodiscard]] absl::Status Delete(const std::string& name);

 private:
  explicit ExportStore(store::Database database) : database_(std::move(database)) {}
  store::Database database_;
};

}  // namespace understudy::exports
