#include "agent-primary/ship/lane.h"

#include <algorithm>
#include <utility>

#include "core/base/log.h"

namespace understudy::primary {
namespace {

constexpr absl::Duration kFirstReconnect = absl::Milliseconds(100);
constexpr absl::Duration kLongestReconnect = absl::Seconds(5);

}  // namespace

Lane::Lane(SinkConnector connect, const Clock& clock) : connect_(std::move(connect)), clock_(clock) {
  thread_ = std::thread([this] { Loop(); });
}

Lane::~Lane() {
  stop_runs_.request_stop();
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

void Lane::Add(std::shared_ptr<VolumeReplicator> replicator) {
  absl::MutexLock lock(&mutex_);
  replicators_.push_back(std::move(replicator));
  woken_ = true;
}

void Lane::Remove(const model::VolumeName& name) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(replicators_, [&](const auto& replicator) { return replicator->name() == name; });
  const auto idle = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_ != name; };
  mutex_.Await(absl::Condition(&idle));
}

void Lane::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

absl::Status Lane::connection() const {
  absl::MutexLock lock(&mutex_);
  return connection_;
}

std::vector<std::shared_ptr<VolumeReplicator>> Lane::Replicators() const {
  absl::MutexLock lock(&mutex_);
  return replicators_;
}

void Lane::Loop() {
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      if (stop_) break;
    }
    if (sink_ == nullptr) {
      Connect();
      continue;
    }
    const std::shared_ptr<VolumeReplicator> replicator = WaitForWork();
    if (replicator != nullptr) {
      RunOne(*replicator);
    } else {
      Disconnect(absl::UnavailableError("the connection to understudy-dr was lost"));
    }
  }
  sink_.reset();
}

void Lane::Connect() {
  {
    absl::MutexLock lock(&mutex_);
    broken_ = false;
  }
  const auto on_published = [this](const model::VolumeName& volume, model::Sequence sequence) {
    for (const auto& replicator : Replicators()) {
      if (replicator->name() == volume) replicator->SetPublished(sequence);
    }
  };
  const auto on_broken = [this] {
    absl::MutexLock lock(&mutex_);
    broken_ = true;
  };
  absl::StatusOr<std::unique_ptr<model::ReplicaSink>> sink = connect_(on_published, on_broken);
  if (sink.ok()) {
    sink_ = *std::move(sink);
    sink_->ListenToDamage([this](const model::VolumeName& volume, const model::DamagedFile& file) {
      for (const auto& replicator : Replicators()) {
        if (replicator->name() == volume) replicator->OnDamaged(file);
      }
      Wake();
    });
    failed_connects_ = 0;
    absl::MutexLock lock(&mutex_);
    connection_ = absl::OkStatus();
    return;
  }
  for (const auto& replicator : Replicators()) replicator->SetUnreachable(sink.status());
  const absl::Duration delay =
      std::min(kLongestReconnect, kFirstReconnect * (int64_t{1} << std::min(failed_connects_++, 8)));
  absl::MutexLock lock(&mutex_);
  connection_ = sink.status();
  mutex_.AwaitWithTimeout(absl::Condition(&stop_), delay);
}

std::shared_ptr<VolumeReplicator> Lane::WaitForWork() {
  absl::MutexLock lock(&mutex_);
  for (;;) {
    if (stop_ || broken_) return nullptr;
    woken_ = false;
    const absl::Duration now = clock_.Monotonic();
    absl::Duration earliest = absl::InfiniteDuration();
    for (size_t i = 0; i < replicators_.size(); ++i) {
      const size_t at = (next_ + i) % replicators_.size();
      const std::optional<absl::Duration> due = replicators_[at]->NextRun();
      if (!due.has_value()) continue;
      if (*due <= now) {
        next_ = at + 1;
        running_ = replicators_[at]->name();
        return replicators_[at];
      }
      earliest = std::min(earliest, *due);
    }
    const auto woken = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return woken_ || stop_ || broken_; };
    mutex_.AwaitWithTimeout(absl::Condition(&woken), earliest - now);
  }
}

void Lane::RunOne(VolumeReplicator& replicator) {
  const absl::Status status = replicator.Run(*sink_, stop_runs_.get_token());
  {
    absl::MutexLock lock(&mutex_);
    running_.clear();
  }
  if (status.ok() || absl::IsCancelled(status) || replicator.held_back()) return;
  spdlog::warn("volume={} {}", replicator.name(), MessageOf(status));
  if (absl::IsUnavailable(status)) Disconnect(status);
}

void Lane::Disconnect(const absl::Status& reason) {
  sink_.reset();
  for (const auto& replicator : Replicators()) replicator->ForgetSession();
  absl::MutexLock lock(&mutex_);
  connection_ = reason;
}

}  // namespace understudy::primary
