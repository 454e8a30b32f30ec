// mixed_source.h: fanotify for the volumes whose filesystem it can watch, inotify for the others.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/watch/change_source.h"
#include "agent-primary/watch/fanotify_source.h"
#include "agent-primary/watch/inotify_source.h"

namespace understudy::primary {

// Begins with fanotify; the inotify source is made for the first volume that needs it.
class MixedSource : public ChangeSource {
 public:
  MixedSource(std::unique_ptr<FanotifySource> fanotify, std::string cookie_folder, HintSink& sink);

  [[nodiscard]] std::string_view name() const override { return "fanotify"; }
  [[nodiscard]] absl::Status AddVolume(const model::VolumeName& volume, const std::string& path) override;
  void RemoveVolume(const model::VolumeName& volume) override;
  [[nodiscard]] absl::Status Flush(absl::Duration timeout) override;

 private:
  absl::StatusOr<InotifySource*> Inotify();

  const std::unique_ptr<FanotifySource> fanotify_;
  const std::string cookie_folder_;
  HintSink& sink_;
  absl::Mutex mutex_;
  std::unique_ptr<InotifySource> inotify_ ABSL_GUARDED_BY(mutex_);  // never taken away once it is there
};

}  // namespace understudy::primary
