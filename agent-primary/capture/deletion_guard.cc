#include "agent-primary/capture/deletion_guard.h"

#include <fmt/format.h>

#include <algorithm>

namespace understudy::primary {
namespace {

constexpr int64_t kNanosecondsPerMinute = 60'000'000'000;

// Without what is too old. A clock that was set back doesn't make a count last longer than the window.
void Age(std::vector<EntryCount>& counts, int64_t minute) {
  std::vector<EntryCount> kept;
  for (EntryCount count : counts) {
    count.minute = std::min(count.minute, minute);
    if (count.minute < minute - kGuardWindowMinutes) continue;
    if (kept.empty() || kept.back().minute != count.minute) kept.push_back(count);
  }
  counts = std::move(kept);
}

}  // namespace

void RecordEntries(GuardRecord& record, uint64_t entries, int64_t now_nanoseconds) {
  const int64_t minute = now_nanoseconds / kNanosecondsPerMinute;
  Age(record.counts, minute);
  // An older count that is no larger will never be the largest again.
  while (!record.counts.empty() && record.counts.back().entries <= entries) record.counts.pop_back();
  if (record.counts.empty() || record.counts.back().minute != minute) record.counts.push_back({minute, entries});
}

bool AllowDeletion(const GuardLimits& limits, GuardRecord& record, const Deletion& deletion, int64_t now_nanoseconds) {
  RecordEntries(record, deletion.entries, now_nanoseconds);
  const uint64_t before =
      std::max(record.counts.front().entries, record.held.has_value() ? record.held->entries_before : 0);
  const uint64_t gone = before > deletion.entries_after ? before - deletion.entries_after : 0;
  if (record.held.has_value() && record.held->approved && gone <= record.held->entries_gone) return true;
  const bool deletes = limits.max_delete_fraction < 1 && deletion.entries_after < deletion.entries;
  const bool most =
      gone >= limits.min_files && static_cast<double>(gone) > limits.max_delete_fraction * static_cast<double>(before);
  const bool everything = deletion.entries_after == 0 && deletion.bytes >= kGuardedBytes;
  if (!deletes || !(most || everything)) {
    record.held.reset();
    return true;
  }
  const int64_t since = record.held.has_value() ? record.held->since_nanoseconds : now_nanoseconds;
  record.held = HeldDeletion{before, gone, since, false};
  return false;
}

absl::Status ApproveDeletion(GuardRecord& record, uint64_t entries_gone) {
  if (!record.held.has_value()) return absl::FailedPreconditionError("no deletion is held back");
  if (record.held->entries_gone > entries_gone) {
    return absl::FailedPreconditionError(
        fmt::format("{} entries would go meanwhile, more than the {} that were to be approved: look at `drctl guard "
                    "list` again",
                    record.held->entries_gone, entries_gone));
  }
  record.held->approved = true;
  return absl::OkStatus();
}

void EndApproval(GuardRecord& record, uint64_t entries, int64_t now_nanoseconds) {
  if (!record.held.has_value() || !record.held->approved) return;
  record.held.reset();
  record.counts.clear();
  RecordEntries(record, entries, now_nanoseconds);
}

}  // namespace understudy::primary
