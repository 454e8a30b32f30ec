// list_watch.h: one kind of object, followed: listed, then watched, and listed again when the watch can't be resumed.
//
// The consumer sees a gapless story: each object's events in order, and a DELETED for each object that is gone, also
// when it went while nobody watched (ObjectEvent::concluded). A failed or partial list never leads to a deletion. What
// is known of the objects is kept while a kind isn't served. A watch that ends without a word, not even a bookmark,
// leads to a list: a cluster that was restored to an earlier state is silent until it has come to the version that is
// asked for.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <stop_token>
#include <string>

#include "absl/time/time.h"
#include "core/base/backoff.h"
#include "core/base/clock.h"
#include "core/kube/client.h"
#include "core/model/object.h"

namespace understudy::kube {

struct ListWatchOptions {
  absl::Duration retry_first = absl::Milliseconds(500);
  absl::Duration retry_longest = absl::Seconds(30);
  absl::Duration not_served_retry = absl::Minutes(1);  // a kind whose CRD isn't installed
  absl::Duration doubt_retry = absl::Minutes(1);       // how soon a list that is doubted is read again
};

struct WatchState {
  enum class Kind {
    kSynced,     // a complete list was read, or the watch goes on after a failure
    kFailing,    // `error` says why; being tried again
    kNotServed,  // the cluster doesn't know the kind; being looked for again
  };
  Kind kind = Kind::kSynced;
  absl::Status error;
};

struct ListWatchCallbacks {
  std::function<void(model::ObjectEvent)> on_event;
  // After each complete list, and after its events: the keys of everything that is there.
  std::function<void(const std::set<model::ObjectKey>&)> on_synced;
  // When the state or its error changes.
  std::function<void(const WatchState&)> on_state;
  // Whether the newest list is to be read again soon, because what it lacks is doubted. May be empty: never.
  std::function<bool()> is_doubted = {};
};

// Not thread-safe; the callbacks come on Run's thread.
class ListWatch {
 public:
  // `client` must outlive it.
  ListWatch(const Client& client, model::ObjectKind kind, ListWatchCallbacks callbacks, ListWatchOptions options = {},
            Clock& clock = Clock::System());

  // Follows until `stop` is requested.
  void Run(std::stop_token stop);

 private:
  struct Known {
    std::string uid;
    std::string resource_version;
    std::string resource;  // the last state seen: what a DELETED made up from a list carries
  };

  [[nodiscard]] absl::Status Relist(std::stop_token stop);
  [[nodiscard]] absl::Status WatchOn(std::stop_token stop);
  [[nodiscard]] absl::Duration PauseAfter(const absl::Status& status);
  void OnWatchEvent(WatchEvent event);
  void Saw(model::EventType type, nlohmann::json object, bool listed);
  void Emit(model::EventType type, const model::ObjectKey& key, const Known& known, bool concluded = false);
  void NoteState(const WatchState& state);

  const Client& client_;
  const model::ObjectKind kind_;
  const Resource& resource_;
  const ListWatchCallbacks callbacks_;
  const ListWatchOptions options_;
  Clock& clock_;
  Backoff backoff_;

  std::map<model::ObjectKey, Known> known_;
  std::string resource_version_;  // empty: list before watching
  bool just_listed_ = false;      // the next watch is short: whether the list is doubted is known soon after it
  bool heard_ = false;            // anything in the newest watch
  std::optional<WatchState> state_;
};

}  // namespace understudy::kube
