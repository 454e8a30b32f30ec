// action_observer.h: who is told what became of the events that the ActionRunner was given.
#pragma once

#include <string>
#include <string_view>

#include "core/model/object.h"

namespace understudy::primary {

enum class ActionResult {
  kDone,
  kIgnored,   // nothing is to be done, or a newer event of the object took its place
  kHeld,      // would be done, but can't be
  kRetrying,  // failed, or waits for another object; tried again
};

// Thread-safe; called without any lock of the caller's.
class ActionObserver {
 public:
  virtual ~ActionObserver() = default;

  // `event_id` is never empty.
  virtual void OnResult(const std::string& event_id, ActionResult result, std::string_view reason) = 0;

  // Whether an object that DR's catalog has and the cluster hasn't (any more) may be deleted at DR, as its DELETED
  // event would do.
  [[nodiscard]] virtual bool MayDelete(const model::CatalogEntry& entry) = 0;
};

}  // namespace understudy::primary
