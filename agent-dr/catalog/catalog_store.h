// catalog_store.h: DR's durable copy of the primary's storage objects, and who waits for its changes.
//
// One SQLite file, synchronous=FULL. Every change gets the next revision; an entry carries the revision of its newest
// change, so a reader that knows a revision reads on from there. Deleted objects stay as entries, marked and without
// their resource, so that a reader that was away hears of the deletion; after kDeletedKept they go. Thread-safe.
//
// What belongs to a volume whose live copy is DR's is no longer the primary's to change: virtual machines at DR use
// those objects. A change that is accepted right before a promotion begins is one from before it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/model/object.h"
#include "core/model/volume.h"
#include "core/store/database.h"

namespace understudy::dr {

class CatalogStore {
 public:
  static constexpr absl::Duration kDeletedKept = absl::Hours(30 * 24);

  struct Page {
    std::vector<model::CatalogEntry> entries;  // ascending by revision
    bool more = false;
  };
  struct Filter {
    std::optional<model::ObjectKind> kind;  // nullopt: all
    bool include_deleted = false;
  };

  // Whether the primary still has the say over what belongs to a volume: CommitEngine::CheckStandby. Called with the
  // store locked: it waits for nothing, and calls no catalog.
  using CheckVolume = std::function<absl::Status(const model::VolumeName& volume)>;

  // The file is made anew when there is none; its folder exists. `clock` outlives the store.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CatalogStore>> Open(const std::string& path,
                                                                          CheckVolume check_volume,
                                                                          Clock& clock = Clock::System());

  // As model::CatalogWriter; durable when it returns OK. The entry's revision, the old one when nothing changed (0: an
  // object to delete isn't there). When an object was observed is no change by itself; of a deleted one that is the
  // moment of Delete. What `check_volume` says of the volume of the entry that is there, or that is to be, is passed
  // on, and nothing is changed; what would change nothing is fine in any case.
  [[nodiscard]] absl::StatusOr<uint64_t> Put(const model::CatalogEntry& entry);
  [[nodiscard]] absl::StatusOr<uint64_t> Delete(const model::ObjectKey& key, const std::string& uid);

  // Entries above `after_revision`, at most wire::kMaxPageEntries, about wire::kMaxPageBytes.
  [[nodiscard]] absl::StatusOr<Page> List(const Filter& filter, uint64_t after_revision);

  // The newest revision; 0: none yet.
  [[nodiscard]] uint64_t Revision() const;
  // Waits until the newest revision is above `revision`, but no longer than `timeout`. False: it isn't.
  [[nodiscard]] bool WaitForChange(uint64_t revision, absl::Duration timeout) const;

 private:
  CatalogStore(store::Database database, CheckVolume check_volume, Clock& clock)
      : check_volume_(std::move(check_volume)), clock_(clock), database_(std::move(database)) {}

  [[nodiscard]] absl::StatusOr<std::optional<model::CatalogEntry>> Find(const model::ObjectKey& key)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::StatusOr<uint64_t> Write(const model::CatalogEntry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Forgets the deletions of long ago.
  [[nodiscard]] absl::Status Purge() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const CheckVolume check_volume_;
  Clock& clock_;
  mutable absl::Mutex mutex_;
  store::Database database_ ABSL_GUARDED_BY(mutex_);
  uint64_t revision_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time purged_at_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::dr
