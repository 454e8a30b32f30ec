// guard_record.h: what the guards of one volume have to remember over a restart. Values, kept in the index.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace understudy::primary {

// The largest number of entries that the volume had within one minute.
struct EntryCount {
  int64_t minute = 0;  // Unix time
  uint64_t entries = 0;
  friend bool operator==(const EntryCount&, const EntryCount&) = default;
};

// A deletion that was held back.
struct HeldDeletion {
  uint64_t entries_before = 0;
  uint64_t entries_gone = 0;      // of them, when it was looked at last
  int64_t since_nanoseconds = 0;  // Unix time
  bool approved = false;          // up to `entries_gone` of them may go
  friend bool operator==(const HeldDeletion&, const HeldDeletion&) = default;
};

// What a volume's folder is recognised by (agent-primary/ship/root_guard.h).
struct RootIdentity {
  uint64_t filesystem = 0;  // 0: the filesystem has no lasting id
  uint64_t inode = 0;
  int64_t btime_nanoseconds = 0;  // 0: the filesystem keeps none
  friend bool operator==(const RootIdentity&, const RootIdentity&) = default;
};

struct GuardRecord {
  std::vector<EntryCount> counts;  // ascending by minute, descending by entries; bounded (capture/deletion_guard.h)
  std::optional<HeldDeletion> held;
  std::optional<RootIdentity> root;  // of the folder that was replicated last
  friend bool operator==(const GuardRecord&, const GuardRecord&) = default;
};

}  // namespace understudy::primary
