// memory_restores.h: Velero's restores in memory: control/oadp/restore.h.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "control/oadp/restore.h"

namespace understudy::tests {

// A restore goes through the results that a test gives it, one at each look, and stays at the last; Completed when it
// gave none. Nothing is waited for: a timeout is over when the next look would bring nothing new. Thread-safe.
class MemoryRestores : public control::Restores {
 public:
  absl::Status WaitForBackup(const std::string& backup_name, absl::Duration, std::stop_token stop) override {
    const absl::MutexLock lock(&mutex_);
    if (stop.stop_requested()) return absl::CancelledError("stopped");
    if (backups_.contains(backup_name)) return absl::OkStatus();
    return absl::DeadlineExceededError("no Backup " + backup_name + ": look at the storage locations");
  }
  absl::Status Create(const control::RestoreSpec& spec) override {
    const absl::MutexLock lock(&mutex_);
    if (!create_error_.ok()) return create_error_;
    const auto [found, is_new] = restores_.try_emplace(spec.name, Restore{.spec = spec});
    if (!is_new && found->second.spec != spec) return absl::AlreadyExistsError(spec.name + " restores something else");
    if (is_new && on_create_) on_create_(spec);
    return absl::OkStatus();
  }
  absl::StatusOr<control::RestoreResult> Get(const std::string& name) override {
    const absl::MutexLock lock(&mutex_);
    const auto found = restores_.find(name);
    if (found == restores_.end()) return absl::NotFoundError(name + " not found");
    return ResultOf(found->second);
  }
  absl::StatusOr<control::RestoreResult> WaitForEnd(
      const std::string& name, absl::Duration, std::stop_token stop,
      const std::function<void(const control::RestoreResult&)>& on_progress) override {
    while (true) {
      if (stop.stop_requested()) return absl::CancelledError("stopped");
      absl::StatusOr<control::RestoreResult> result = Get(name);
      if (!result.ok()) return result;
      if (on_progress) on_progress(*result);
      const absl::MutexLock lock(&mutex_);
      Restore& restore = restores_.at(name);
      if (result->Ended()) return result;
      if (restore.at + 1 >= story_.size()) return absl::DeadlineExceededError(name + " hasn't ended");
      ++restore.at;
    }
  }
  absl::Status Delete(const std::string& name) override {
    const absl::MutexLock lock(&mutex_);
    const auto found = restores_.find(name);
    if (found == restores_.end()) return absl::OkStatus();
    if (!ResultOf(found->second).Ended()) deleted_under_way_.push_back(name);
    restores_.erase(found);
    return absl::OkStatus();
  }

  // Deleted before they had ended.
  [[nodiscard]] std::vector<std::string> DeletedUnderWay() const {
    const absl::MutexLock lock(&mutex_);
    return deleted_under_way_;
  }
  void AddBackup(const std::string& name) {
    const absl::MutexLock lock(&mutex_);
    backups_.insert(name);
  }
  // What restores go through from now on.
  void SetStory(std::vector<control::RestoreResult> story) {
    const absl::MutexLock lock(&mutex_);
    story_ = std::move(story);
  }
  void FailCreate(const absl::Status& error) {
    const absl::MutexLock lock(&mutex_);
    create_error_ = error;
  }
  // Called once for each new restore, so that a test can bring what it restores.
  void OnCreate(std::function<void(const control::RestoreSpec&)> on_create) {
    const absl::MutexLock lock(&mutex_);
    on_create_ = std::move(on_create);
  }
  [[nodiscard]] std::map<std::string, control::RestoreSpec> Specs() const {
    const absl::MutexLock lock(&mutex_);
    std::map<std::string, control::RestoreSpec> specs;
    for (const auto& [name, restore] : restores_) specs[name] = restore.spec;
    return specs;
  }

 private:
  struct Restore {
    control::RestoreSpec spec;
    size_t at = 0;
  };

  control::RestoreResult ResultOf(const Restore& restore) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return story_.at(std::min(restore.at, story_.size() - 1));
  }

  mutable absl::Mutex mutex_;
  std::vector<std::string> deleted_under_way_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> backups_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Restore> restores_ ABSL_GUARDED_BY(mutex_);
  std::vector<control::RestoreResult> story_ ABSL_GUARDED_BY(mutex_) = {{.phase = "InProgress"},
                                                                        {.phase = "Completed"}};
  std::function<void(const control::RestoreSpec&)> on_create_ ABSL_GUARDED_BY(mutex_);
  absl::Status create_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::tests
