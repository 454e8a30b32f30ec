// staged_changes.h: the changes of one commit in the index file, until its acknowledgement is seen.
//
// Functions over the table `staged`, in the transaction that the caller began; errors are store::Database's. The number
// of a change's kind in the file is its place in IndexChange, so that order must not change, nor what a change has,
// without a step of the schema that forgets what is staged.
#pragma once

#include <functional>
#include <span>

#include "agent-primary/index/index_row.h"
#include "core/store/database.h"

namespace understudy::primary {

// Stores them in place of what was there.
[[nodiscard]] absl::Status StoreStaged(store::Database& database, std::span<const IndexChange> changes);

// In the order in which they were given. An error of `visit` ends it and is returned.
[[nodiscard]] absl::Status VisitStaged(store::Database& database,
                                       const std::function<absl::Status(const IndexChange&)>& visit);

[[nodiscard]] absl::Status ClearStaged(store::Database& database);

}  // namespace understudy::primary
