// waiting_promotion.h: a promotion of the volume `vol` that is asked for while something else has the replica's lock.
#pragma once

#include <thread>

#include "absl/synchronization/notification.h"
#include "agent-dr/commit/commit_engine.h"

namespace understudy::tests {

class WaitingPromotion {
 public:
  explicit WaitingPromotion(dr::CommitEngine& engine) : engine_(engine) {}
  ~WaitingPromotion() { Join().status().IgnoreError(); }
  WaitingPromotion(const WaitingPromotion&) = delete;
  WaitingPromotion& operator=(const WaitingPromotion&) = delete;

  // Returns once the promotion waits. For whoever holds the lock; begins once.
  void Begin() {
    if (thread_.joinable()) return;
    thread_ = std::thread([this] {
      result_ = engine_.BeginPromotion("vol", false, [this] {
        const bool first = !waits_.HasBeenNotified();
        if (first) waits_.Notify();
        return !first && given_up_later;
      });
    });
    waits_.WaitForNotification();
  }
  absl::StatusOr<model::ReplicaState> Join() {
    if (thread_.joinable()) thread_.join();
    return result_;
  }
  bool given_up_later = false;  // when it has the lock

 private:
  dr::CommitEngine& engine_;
  absl::Notification waits_;
  absl::StatusOr<model::ReplicaState> result_ = absl::UnknownError("not asked");
  std::thread thread_;
};

}  // namespace understudy::tests
