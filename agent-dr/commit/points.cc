#include "agent-dr/commit/points.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/container/flat_hash_map.h"

namespace understudy::dr {
namespace {

absl::Time TimeOf(const UndoAbout& record) {
  const Point& point = record.point;
  return absl::FromUnixNanos(point.committed_at_nanoseconds != 0 ? point.committed_at_nanoseconds
                                                                 : record.superseded_at_nanoseconds);
}

// Whether the state of `newer` needn't be kept beside that of `older`, the next one on the way on.
bool IsOneTooMany(const UndoAbout& newer, const UndoAbout& older, const PointBounds& bounds, absl::Time now) {
  if (!newer.point.label.empty() || newer.point.pinned) return false;
  const absl::Duration age = now - TimeOf(newer);
  if (age <= bounds.keep_all_for) return false;
  if (!newer.point.completes_capture) return true;
  if (!older.point.completes_capture) return false;
  const absl::Duration bucket = age <= bounds.keep_hourly_for ? absl::Hours(1) : absl::Hours(24);
  const auto number = [&](const UndoAbout& record) { return absl::Floor(TimeOf(record) - absl::UnixEpoch(), bucket); };
  return number(newer) == number(older);
}

}  // namespace

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
    const bool wanted = record.superseded_at_nanoseconds >= oldest || record.point.pinned;
    if (few && held <= bounds.max_bytes && wanted) break;
    held -= record.point.held_bytes;
    ++count;
  }
  return count;
}

std::string WhyBeyond(std::span<const UndoAbout> records, const PointBounds& bounds, bool no_space) {
  if (no_space) return "the filesystem is full";
  if (!bounds.KeepsAny()) return "points.keep_for or points.max_bytes is 0 now";
  uint64_t held = 0;
  for (const UndoAbout& record : records) held += record.point.held_bytes;
  if (held > bounds.max_bytes) return "there are more than points.max_bytes allows";
  return fmt::format("no more than {} are kept of a volume", kMaxUndoRecords);
}

std::vector<std::vector<model::Sequence>> RunsToMerge(std::span<const UndoAbout> records, const PointBounds& bounds,
                                                      absl::Time now, model::Sequence below,
                                                      std::optional<model::Sequence> spared) {
  absl::flat_hash_map<model::Sequence, size_t> ways_on;  // by the state that they begin at
  absl::flat_hash_map<model::Sequence, const UndoAbout*> way_from;
  for (const UndoAbout& record : records) {
    ++ways_on[record.from];
    way_from[record.from] = &record;
  }
  std::vector<std::vector<model::Sequence>> runs;
  absl::flat_hash_map<model::Sequence, size_t> run_of;  // by the sequence of its newest record
  std::vector<const UndoAbout*> oldest;                 // of each run
  for (const UndoAbout& record : records) {             // one that another leads to is younger than that one's way on
    if (record.sequence >= below) break;
    const auto ways = ways_on.find(record.point.sequence);
    const bool may_go = record.point.sequence != spared && record.knows_several_names;
    if (ways != ways_on.end() && ways->second == 1 && may_go) {
      const UndoAbout& older = *way_from.at(record.point.sequence);
      const auto run = run_of.find(older.sequence);
      if (run != run_of.end() && older.knows_several_names && IsOneTooMany(record, *oldest[run->second], bounds, now)) {
        const size_t number = run->second;
        run_of.erase(run);
        runs[number].push_back(record.sequence);
        run_of[record.sequence] = number;
        continue;
      }
    }
    run_of[record.sequence] = runs.size();
    runs.push_back({record.sequence});
    oldest.push_back(&record);
  }
  std::erase_if(runs, [](const std::vector<model::Sequence>& run) { return run.size() < 2; });
  return runs;
}

}  // namespace understudy::dr
