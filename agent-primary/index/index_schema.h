// index_schema.h: the tables of an index file, their keys, and how values go into their columns and out of them.
//
// `entry` has the rows, `segment` the records of large files and `base` their frozen copies, by inode; `staged` has the
// changes of a commit that isn't acknowledged; `state`, `guard` and `guard_count` have the rest. The key of a row is
// model::Key of its path; rows that are detached inside a commit stand below a key that begins with NUL, which no
// path's does.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "agent-primary/index/index_row.h"
#include "core/store/database.h"

namespace understudy::primary {

// For store::Database::Migrate.
[[nodiscard]] std::span<const std::string_view> IndexSchema();

// The columns of a row in `entry`, in the order of BindRow and ReadRow.
inline constexpr std::string_view kRowColumns =
    "kind, inode, size, mtime, ctime, mode, uid, gid, device, xattrs, content, file";

// `first`: the parameter or column of `kind`.
void BindRow(store::Statement& statement, int first, const IndexRow& row);
[[nodiscard]] IndexRow ReadRow(const store::Statement& statement, int first);

// As a blob; it lives as long as `digest`.
[[nodiscard]] std::string_view BytesOf(const model::Digest& digest);
[[nodiscard]] model::Digest DigestFrom(std::string_view bytes);

[[nodiscard]] std::string DetachedKey(model::Slot slot);
// Keys of what is below the folder with this key: [first, second).
[[nodiscard]] std::pair<std::string, std::string> RangeBelow(std::string_view key);

// Steps a statement that gives at most one row, and hands that row over.
template <typename T, typename Read>
[[nodiscard]] absl::StatusOr<std::optional<T>> OneRow(store::Statement& statement, Read read) {
  ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (!found) return std::optional<T>();
  std::optional<T> result(read(statement));
  statement.Reset();
  return result;
}

// Of a statement that always gives one row with one number, such as a count.
[[nodiscard]] absl::StatusOr<uint64_t> OneNumber(store::Statement& statement);

}  // namespace understudy::primary
