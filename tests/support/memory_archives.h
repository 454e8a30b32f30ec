// memory_archives.h: whether a snapshot's archive is at DR, as a test says.
#pragma once

#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "control/apply/snapshot_check.h"

namespace understudy::tests {

// Knows by name whose archive is at DR. Thread-safe.
class MemoryArchives : public control::SnapshotCheck {
 public:
  void Set(const std::string& content, bool at_dr) {
    const absl::MutexLock lock(&mutex_);
    if (at_dr) at_dr_.insert(content);
    if (!at_dr) at_dr_.erase(content);
  }
  absl::Status Check(const model::CatalogEntry& content) override {
    const absl::MutexLock lock(&mutex_);
    if (at_dr_.contains(content.key.name)) return absl::OkStatus();
    return absl::FailedPreconditionError("its archive isn't at DR");
  }

 private:
  absl::Mutex mutex_;
  std::set<std::string> at_dr_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::tests
