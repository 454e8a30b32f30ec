// file_capture.h: reads one file as it is now and stages what the replica lacks of it.
//
// The rungs: `extents` (extents_capture.h), `blocks` (those whose marks aren't the kept ones: the file is read once, DR
// reads nothing and isn't asked), `rsync` (librsync's deltas, where only DR knows what it has, or content moved inside
// the file) and `whole` (all data, holes stay holes). Memory is bounded by a few segments and the marks of
// 32 GiB, whatever the file's size.
#pragma once

#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agent-primary/capture/base_store.h"
#include "agent-primary/capture/source_error.h"
#include "agent-primary/index/volume_index.h"
#include "core/model/replica_sink.h"
#include "core/os/metadata.h"
#include "core/os/root.h"
#include "core/wire/content_limits.h"

namespace understudy::primary {

// Content up to this size travels inside the commit.
inline constexpr uint64_t kMaxInlineContentBytes = kMaxSmallFileBytes;

// What one message of staged content carries at most.
inline constexpr size_t kStagePieceBytes = 128 * 1024;

enum class Strategy { kAuto, kWhole, kRsync };

struct CapturedFile {
  os::EntryStat stat;  // before the content was read
  model::Metadata metadata;
  model::Digest digest{};
  bool extends_base = false;                       // what is staged begins as the base, so it can patch that
  bool content_changed = false;                    // false: the replica has this content already
  std::variant<std::string, model::Slot> content;  // meaningful when content_changed
  std::vector<IndexChange> segment_changes;        // what the index learns when the commit is acknowledged
  bool slot_taken = false;                         // DR knows the slot, though nothing may be in it
  bool unsettled = false;                          // it changed while it was read, or a moment ago: look again
  bool changed = false;                            // while it was read
  uint64_t bytes_sent = 0;
  uint64_t bytes_resumed = 0;  // staged by an earlier session, so they weren't sent again
  std::string_view rung = "whole";
  uint64_t extents = 0;         // where they were counted
  std::string why_not_extents;  // for people: why that rung can't be used, the next time
};

struct CaptureRequest {
  const os::Root& root;
  VolumeIndex& index;
  model::ReplicaSink& sink;
  const model::VolumeName& volume;
  std::string path;
  std::optional<IndexEntry> base;  // what the replica has, under the path that it has now
  model::Slot slot = 0;            // to stage under, if that is needed
  Strategy strategy = Strategy::kAuto;
  std::stop_token stop{};
  os::Labels labels = os::Labels::kOmit;
  // Not 0: any other file at the path is none (NOT_FOUND).
  uint64_t inode = 0;
  std::set<std::string>* leftovers = nullptr;      // paths that StageResume may know; those that it was asked for go
  BaseStore* bases = nullptr;                      // nullptr: files are read as they stand
  uint64_t most_ranges = wire::kMaxContentRanges;  // that DR takes of one file
};

// A file at the moment that its commit shows.
struct OpenedFile {
  os::EntryStat stat;
  model::Metadata metadata;
  bool unsettled = false;
  os::Fd fd;                         // of the file itself, unless it is frozen
  std::optional<FrozenFile> frozen;  // a large one, where that can be done
  std::string why_not_frozen;        // for people, when it was tried
};

// NOT_FOUND: there is no regular file at the path any more. Other errors are IsOfSource().
[[nodiscard]] absl::StatusOr<OpenedFile> OpenForCapture(const CaptureRequest& request);

// CANCELLED: `stop` was requested. ABORTED: the room of frozen copies was needed while they were read. Errors of the
// sink and the index come back as they are; IsOfSource() tells the others apart, and IsOfCopy(): the file may be read
// as it stands, under another slot.
[[nodiscard]] absl::StatusOr<CapturedFile> CaptureFile(const CaptureRequest& request, OpenedFile opened);

// Two ticks of the slowest clock that Linux stamps files with (CONFIG_HZ=100).
inline constexpr int64_t kRacyNanoseconds = 20'000'000;

// Whether a change in the same clock tick could hide behind `ctime`: the file has to be looked at again.
[[nodiscard]] bool IsRacilyClean(int64_t ctime_nanoseconds);

}  // namespace understudy::primary
