// guard_table.h: a volume's GuardRecord in its index file.
//
// Functions over the tables `guard` and `guard_count`; errors are store::Database's.
#pragma once

#include "agent-primary/index/guard_record.h"
#include "core/store/database.h"

namespace understudy::primary {

// DATA_LOSS: there is none.
[[nodiscard]] absl::StatusOr<GuardRecord> LoadGuard(store::Database& database);

// Takes what is stored from `before` to `record`, in the transaction that the caller began.
[[nodiscard]] absl::Status StoreGuard(store::Database& database, const GuardRecord& before, const GuardRecord& record);

}  // namespace understudy::primary
