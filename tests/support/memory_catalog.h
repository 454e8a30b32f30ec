// memory_catalog.h: DR's catalog in memory: both of its ports, as agent-dr keeps the promises of catalog_port.h.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/model/catalog_port.h"

namespace understudy::tests {

// Thread-safe.
class MemoryCatalog : public model::CatalogWriter, public model::CatalogReader {
 public:
  absl::Status Put(const model::CatalogEntry& entry) override {
    absl::MutexLock lock(&mutex_);
    if (!error_.ok()) return error_;
    const auto found = entries_.find(entry.key);
    const bool is_in_use = found != entries_.end() && !found->second.deleted && live_.contains(found->second.volume);
    if (is_in_use || live_.contains(entry.volume)) return HeldBack();
    Store(entry, false);
    return absl::OkStatus();
  }

  absl::Status Delete(const model::ObjectKey& key, const std::string& uid) override {
    absl::MutexLock lock(&mutex_);
    if (!error_.ok()) return error_;
    const auto found = entries_.find(key);
    if (found == entries_.end() || found->second.deleted) return absl::OkStatus();
    if (!uid.empty() && found->second.uid != uid) return absl::OkStatus();
    if (live_.contains(found->second.volume)) return HeldBack();
    Store(found->second, true);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<model::CatalogEntry>> List(model::ObjectKind kind) override {
    absl::MutexLock lock(&mutex_);
    if (!error_.ok()) return error_;
    std::vector<model::CatalogEntry> found;
    for (const auto& [key, entry] : entries_) {
      if (key.kind == kind && !entry.deleted) found.push_back(entry);
    }
    return found;
  }

  absl::Status Watch(uint64_t after_revision, std::stop_token stop,
                     const std::function<void(std::optional<model::CatalogEntry>)>& on_entry) override {
    const std::stop_callback wake(stop, [this] {
      absl::MutexLock lock(&mutex_);
      changed_.SignalAll();
    });
    bool listed = false;
    while (!stop.stop_requested()) {
      std::optional<model::CatalogEntry> next;
      {
        absl::MutexLock lock(&mutex_);
        if (!error_.ok()) return error_;
        next = NextAbove(after_revision);
        if (!next && listed) {
          changed_.Wait(&mutex_);
          continue;
        }
      }
      if (next) {
        after_revision = next->revision;
      } else {
        listed = true;
      }
      on_entry(next);
    }
    return absl::OkStatus();
  }

  // From now on every call returns it, watches that run end with it; OK ends the trouble.
  void SetError(const absl::Status& error) {
    absl::MutexLock lock(&mutex_);
    error_ = error;
    changed_.SignalAll();
  }
  // DR's copy of the volume is the live one, or isn't any more.
  void SetLive(const std::string& volume, bool live) {
    absl::MutexLock lock(&mutex_);
    if (live) {
      live_.insert(volume);
    } else {
      live_.erase(volume);
    }
  }
  // Changes that were refused because of a live volume.
  [[nodiscard]] int HeldBackCount() const {
    absl::MutexLock lock(&mutex_);
    return held_back_;
  }
  // A catalog that was made anew: empty, and counting from the start.
  void Forget() {
    absl::MutexLock lock(&mutex_);
    entries_.clear();
    revision_ = 0;
  }
  [[nodiscard]] std::optional<model::CatalogEntry> Find(const model::ObjectKey& key) const {
    absl::MutexLock lock(&mutex_);
    const auto found = entries_.find(key);
    return found == entries_.end() ? std::nullopt : std::optional(found->second);
  }
  // Whether the object is there and not deleted.
  [[nodiscard]] bool Has(const model::ObjectKey& key) const {
    const std::optional<model::CatalogEntry> entry = Find(key);
    return entry && !entry->deleted;
  }

 private:
  absl::Status HeldBack() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ++held_back_;
    return absl::FailedPreconditionError("held back while the volume is active at DR");
  }
  void Store(model::CatalogEntry entry, bool deleted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    entry.deleted = deleted;
    entry.revision = ++revision_;
    entries_[entry.key] = entry;
    changed_.SignalAll();
  }
  std::optional<model::CatalogEntry> NextAbove(uint64_t revision) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::optional<model::CatalogEntry> next;
    for (const auto& [key, entry] : entries_) {
      if (entry.revision > revision && (!next || entry.revision < next->revision)) next = entry;
    }
    return next;
  }

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> live_ ABSL_GUARDED_BY(mutex_);  // volumes
  int held_back_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t revision_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<model::ObjectKey, model::CatalogEntry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::tests
