// inotify_source.h: hints from inotify(7): one watch for each folder.
//
// A folder is scanned after its watch is set, so nothing slips in between. A folder that is renamed keeps its watches.
// What inotify can't see (writes by an NFS server whose dentry isn't cached, mmap) is for scans to find.
#pragma once

#include <sys/inotify.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/watch/change_source.h"
#include "agent-primary/watch/watch_table.h"
#include "core/os/fd.h"
#include "core/os/root.h"

namespace understudy::primary {

// Owns one inotify instance and the thread that reads it. `sink` must outlive it.
class InotifySource : public ChangeSource {
 public:
  // `cookie_folder` is a folder of the agent's own (outside every volume), in which Flush touches a file. When the
  // kernel's limit of watches was met, what is left is tried again every `retry_interval`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<InotifySource>> Start(
      const std::string& cookie_folder, HintSink& sink, absl::Duration retry_interval = absl::Minutes(5));
  ~InotifySource() override;

  [[nodiscard]] std::string_view name() const override { return "inotify"; }
  [[nodiscard]] absl::Status AddVolume(const model::VolumeName& volume, const std::string& path) override;
  void RemoveVolume(const model::VolumeName& volume) override;
  [[nodiscard]] absl::Status Flush(absl::Duration timeout) override;

  [[nodiscard]] size_t watch_count() const;

 private:
  struct Volume {
    std::shared_ptr<const os::Root> root;
    bool covered = true;  // as the sink was told last
  };

  InotifySource(os::Fd inotify, os::Fd stop_event, std::string cookie_folder, HintSink& sink,
                absl::Duration retry_interval);

  void ReadEvents();
  bool ReadBatch();
  void Handle(const inotify_event& event);
  void HandleInFolder(const inotify_event& event, std::string_view name);
  void HandleFolderMove(const inotify_event& event, const model::VolumeName& volume, const std::string& path);
  void HandleDeparture(int folder, const model::VolumeName& volume, const os::Root& root, const std::string& path);
  void HandleOverflow();

  // Watches the folder `path` of the volume and every folder below it.
  absl::Status WatchTree(const model::VolumeName& volume, const os::Root& root, const std::string& path);
  // `unwatched` folders that were to be watched couldn't be.
  void TellOfLimit(const model::VolumeName& volume, uint64_t unwatched) ABSL_LOCKS_EXCLUDED(mutex_);
  // Tries to watch what couldn't be watched before.
  void WatchTheRest() ABSL_LOCKS_EXCLUDED(mutex_);
  // The folder `path` itself. -1: it is gone.
  absl::StatusOr<int> WatchTop(const model::VolumeName& volume, const os::Root& root, const std::string& path)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The folder `name` of the folder of watch `parent`, or the volume's root when that is -1. -1: it is gone.
  absl::StatusOr<int> WatchOne(const model::VolumeName& volume, int folder_fd, const std::string& name, int parent)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Unwatch(const std::vector<int>& watches);

  const os::Fd inotify_;
  const os::Fd stop_event_;
  const std::string cookie_folder_;
  const absl::Duration retry_interval_;
  int cookie_watch_ = -1;
  HintSink& sink_;
  std::vector<char> buffer_;

  mutable absl::Mutex mutex_;
  std::map<model::VolumeName, Volume> volumes_ ABSL_GUARDED_BY(mutex_);
  WatchTable table_ ABSL_GUARDED_BY(mutex_);
  uint64_t cookies_made_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t cookies_seen_ ABSL_GUARDED_BY(mutex_) = 0;
  bool limit_told_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t overflows_begun_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t overflows_handled_ ABSL_GUARDED_BY(mutex_) = 0;

  std::thread thread_;
};

}  // namespace understudy::primary
