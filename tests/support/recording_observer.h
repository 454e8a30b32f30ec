// recording_observer.h: hears what becomes of object events, for a test to look at.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/rules/action_observer.h"

namespace understudy::tests {

// What was told of each event, in order. Objects named "kept" may not be deleted. Thread-safe.
class RecordingObserver : public primary::ActionObserver {
 public:
  void OnResult(const std::string& event_id, primary::ActionResult result, std::string_view reason) override {
    absl::MutexLock lock(&mutex_);
    results_[event_id].push_back(result);
    reasons_[event_id] = std::string(reason);
  }
  bool MayDelete(const model::CatalogEntry& entry) override { return entry.key.name != "kept"; }

  std::vector<primary::ActionResult> Results(const std::string& event_id) const {
    absl::MutexLock lock(&mutex_);
    const auto found = results_.find(event_id);
    return found == results_.end() ? std::vector<primary::ActionResult>() : found->second;
  }
  std::string Reason(const std::string& event_id) const {
    absl::MutexLock lock(&mutex_);
    const auto found = reasons_.find(event_id);
    return found == reasons_.end() ? std::string() : found->second;
  }

 private:
  mutable absl::Mutex mutex_;
  std::map<std::string, std::vector<primary::ActionResult>> results_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> reasons_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::tests
