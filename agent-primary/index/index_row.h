// index_row.h: what the primary knows of one entry of the replica, and how a commit changes that. Values.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/model/commit.h"
#include "core/os/stat.h"

namespace understudy::primary {

// The index lists files that are larger than this by themselves.
inline constexpr uint64_t kMaxSmallFileBytes = 256 * 1024;

struct IndexRow {
  model::FileKind kind = model::FileKind::kRegular;
  uint64_t inode = 0;  // at the primary; 0, or IsInventoried: not known (a row made from DR's inventory)
  uint64_t size = 0;
  int64_t mtime_nanoseconds = 0;
  int64_t ctime_nanoseconds = 0;  // kUnsettledCtime: look again, whatever statx says
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t device = 0;
  model::Digest xattrs{};   // DigestOfXattrs
  model::Digest content{};  // content digest of a regular file; digest of a symlink's target; else zeros
  uint64_t file = 0;        // at DR: rows with the same number are names of one file there; 0: it has this name alone
  friend bool operator==(const IndexRow&, const IndexRow&) = default;
};

struct IndexEntry {
  std::string path;
  IndexRow row;
};

// No file has it: a row with it never equals what statx says, so the file is looked at again.
inline constexpr int64_t kUnsettledCtime = INT64_MIN;
// No file has it either: a row with it has no metadata that an entry could have.
inline constexpr int64_t kUnknownMtime = INT64_MIN;

// No file has an inode number from here on: a row of DR's inventory has one by which its segment records are found.
inline constexpr uint64_t kFirstInventoriedInode = uint64_t{1} << 62;
[[nodiscard]] inline bool IsInventoried(const IndexRow& row) {
  return row.inode >= kFirstInventoriedInode;
}

// Whether nothing can have changed since the row was made, as far as statx tells.
[[nodiscard]] bool IsUnchanged(const IndexRow& row, const os::EntryStat& stat);

// Whether both are known to be names of one file at DR.
[[nodiscard]] bool AreSameFile(const IndexRow& a, const IndexRow& b);

// Whether owner, mode, mtime and xattrs are as `metadata` has them.
[[nodiscard]] bool HasMetadata(const IndexRow& row, const model::Metadata& metadata);

[[nodiscard]] model::Digest DigestOfXattrs(const std::vector<model::Xattr>& xattrs);

// A row for an entry that was captured as `stat` with these xattrs.
[[nodiscard]] IndexRow MakeRow(const os::EntryStat& stat, const std::vector<model::Xattr>& xattrs,
                               const model::Digest& content);

// One segment of a large file (core/delta/content_digest.h). Segments that are all zeros have no record.
struct SegmentRecord {
  uint64_t number = 0;
  model::Digest digest{};
  std::string blocks{};  // marks of its blocks (kBlockMarkBytes); empty: not known here
};

// A frozen copy of a file, kept in the work folder under the name `clone`: it holds what the replica has, as long as
// the row of the file says so too.
struct BaseRecord {
  std::string clone;
  uint64_t size = 0;
  model::Digest content{};
  // Of the clone itself: nobody has changed it since it was made, and it is no other file.
  uint64_t clone_inode = 0;
  int64_t clone_ctime_nanoseconds = 0;
};

// How a commit changes the index, in the order of the commit's operations (core/model/commit.h).
struct RemoveRow {  // and all below it
  std::string path;
};
struct DetachRows {  // the row and all below it
  std::string path;
  model::Slot slot = 0;
};
struct AttachRows {
  model::Slot slot = 0;
  std::string path;
};
struct PutRow {
  std::string path;
  IndexRow row;
};
struct PutSegment {
  uint64_t inode = 0;
  SegmentRecord segment;
};
struct RemoveSegment {
  uint64_t inode = 0;
  uint64_t number = 0;
};
struct TruncateSegments {  // every segment from this number on
  uint64_t inode = 0;
  uint64_t from_number = 0;
};
// The file at one path is another inode now, with content that continues the old one's.
struct CopySegments {
  uint64_t from_inode = 0;
  uint64_t to_inode = 0;
};
// The folder at `path` has other times at DR than its row says, until a later PutRow: it is looked at again, and no
// metadata is what the row says. Nothing happens when there is no such row.
struct UnsettleRow {
  std::string path;
};
// In place of the base that the file had.
struct PutBase {
  uint64_t inode = 0;
  BaseRecord base;
};
struct DropBase {
  uint64_t inode = 0;
};
using IndexChange = std::variant<RemoveRow, DetachRows, AttachRows, CopySegments, PutRow, PutSegment, RemoveSegment,
                                 TruncateSegments, UnsettleRow, PutBase, DropBase>;

}  // namespace understudy::primary
