#include "agent-primary/watch/mixed_source.h"

#include <utility>

#include "absl/time/clock.h"
#include "core/base/log.h"

namespace understudy::primary {

MixedSource::MixedSource(std::unique_ptr<FanotifySource> fanotify, std::string cookie_folder, HintSink& sink)
    : fanotify_(std::move(fanotify)), cookie_folder_(std::move(cookie_folder)), sink_(sink) {}

absl::StatusOr<InotifySource*> MixedSource::Inotify() {
  absl::MutexLock lock(&mutex_);
  if (inotify_ == nullptr) {
    ASSIGN_OR_RETURN(inotify_, InotifySource::Start(cookie_folder_, sink_));
  }
  return inotify_.get();
}

absl::Status MixedSource::AddVolume(const model::VolumeName& volume, const std::string& path) {
  RemoveVolume(volume);  // its root may be on another filesystem now
  const absl::Status status = fanotify_->AddVolume(volume, path);
  if (!absl::IsUnimplemented(status)) return status;
  spdlog::warn(
      "volume={} fanotify can't watch it ({}): inotify does, which doesn't see what an NFS server writes into files "
      "that "
      "it opened before its caches were emptied",
      volume, MessageOf(status));
  ASSIGN_OR_RETURN(InotifySource* const inotify, Inotify());
  return inotify->AddVolume(volume, path);
}

void MixedSource::RemoveVolume(const model::VolumeName& volume) {
  fanotify_->RemoveVolume(volume);
  absl::MutexLock lock(&mutex_);
  if (inotify_ != nullptr) inotify_->RemoveVolume(volume);
}

absl::Status MixedSource::Flush(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  RETURN_IF_ERROR(fanotify_->Flush(timeout));
  InotifySource* inotify = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    inotify = inotify_.get();
  }
  return inotify == nullptr ? absl::OkStatus() : inotify->Flush(deadline - absl::Now());
}

absl::StatusOr<std::unique_ptr<ChangeSource>> StartChangeSource(ChangeBackend backend, const std::string& cookie_folder,
                                                                HintSink& sink) {
  if (backend == ChangeBackend::kFanotify) {
    ASSIGN_OR_RETURN(std::unique_ptr<FanotifySource> fanotify, FanotifySource::Start(cookie_folder, sink));
    return std::make_unique<MixedSource>(std::move(fanotify), cookie_folder, sink);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<InotifySource> inotify, InotifySource::Start(cookie_folder, sink));
  return inotify;
}

}  // namespace understudy::primary
