// event_sink.h: where object events go, whichever way they came in (a watch of the cluster, the webhook).
#pragma once

#include <set>

#include "core/model/object.h"

namespace understudy::primary {

// Thread-safe; each kind's calls come in the order in which the cluster changed.
class EventSink {
 public:
  virtual ~EventSink() = default;

  // May block while the receiver is full; returns without effect when the receiver was stopped.
  virtual void OnEvent(const model::ObjectEvent& event) = 0;

  // A complete list of `kind` was read: `keys` is everything of that kind in the whole cluster, watched namespace or
  // not. Events of what the list added came before it.
  virtual void OnSynced(model::ObjectKind kind, const std::set<model::ObjectKey>& keys) = 0;
};

}  // namespace understudy::primary
