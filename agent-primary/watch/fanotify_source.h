// fanotify_source.h: hints from fanotify(7): one mark for each filesystem, whatever is in it.
//
// Sees what an NFS server writes by file handle, too: such an event may come without a name, and then tells the inode
// (HintSink::OnInode). Nothing has to be walked at the start, nothing is kept for a folder but what was met, and the
// kernel joins events of one object that wait. Needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH.
//
// The kernel's queue has no bound of its own here; past `max_queued_events` waiting ones it is emptied unread, and
// every volume scanned.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/watch/change_source.h"
#include "agent-primary/watch/fanotify_events.h"
#include "agent-primary/watch/folder_finder.h"
#include "core/os/fd.h"
#include "core/os/file_handle.h"

namespace understudy::primary {

inline constexpr size_t kMaxQueuedFanotifyEvents = 500'000;

// Owns one fanotify group and the thread that reads it. `sink` must outlive it.
class FanotifySource : public ChangeSource {
 public:
  // `cookie_folder` is a folder of the agent's own (outside every volume), in which Flush touches a file.
  // UNIMPLEMENTED: the kernel, the capabilities or the filesystem of that folder don't allow it; the message says
  // which.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<FanotifySource>> Start(
      const std::string& cookie_folder, HintSink& sink, size_t max_queued_events = kMaxQueuedFanotifyEvents);
  ~FanotifySource() override;

  [[nodiscard]] std::string_view name() const override { return "fanotify"; }
  // UNIMPLEMENTED: the volume's filesystem can't be marked (a btrfs subvolume, an overlay without handles), or others
  // are mounted in it, whose changes one mark wouldn't tell.
  [[nodiscard]] absl::Status AddVolume(const model::VolumeName& volume, const std::string& path) override;
  void RemoveVolume(const model::VolumeName& volume) override;
  [[nodiscard]] absl::Status Flush(absl::Duration timeout) override;

 private:
  struct Hint {
    model::VolumeName volume;
    std::string path;
    HintKind kind = HintKind::kPath;
  };

  FanotifySource(os::Fd group, os::Fd stop_event, std::string cookie_folder, os::FileHandle cookie_handle,
                 HintSink& sink, size_t max_queued_events);

  void ReadEvents();
  absl::Status ReadBatch();
  void Handle(const FanotifyEvent& event);
  void HandleInFolder(const FanotifyEvent& event);
  void HandleNameless(const FanotifyEvent& event);
  void HandleOverflow(std::string_view why);
  // More wait than are to.
  absl::StatusOr<bool> IsOverfull(size_t& waiting);
  absl::Status Drain(size_t waiting);
  std::vector<model::VolumeName> AllVolumes() ABSL_LOCKS_EXCLUDED(mutex_);
  void Lose(const absl::Status& error);

  const os::Fd group_;
  const os::Fd stop_event_;
  const std::string cookie_folder_;
  const os::FileHandle cookie_handle_;
  const size_t max_queued_events_;
  HintSink& sink_;
  std::vector<char> buffer_;
  absl::Duration next_count_;  // of the events that wait

  absl::Mutex mutex_;
  std::map<uint64_t, FolderFinder> filesystems_ ABSL_GUARDED_BY(mutex_);  // by f_fsid
  std::map<model::VolumeName, uint64_t> filesystem_of_ ABSL_GUARDED_BY(mutex_);
  uint64_t cookies_made_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t cookies_seen_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t overflows_begun_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t overflows_handled_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);  // why no events are read any more

  std::thread thread_;
};

}  // namespace understudy::primary
