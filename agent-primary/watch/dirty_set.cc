#include "agent-primary/watch/dirty_set.h"

#include <algorithm>

namespace understudy::primary {
namespace {

void TakeEarlier(std::optional<absl::Duration>& earliest, std::optional<absl::Duration> other) {
  if (other.has_value() && (!earliest.has_value() || *other < *earliest)) earliest = other;
}

}  // namespace

void DirtySet::Add(std::string_view path, HintKind kind, bool at_once, absl::Duration now) {
  if (whole_volume_) {
    TakeEarlier(whole_volume_hint_, now);
    return;
  }
  const auto found = paths_.find(path);
  if (found == paths_.end()) {
    if (paths_.size() >= kMaxDirtyPaths) {
      MakeWhole(true, now);
      return;
    }
    paths_.emplace(path, Entry{now, now, kind == HintKind::kSubtree, at_once, true});
    return;
  }
  Entry& entry = found->second;
  if (!entry.hinted) entry.first = now;
  entry.last = now;
  entry.subtree |= kind == HintKind::kSubtree;
  entry.at_once |= at_once;
  entry.hinted = true;
}

void DirtySet::AddInode(uint64_t inode, bool at_once, absl::Duration now) {
  if (whole_volume_) {
    TakeEarlier(whole_volume_hint_, now);
    return;
  }
  const auto [place, added] = inodes_.try_emplace(inode, Entry{now, now, false, at_once, true});
  place->second.last = now;
  place->second.at_once |= at_once;
  if (added && size() > kMaxDirtyPaths) MakeWhole(true, now);
}

void DirtySet::AddRecheck(std::string_view path, absl::Duration now) {
  if (whole_volume_ || paths_.size() >= kMaxDirtyPaths) return;  // a scan looks at everything that isn't settled
  paths_.try_emplace(std::string(path), Entry{now, now, false, false, false});
}

void DirtySet::Postpone(std::string_view path, absl::Duration until, std::optional<absl::Duration> hint,
                        absl::Duration now) {
  if (whole_volume_ || paths_.size() >= kMaxDirtyPaths) return MakeWhole(hint.has_value(), hint.value_or(now));
  Entry& entry = paths_.try_emplace(std::string(path), Entry{now, now, false, false, false}).first->second;
  if (hint.has_value()) {
    entry.first = entry.hinted ? std::min(entry.first, *hint) : *hint;
    entry.hinted = true;
  }
  entry.not_before = until;
}

void DirtySet::AddWholeVolume(absl::Duration now, bool hinted) {
  MakeWhole(hinted, now);
}

void DirtySet::MakeWhole(bool hinted, absl::Duration first) {
  whole_volume_ = true;
  TakeEarlier(whole_volume_hint_, OldestHint());
  if (hinted) TakeEarlier(whole_volume_hint_, first);
  paths_.clear();
  inodes_.clear();
}

void DirtySet::Restore(const DirtyBatch& batch) {
  if (batch.whole_volume) {
    MakeWhole(batch.oldest_hint.has_value(), batch.oldest_hint.value_or(absl::ZeroDuration()));
    return;
  }
  const absl::Duration first = batch.oldest_hint.value_or(absl::ZeroDuration());
  for (const uint64_t inode : batch.inodes) {
    Entry& entry = inodes_.try_emplace(inode, Entry{first, first, false, true, true}).first->second;
    entry.first = std::min(entry.first, first);
    entry.at_once = true;
  }
  for (const DirtyPath& dirty : batch.paths) {
    auto [place, added] =
        paths_.try_emplace(dirty.path, Entry{first, first, dirty.subtree, true, batch.oldest_hint.has_value()});
    if (added) continue;
    place->second.subtree |= dirty.subtree;
    place->second.at_once = true;
    if (batch.oldest_hint.has_value()) {
      place->second.first = std::min(place->second.first, first);
      place->second.hinted = true;
    }
  }
}

absl::Duration DirtySet::DueTime(const Entry& entry) const {
  const absl::Duration due =
      entry.at_once ? entry.first : std::min(entry.last + times_.quiet_period, entry.first + times_.max_delay);
  return std::max(due, entry.not_before);
}

std::optional<absl::Duration> DirtySet::NextDue() const {
  if (whole_volume_) return -absl::InfiniteDuration();
  std::optional<absl::Duration> next;
  for (const auto& [path, entry] : paths_) {
    const absl::Duration due = DueTime(entry);
    if (entry.at_once && due == entry.first) return due;  // can't be much earlier
    TakeEarlier(next, due);
  }
  for (const auto& [inode, entry] : inodes_) TakeEarlier(next, DueTime(entry));
  return next;
}

DirtyBatch DirtySet::Take(absl::Duration now, bool all) {
  DirtyBatch batch;
  if (whole_volume_) {
    batch.whole_volume = true;
    batch.oldest_hint = whole_volume_hint_;
    whole_volume_ = false;
    whole_volume_hint_.reset();
    return batch;
  }
  for (auto place = paths_.begin(); place != paths_.end();) {
    const Entry& entry = place->second;
    if (!all && DueTime(entry) > now) {
      ++place;
      continue;
    }
    if (entry.hinted) TakeEarlier(batch.oldest_hint, entry.first);
    const bool subtree = entry.subtree;
    auto node = paths_.extract(place++);
    batch.paths.push_back({std::move(node.key()), subtree});
  }
  for (auto place = inodes_.begin(); place != inodes_.end();) {
    if (!all && DueTime(place->second) > now) {
      ++place;
      continue;
    }
    TakeEarlier(batch.oldest_hint, place->second.first);
    batch.inodes.push_back(place->first);
    place = inodes_.erase(place);
  }
  return batch;
}

bool DirtySet::HoldsOnly(const std::set<std::string>& paths, const std::set<uint64_t>& inodes) const {
  return !whole_volume_ &&
         std::all_of(paths_.begin(), paths_.end(), [&](const auto& entry) { return paths.contains(entry.first); }) &&
         std::all_of(inodes_.begin(), inodes_.end(), [&](const auto& entry) { return inodes.contains(entry.first); });
}

std::optional<absl::Duration> DirtySet::OldestHint() const {
  std::optional<absl::Duration> oldest = whole_volume_hint_;
  for (const auto& [path, entry] : paths_) {
    if (entry.hinted) TakeEarlier(oldest, entry.first);
  }
  return oldest;
}

}  // namespace understudy::primary
