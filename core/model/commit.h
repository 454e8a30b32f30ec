// commit.h: a commit and its operations: what takes the replica of one volume from one state to the next. Values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/model/consistency.h"
#include "core/model/volume.h"

namespace understudy::model {

enum class FileKind : uint8_t {
  kRegular = 1,
  kDirectory = 2,
  kSymlink = 3,
  kFifo = 4,
  kSocket = 5,
  kCharacterDevice = 6,
  kBlockDevice = 7,
};

struct Xattr {
  std::string name;
  std::string value;
  friend bool operator==(const Xattr&, const Xattr&) = default;
};

// What a file carries besides its content.
struct Metadata {
  uint32_t mode = 0;  // permission bits with setuid, setgid, sticky
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  std::vector<Xattr> xattrs;  // ascending by name
  friend bool operator==(const Metadata&, const Metadata&) = default;
};

// XXH3-128, canonical (big-endian) bytes. Finds changes and accidents, not adversaries.
using Digest = std::array<uint8_t, 16>;

// Names staged content, or a detached entry, inside one commit.
using Slot = uint32_t;

// Removes one name; a folder with all that is left in it.
struct Remove {
  std::string path;  // in the names before the commit
  FileKind kind = FileKind::kRegular;
};
// A rename is a Detach and an Attach of the same slot. All detaching comes before all attaching, so swaps, cycles and
// moves into new folders need no order of their own.
struct Detach {
  std::string path;  // in the names before the commit
  Slot slot = 0;
};
struct Attach {
  Slot slot = 0;
  std::string path;
};
struct MakeDirectory {
  std::string path;
  Metadata metadata;
};
// A regular file whose content is new: inline, or staged under a slot before.
struct Put {
  std::string path;
  Metadata metadata;
  uint64_t size = 0;
  Digest digest{};  // content digest, docs/formats/content-digest.md
  std::variant<std::string, Slot> content;
};
struct MakeSymlink {
  std::string path;
  std::string target;
  Metadata metadata;
};
struct MakeNode {
  std::string path;
  FileKind kind = FileKind::kFifo;
  uint64_t device = 0;  // st_rdev
  Metadata metadata;
};
// Another name of what stands at `target` (both in the names after pass 2), which is no folder. An entry that has the
// name already is replaced; a name that is one of `target`'s own stays as it is.
struct Link {
  std::string path;
  std::string target;
};
// New content for the regular file at `path` (in the names after pass 2), which stays the same file, so all of its
// names show it. The slot was staged with the file, under the path that it has before the commit, as its base.
struct Patch {
  std::string path;
  Metadata metadata;
  uint64_t size = 0;
  Digest digest{};  // content digest of the whole file after the patch
  Slot slot = 0;
};
struct SetMetadata {
  std::string path;  // "" is the volume's root
  FileKind kind = FileKind::kRegular;
  Metadata metadata;
};

using Operation =
    std::variant<Remove, Detach, Attach, MakeDirectory, Put, MakeSymlink, MakeNode, Link, Patch, SetMetadata>;

// Operations stand in the order in which they take effect:
//   1. Remove and Detach, in descending key order of their paths (what is in a folder before the folder);
//   2. Attach, MakeDirectory, Put, MakeSymlink, MakeNode, in ascending key order (a folder before what is in it);
//   3. Link and Patch, in ascending key order;
//   4. SetMetadata, in descending key order (a folder's times after what changes them).
// ValidateOrder refuses anything else.
struct Commit {
  VolumeName volume;
  Epoch epoch = 0;
  Sequence base_sequence = 0;
  Sequence sequence = 0;
  std::vector<Operation> operations;
  bool completes_capture = true;  // false inside a capture that needs several commits
  int64_t captured_at_nanoseconds = 0;
  // Random, chosen by who makes the commit: tells it from another one with the same sequence, of another primary.
  std::string id{};
  Consistency consistency = Consistency::kUnknown;  // of the state that it leads to; with completes_capture only
};

[[nodiscard]] absl::Status ValidateOrder(const Commit& commit);

// Replaces [offset, offset + length) of staged content by a librsync delta against the same range of the base.
struct SegmentDelta {
  uint64_t offset = 0;
  uint64_t length = 0;
  std::string delta;
  Digest digest{};  // of the range after the delta
  // What of the base file it was made against: where it begins, and how long it may be (the file may end before).
  uint64_t base_offset = 0;
  uint64_t base_length = 0;
};

// One segment (core/delta/content_digest.h) of staged content.
struct SegmentDigest {
  uint64_t number = 0;
  Digest digest{};
  friend bool operator==(const SegmentDigest&, const SegmentDigest&) = default;
};

// One entry of a replica, as DR finds it on disk.
struct InventoryEntry {
  std::string path;
  FileKind kind = FileKind::kRegular;
  uint64_t size = 0;
  uint64_t device = 0;
  std::string symlink_target;
  Metadata metadata;
  std::optional<Digest> digest;
  std::vector<SegmentDigest> segments{};  // that `digest` is made of, ascending; empty: not told
  uint64_t link_id = 0;  // of all names of one file with several names within the replica; 0: it has one name
};

}  // namespace understudy::model
