// cluster_intake.h: the four kinds of storage objects, followed on the primary cluster and handed on as object events.
//
// What belongs to a watched namespace is handed on: PersistentVolumeClaims and VolumeSnapshots by their own namespace,
// PersistentVolumes and VolumeSnapshotContents by that of the claim or snapshot that they refer to; a PersistentVolume
// that refers to none, by the claim whose spec.volumeName names it, whichever comes first. Deletions of the latter two
// are always handed on, because the reference may have gone first; who never heard of the object ignores it.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/intake/unclaimed_volumes.h"
#include "agent-primary/rules/event_sink.h"
#include "core/kube/client.h"
#include "core/kube/list_watch.h"

namespace understudy::primary {

// The configured namespaces; when there are none, those of `environment` (the value of WATCH_NAMESPACES, separated by
// commas; may be null). An empty result means all.
[[nodiscard]] std::vector<std::string> WatchedNamespaces(const std::vector<std::string>& configured,
                                                         const char* environment);

// Whether the event concerns one of `namespaces` (empty: all). Pure.
[[nodiscard]] bool BelongsTo(const std::set<std::string>& namespaces, const model::ObjectEvent& event);

struct KindStatus {
  model::ObjectKind kind = model::ObjectKind::kPersistentVolume;
  bool synced = false;     // a complete list was read since the start, and following it works
  bool served = true;      // false: the cluster doesn't know the kind (its CRD isn't installed)
  std::string error = {};  // why it fails now; empty when it doesn't
};

class ClusterIntake {
 public:
  // Whether the newest list of the kind is to be read again soon. Thread-safe.
  using Doubts = std::function<bool(model::ObjectKind)>;

  // `client` and `sink` must outlive the intake. `doubts` may be empty.
  ClusterIntake(const kube::Client& client, const std::vector<std::string>& namespaces, EventSink& sink,
                kube::ListWatchOptions options = {}, Doubts doubts = {});

  // Follows all kinds, each on a thread of its own, until `stop` is requested. To be called once.
  void Run(std::stop_token stop);

  // Thread-safe. One entry for each kind.
  [[nodiscard]] std::vector<KindStatus> Status() const;

 private:
  void Follow(model::ObjectKind kind, std::stop_token stop);
  void HandOn(const model::ObjectEvent& event);
  void NoteState(model::ObjectKind kind, const kube::WatchState& state);

  const kube::Client& client_;
  const std::set<std::string> namespaces_;
  EventSink& sink_;
  const kube::ListWatchOptions options_;
  const Doubts doubts_;

  // Held while events of volumes and claims are handed on, so that a volume's events keep their order.
  absl::Mutex related_mutex_;
  UnclaimedVolumes unclaimed_ ABSL_GUARDED_BY(related_mutex_);

  mutable absl::Mutex mutex_;
  std::map<model::ObjectKind, KindStatus> status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::primary
