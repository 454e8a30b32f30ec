// verify.h: what a comparison of a replica finds, and what is known of a damaged file. Values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/model/commit.h"

namespace understudy::model {

// Each of the first three includes the one before.
enum class VerifyDepth {
  kExists,    // the replica's folder is there, is the replica's, and isn't empty unless it should be
  kMetadata,  // names, kinds, sizes, owners, times, links: compared with the primary
  kDigests,   // and contents
  kKept,      // contents against the digests that DR keeps: without the primary
};
[[nodiscard]] std::string_view ToString(VerifyDepth depth);
[[nodiscard]] absl::StatusOr<VerifyDepth> ParseVerifyDepth(std::string_view text);

enum class DifferenceKind {
  kFolder,      // the replica's folder isn't there, or isn't the replica's
  kIncomplete,  // no whole capture of the volume has been committed yet
  kEmpty,       // the folder is empty, and shouldn't be
  kMissing,     // at DR
  kExtra,       // at DR
  kKind,
  kSize,
  kMode,
  kOwner,
  kMtime,
  kXattrs,
  kTarget,  // of a symlink
  kDevice,
  kLinks,       // names that are one file on one side only
  kContent,     // also when only DR's own kept digest says so
  kUnreadable,  // at DR
};
[[nodiscard]] std::string_view ToString(DifferenceKind kind);
[[nodiscard]] absl::StatusOr<DifferenceKind> ParseDifferenceKind(std::string_view text);

struct Difference {
  std::string path;  // in the volume; "" is its root
  DifferenceKind kind = DifferenceKind::kContent;
  std::string detail;  // for people
  friend bool operator==(const Difference&, const Difference&) = default;
};

// So many differences of one volume are listed; all are counted.
inline constexpr size_t kMaxListedDifferences = 1000;

struct VerifyCounts {
  uint64_t entries = 0;      // looked at
  uint64_t files_read = 0;   // at DR
  uint64_t bytes_read = 0;   // likewise
  uint64_t learned = 0;      // contents whose digest wasn't known, and was taken from what is on DR's disk
  uint64_t unchecked = 0;    // changed all the time, so that they couldn't be compared
  uint64_t differences = 0;  // found; not all of them are listed
};

// A file of a replica whose content isn't what it should be.
struct DamagedFile {
  std::string path;
  uint64_t size = 0;
  // The digests of the segments that DR found (core/delta/content_digest.h), ascending; nullopt: they aren't known.
  std::optional<std::vector<SegmentDigest>> segments;
};

// One entry of a replica as DR found it just now.
struct ListedEntry {
  InventoryEntry entry;     // `link_id` is there for every file with several names, wherever these are; "" is the root
  bool changing = false;    // commits changed the content while it was read, so its digest isn't there
  bool damaged = false;     // the content isn't what DR should have
  bool unreadable = false;  // the content can't be read
};

}  // namespace understudy::model
