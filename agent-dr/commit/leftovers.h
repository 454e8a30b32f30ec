// leftovers.h: large content that was staged in part and never committed, kept for the session that goes on with it.
//
// While such content is being staged it has a sidecar that names its path. When its session or its agent ends, both are
// moved into the leftover folder of the work area (format: docs/formats/commit.md); StageResume moves the content back.
// Nothing in the folder is trusted: what it holds is compared by digests of what is on disk, and what isn't sound is
// removed. One thread at a time.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/fd.h"

namespace understudy::dr {

// Smaller content is sent again.
inline constexpr uint64_t kMinLeftoverBytes = 8 * 1024 * 1024;
inline constexpr absl::Duration kLeftoverLifetime = absl::Hours(24 * 7);

// What a sidecar says.
struct LeftoverAbout {
  std::string path;        // in the volume
  uint64_t size = 0;       // of the whole content, in bytes
  bool over_base = false;  // it holds only what differs from the replica's file
  friend bool operator==(const LeftoverAbout&, const LeftoverAbout&) = default;
};
[[nodiscard]] std::string EncodeLeftoverAbout(const LeftoverAbout& about);
// DATA_LOSS: torn, of another kind, or out of bounds.
[[nodiscard]] absl::StatusOr<LeftoverAbout> ParseLeftoverAbout(std::string_view bytes);

class Leftovers {
 public:
  // It outlives this.
  explicit Leftovers(const WorkArea& work) : work_(work) {}

  // What earlier agents left; removes what isn't sound, too old or too much.
  [[nodiscard]] absl::Status Load(absl::Time now);

  // Content for `path` begins under `slot`: it is worth keeping from now on, and an earlier one for that path no more.
  [[nodiscard]] absl::Status Describe(model::Slot slot, const LeftoverAbout& about);
  // Moves such content back into the staging folder, described. NOT_FOUND: there is none that can be used.
  [[nodiscard]] absl::StatusOr<os::Fd> TakeBack(model::Slot slot, const LeftoverAbout& about);
  // The content under `slot` isn't worth keeping any more.
  void Undescribe(model::Slot slot);

  // Staging ended: described content moves into the leftover folder; the rest of the staging folder is left to
  // WorkArea::DiscardStaging. Not to be called while a commit record may still need it.
  [[nodiscard]] absl::Status Keep(absl::Time now);
  // `commit` is durable: what was staged for it is its own now, and leftovers for paths that it gave something else to
  // are of no use.
  void Committed(const model::Commit& commit);

  void DropExpired(absl::Time now);
  // For whoever needs space: gives that of the oldest one back. False: there is none.
  bool DropOldest();

  // Oldest first; at most wire::kMaxLeftovers.
  [[nodiscard]] std::vector<std::string> Paths() const;

 private:
  struct Entry {
    uint64_t number;
    std::string path;
    bool over_base;
    int64_t left_at_nanoseconds;  // when it was moved here, Unix time
  };

  void Drop(std::vector<Entry>::iterator entry);
  void DropPath(std::string_view path);
  void Add(Entry entry, absl::Time now);

  const WorkArea& work_;
  std::vector<Entry> entries_;  // ascending by number, paths differ
  std::set<model::Slot> described_;
  uint64_t next_number_ = 0;
};

}  // namespace understudy::dr
