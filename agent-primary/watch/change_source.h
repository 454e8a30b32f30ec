// change_source.h: what hints at changes. A hint says where to look first; it is never trusted, and never needed: a
// scan against the index finds what no hint told.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/model/volume.h"

namespace understudy::primary {

enum class HintKind {
  kPath,     // this entry may have changed, appeared or gone
  kSubtree,  // so may everything below it
};

// Takes hints, on the source's thread; must not block.
class HintSink {
 public:
  virtual ~HintSink() = default;
  // `at_once`: nobody is writing it any more (closed after writing, renamed into place, removed), so nothing is won by
  // waiting.
  virtual void OnHint(const model::VolumeName& volume, std::string_view path, HintKind kind, bool at_once) = 0;
  // A file or folder with this inode number may have changed, by whichever of its names; it may belong to another
  // volume of the same filesystem, too.
  virtual void OnInode(const model::VolumeName& volume, uint64_t inode, bool at_once) = 0;
  // Anything in the volume may have changed.
  virtual void OnOverflow(const model::VolumeName& volume) = 0;
  // OK: from now on every change in the volume is hinted at. RESOURCE_EXHAUSTED: part of it can't be watched, and the
  // message names the setting to raise; scans have to find what changes there. Until the first call it is OK.
  virtual void OnCoverage(const model::VolumeName& volume, const absl::Status& coverage) = 0;
};

// Thread-safe.
class ChangeSource {
 public:
  virtual ~ChangeSource() = default;

  [[nodiscard]] virtual std::string_view name() const = 0;

  // When it returns, every change made below `path` (absolute) from now on is hinted at, but for what OnCoverage told
  // of.
  [[nodiscard]] virtual absl::Status AddVolume(const model::VolumeName& volume, const std::string& path) = 0;
  virtual void RemoveVolume(const model::VolumeName& volume) = 0;

  // Returns when the sink was told of everything that happened before the call. DEADLINE_EXCEEDED: it took longer than
  // `timeout`.
  [[nodiscard]] virtual absl::Status Flush(absl::Duration timeout) = 0;
};

// What the configuration wants. kFanotify: inotify watches the volumes whose filesystem fanotify can't. kAuto: inotify.
enum class ChangeBackend { kAuto, kFanotify, kInotify };

// `cookie_folder` is a folder of the agent's own, outside every volume; `sink` must outlive the source. UNIMPLEMENTED:
// kFanotify, and it doesn't work here at all.
[[nodiscard]] absl::StatusOr<std::unique_ptr<ChangeSource>> StartChangeSource(ChangeBackend backend,
                                                                              const std::string& cookie_folder,
                                                                              HintSink& sink);

}  // namespace understudy::primary
