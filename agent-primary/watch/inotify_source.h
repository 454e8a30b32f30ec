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
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/watch/change_source.h"
#include "core/os/fd.h"
#include "core/os/root.h"

namespace understudy::primary {

// Owns one inotify instance and the thread that reads it. `sink` must outlive it.
class InotifySource : public ChangeSource {
 public:
  // `cookie_folder` is a folder of the agent's own (outside every volume), in which Flush touches a file.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<InotifySource>> Start(const std::string& cookie_folder,
                                                                            HintSink& sink);
  ~InotifySource() override;

  [[nodiscard]] std::string_view name() const override { return "inotify"; }
  [[nodiscard]] absl::Status AddVolume(const model::VolumeName& volume, const std::string& path) override;
  void RemoveVolume(const model::VolumeName& volume) override;
  [[nodiscard]] absl::Status Flush(absl::Duration timeout) override;

  [[nodiscard]] size_t watch_count() const;

 private:
  struct Volume {
    std::string path;
    std::shared_ptr<const os::Root> root;
    int root_watch = -1;
  };
  // One watched folder. Its path is its chain of parents, so that renaming a folder costs one entry.
  struct Watch {
    model::VolumeName volume;
    int parent = -1;  // watch descriptor; -1 for a volume's root
    std::string name;
    std::map<std::string, int, std::less<>> children;
    uint64_t seen = 0;  // the newest walk that met it (walks_)
  };

  InotifySource(os::Fd inotify, os::Fd stop_event, std::string cookie_folder, HintSink& sink);

  void ReadEvents();
  bool ReadBatch();
  void Handle(const inotify_event& event);
  void HandleInFolder(const inotify_event& event, std::string_view name);
  void HandleFolderMove(const inotify_event& event, const std::string& path);
  void HandleDeparture(int folder, const model::VolumeName& volume, const os::Root& root, const std::string& path);
  void HandleOverflow();

  // Watches the folder `path` of the volume and every folder below it.
  absl::Status WatchTree(const model::VolumeName& volume, const os::Root& root, const std::string& path);
  absl::Status WatchOne(const model::VolumeName& volume, int folder_fd, const std::string& name, int parent,
                        int* watch);
  [[nodiscard]] bool PathOf(int watch, std::string* path) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(int watch, bool tell_kernel) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetUnseen(const model::VolumeName& volume) ABSL_LOCKS_EXCLUDED(mutex_);
  void ForgetOrphans() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Detach(int watch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const os::Fd inotify_;
  const os::Fd stop_event_;
  const std::string cookie_folder_;
  int cookie_watch_ = -1;
  HintSink& sink_;
  std::vector<char> buffer_;

  mutable absl::Mutex mutex_;
  std::map<model::VolumeName, Volume> volumes_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<int, Watch> watches_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> orphans_ ABSL_GUARDED_BY(mutex_);      // folders that were moved away, and not yet seen to arrive
  std::vector<int> old_orphans_ ABSL_GUARDED_BY(mutex_);  // likewise, since the batch before
  uint64_t cookies_made_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t cookies_seen_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t walks_ ABSL_GUARDED_BY(mutex_) = 0;  // over every folder, after an overflow
  uint64_t overflows_begun_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t overflows_handled_ ABSL_GUARDED_BY(mutex_) = 0;

  std::thread thread_;
};

}  // namespace understudy::primary
