// memory_volumes.h: the data plane as the rules see it, in memory: a test says when data is across.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/rules/volume_actions.h"
#include "core/model/path.h"

namespace understudy::tests {

// Protects /export of server "nfs1", whose replicas lie in /replica. Thread-safe.
class MemoryVolumes : public primary::VolumeActions {
 public:
  std::optional<primary::VolumePlace> Locate(const std::string& server, const std::string& path) const override {
    if (server != "nfs1" || !path.starts_with("/export/")) return std::nullopt;
    return primary::VolumePlace{.path = path, .replica_path = "/replica" + path.substr(7)};
  }

  absl::Status Register(const std::string& name, const primary::VolumePlace& place) override {
    absl::MutexLock lock(&mutex_);
    if (missing_.contains(place.path)) return absl::NotFoundError(place.path + ": no such folder");
    for (const auto& [other, path] : registered_) {
      if (other == name && path == place.path) return absl::OkStatus();
      if (other == name) return absl::AlreadyExistsError(name + " stands for " + path);
      if (model::IsWithin(path, place.path) || model::IsWithin(place.path, path)) {
        return absl::AlreadyExistsError(place.path + " overlaps volume " + other);
      }
    }
    registered_[name] = place.path;
    return absl::OkStatus();
  }

  absl::Status Unregister(const std::string& name) override {
    absl::MutexLock lock(&mutex_);
    registered_.erase(name);
    paused_.erase(name);
    return absl::OkStatus();
  }

  absl::Status Pause(const std::string& name, const primary::VolumePlace& /*place*/) override {
    absl::MutexLock lock(&mutex_);
    if (registered_.contains(name)) paused_.insert(name);
    changed_.SignalAll();
    return absl::OkStatus();
  }

  absl::Status Resume(const std::string& name) override {
    absl::MutexLock lock(&mutex_);
    paused_.erase(name);
    return absl::OkStatus();
  }

  absl::Status Discard(const std::string& name, const primary::VolumePlace& place) override {
    absl::MutexLock lock(&mutex_);
    ++discard_calls_;
    if (!discard_error_.ok()) return discard_error_;
    if (!registered_.contains(name)) discarded_[name] = place.replica_path;
    return absl::OkStatus();
  }

  absl::Status SyncToBarrier(const std::string& name, primary::BarrierWait& wait, std::stop_token stop) override {
    const std::stop_callback wake(stop, [this] {
      absl::MutexLock lock(&mutex_);
      changed_.SignalAll();
    });
    absl::MutexLock lock(&mutex_);
    ++syncs_[name];
    if (std::exchange(wait.barrier, 1) == 0) ++barriers_[name];
    while (patient_ && slow_.contains(name) && !paused_.contains(name) && !stop.stop_requested()) {
      changed_.Wait(&mutex_);
    }
    if (stop.stop_requested()) return absl::CancelledError("stopped");
    if (!registered_.contains(name)) return absl::NotFoundError("no volume " + name);
    if (paused_.contains(name)) return absl::FailedPreconditionError(name + " is paused");
    if (slow_.contains(name)) return absl::DeadlineExceededError(name + " isn't across yet");
    return absl::OkStatus();
  }

  // The data of a slow volume doesn't get across.
  void SetSlow(const std::string& name, bool slow) {
    absl::MutexLock lock(&mutex_);
    if (slow) {
      slow_.insert(name);
    } else {
      slow_.erase(name);
    }
    changed_.SignalAll();
  }
  // Of an impatient one SyncToBarrier says at once that a slow volume isn't across.
  void SetImpatient() {
    absl::MutexLock lock(&mutex_);
    patient_ = false;
  }
  [[nodiscard]] bool IsPaused(const std::string& name) const {
    absl::MutexLock lock(&mutex_);
    return paused_.contains(name);
  }
  // Barriers that were asked for.
  [[nodiscard]] int Barriers(const std::string& name) const {
    absl::MutexLock lock(&mutex_);
    const auto found = barriers_.find(name);
    return found == barriers_.end() ? 0 : found->second;
  }
  void SetMissing(const std::string& path, bool missing) {
    absl::MutexLock lock(&mutex_);
    if (missing) {
      missing_.insert(path);
    } else {
      missing_.erase(path);
    }
  }
  [[nodiscard]] std::map<std::string, std::string> Registered() const {
    absl::MutexLock lock(&mutex_);
    return registered_;
  }
  // From now on every Discard returns it.
  void SetDiscardError(const absl::Status& error) {
    absl::MutexLock lock(&mutex_);
    discard_error_ = error;
  }
  [[nodiscard]] int DiscardCalls() const {
    absl::MutexLock lock(&mutex_);
    return discard_calls_;
  }
  // Where the data of discarded volumes was at DR, by name.
  [[nodiscard]] std::map<std::string, std::string> Discarded() const {
    absl::MutexLock lock(&mutex_);
    return discarded_;
  }
  [[nodiscard]] int Syncs(const std::string& name) const {
    absl::MutexLock lock(&mutex_);
    const auto found = syncs_.find(name);
    return found == syncs_.end() ? 0 : found->second;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  std::map<std::string, std::string> registered_ ABSL_GUARDED_BY(mutex_);  // path by name
  std::map<std::string, std::string> discarded_ ABSL_GUARDED_BY(mutex_);
  absl::Status discard_error_ ABSL_GUARDED_BY(mutex_);
  int discard_calls_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<std::string> paused_ ABSL_GUARDED_BY(mutex_);
  bool patient_ ABSL_GUARDED_BY(mutex_) = true;
  std::map<std::string, int> barriers_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> slow_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> missing_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> syncs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::tests
