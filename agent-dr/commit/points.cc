#include "agent-dr/commit/points.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/container/flat_hash_map.h"

namespace understudy::dr {

absl::StatusOr<std::vector<model::Sequence>> PathTo(std::span<const UndoAbout> records, model::Sequence current,
                                                    model::Sequence wanted) {
  absl::flat_hash_map<model::Sequence, const UndoAbout*> leading_to;
  for (const UndoAbout& record : records) leading_to[record.point.sequence] = &record;
  std::vector<model::Sequence> path;
  for (model::Sequence at = wanted; at != current;) {
    const auto found = leading_to.find(at);
    if (found == leading_to.end() || path.size() > records.size()) {
      return absl::NotFoundError(fmt::format("the state after commit {} isn't kept (any more)", wanted));
    }
    path.push_back(found->second->sequence);
    at = found->second->from;
  }
  std::reverse(path.begin(), path.end());
  return path;
}

size_t CountBeyond(std::span<const UndoAbout> records, const PointBounds& bounds, absl::Time now) {
  uint64_t held = 0;
  for (const UndoAbout& record : records) held += record.point.held_bytes;
  const int64_t oldest = absl::ToUnixNanos(now - bounds.keep_for);
  size_t count = 0;
  for (const UndoAbout& record : records) {
    const bool few = records.size() - count < kMaxUndoRecords;  // one more comes
    if (few && held <= bounds.max_bytes && record.superseded_at_nanoseconds >= oldest) break;
    held -= record.point.held_bytes;
    ++count;
  }
  return count;
}

}  // namespace understudy::dr
