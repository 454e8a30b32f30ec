// dirty_set.h: coalesced hints of one volume: which paths to look at, and when.
//
// A value; the caller guards it. Times are Clock::Monotonic(). A path is due at once when a hint said so, else after
// `quiet_period` without further hints, or `max_delay` after the first one in any case.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "agent-primary/watch/change_source.h"

namespace understudy::primary {

// More than this many paths, and a scan of the whole volume is cheaper and takes no memory.
inline constexpr size_t kMaxDirtyPaths = 100'000;

struct DirtyTimes {
  absl::Duration quiet_period;
  absl::Duration max_delay;
};

struct DirtyPath {
  std::string path;
  bool subtree = false;
};

// What is due, taken out of the set.
struct DirtyBatch {
  std::vector<DirtyPath> paths;               // ascending by path
  std::vector<uint64_t> inodes;               // ascending; by which names is for the index to say
  bool whole_volume = false;                  // then `paths` says nothing more
  std::optional<absl::Duration> oldest_hint;  // when the first of its hints came; nullopt when no hint asked for it
  [[nodiscard]] bool empty() const { return paths.empty() && inodes.empty() && !whole_volume; }
};

class DirtySet {
 public:
  explicit DirtySet(DirtyTimes times) : times_(times) {}

  void Add(std::string_view path, HintKind kind, bool at_once, absl::Duration now);
  // Of whatever has this inode number. Until it is taken it doesn't count as lag: it may be another volume's.
  void AddInode(uint64_t inode, bool at_once, absl::Duration now);
  // `path` is to be looked at again after the quiet period although nothing is known to have changed: it doesn't count
  // as lag.
  void AddRecheck(std::string_view path, absl::Duration now);
  // `path` was taken and isn't to be looked at before `until`, unless all is; it counts as lag since `hint`.
  void Postpone(std::string_view path, absl::Duration until, std::optional<absl::Duration> hint, absl::Duration now);
  // Everything is to be looked at. With `hinted` it counts as lag from `now` on.
  void AddWholeVolume(absl::Duration now, bool hinted);
  // Puts back what couldn't be replicated; due at once.
  void Restore(const DirtyBatch& batch);

  // When something becomes due, as far as is known now; nullopt when the set is empty.
  [[nodiscard]] std::optional<absl::Duration> NextDue() const;
  // Everything that is due at `now`; with `all`, everything there is.
  [[nodiscard]] DirtyBatch Take(absl::Duration now, bool all);

  // Whether nothing is in it but these.
  [[nodiscard]] bool HoldsOnly(const std::set<std::string>& paths, const std::set<uint64_t>& inodes) const;
  // Whether `path` itself waits to be taken, or everything does.
  [[nodiscard]] bool Contains(std::string_view path) const { return whole_volume_ || paths_.contains(path); }
  // When the first hint came of those not taken yet.
  [[nodiscard]] std::optional<absl::Duration> OldestHint() const;
  [[nodiscard]] size_t size() const { return paths_.size() + inodes_.size() + (whole_volume_ ? 1 : 0); }

 private:
  struct Entry {
    absl::Duration first;
    absl::Duration last;
    bool subtree = false;
    bool at_once = false;
    bool hinted = true;
    absl::Duration not_before = -absl::InfiniteDuration();
  };
  [[nodiscard]] absl::Duration DueTime(const Entry& entry) const;
  void MakeWhole(bool hinted, absl::Duration first);

  DirtyTimes times_;
  std::map<std::string, Entry, std::less<>> paths_;
  std::map<uint64_t, Entry> inodes_;
  bool whole_volume_ = false;
  std::optional<absl::Duration> whole_volume_hint_;
};

}  // namespace understudy::primary
