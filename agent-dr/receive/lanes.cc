#include "agent-dr/receive/lanes.h"

#include <fmt/format.h>

#include <utility>

namespace understudy::dr {

Lanes::Lanes(MakeReceiver make_receiver) : make_receiver_(std::move(make_receiver)) {
  for (size_t i = 0; i < kLaneWorkers; ++i) workers_.emplace_back([this] { Work(); });
}

Lanes::~Lanes() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& worker : workers_) worker.join();
}

absl::Status Lanes::Push(const model::VolumeName& volume, v1::ReplicateRequest request) {
  const size_t bytes = request.ByteSizeLong();
  absl::MutexLock lock(&mutex_);
  // A message always fits into an empty queue.
  const auto fits = [this, bytes]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return queued_bytes_ == 0 || queued_bytes_ + bytes <= kMaxQueuedBytes;
  };
  mutex_.Await(absl::Condition(&fits));
  if (!lanes_.contains(volume) && lanes_.size() >= kMaxVolumesOfStream) {
    return absl::ResourceExhaustedError(fmt::format("more than {} volumes in one stream", kMaxVolumesOfStream));
  }
  Lane& lane = lanes_[volume];
  if (lane.receiver == nullptr) lane.receiver = make_receiver_();
  lane.messages.push_back({std::move(request), bytes});
  queued_bytes_ += bytes;
  if (!lane.scheduled) {
    lane.scheduled = true;
    ready_.push_back(&lane);
  }
  return absl::OkStatus();
}

Lanes::Lane* Lanes::TakeLane() {
  absl::MutexLock lock(&mutex_);
  const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !ready_.empty(); };
  mutex_.Await(absl::Condition(&something));
  if (stopping_) return nullptr;
  Lane* const lane = ready_.front();
  ready_.pop_front();
  return lane;
}

void Lanes::Work() {
  while (Lane* const lane = TakeLane()) {
    Message message;
    {
      absl::MutexLock lock(&mutex_);
      message = std::move(lane->messages.front());
      lane->messages.pop_front();
    }
    lane->receiver->Receive(message.request);
    absl::MutexLock lock(&mutex_);
    queued_bytes_ -= message.bytes;
    // One message a turn: the volumes of a stream share its workers evenly.
    if (lane->messages.empty()) {
      lane->scheduled = false;
    } else {
      ready_.push_back(lane);
    }
  }
}

}  // namespace understudy::dr
