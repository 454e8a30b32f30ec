#include "agent-dr/receive/damage_teller.h"

#include <utility>

namespace understudy::dr {

DamageTeller::DamageTeller(std::function<void(const v1::ReplicateResponse&)> write)
    : write_(std::move(write)), thread_([this] { Work(); }) {}

DamageTeller::~DamageTeller() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void DamageTeller::Tell(v1::ReplicateResponse message) {
  absl::MutexLock lock(&mutex_);
  if (untold_.size() < kMaxUntoldDamage) untold_.push_back(std::move(message));
}

void DamageTeller::Work() {
  while (true) {
    v1::ReplicateResponse message;
    {
      absl::MutexLock lock(&mutex_);
      const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !untold_.empty(); };
      mutex_.Await(absl::Condition(&something));
      if (stopping_) return;
      message = std::move(untold_.front());
      untold_.pop_front();
    }
    write_(message);
  }
}

}  // namespace understudy::dr
