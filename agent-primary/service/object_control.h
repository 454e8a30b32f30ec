// object_control.h: what may be asked of the part that brings the primary cluster's storage objects to DR.
#pragma once

#include <string>
#include <vector>

#include "agent-primary/rules/action_runner.h"
#include "core/base/status.h"

namespace understudy::primary {

struct ObjectsReport {
  ActionRunnerStatus actions;
  std::vector<std::string> following_errors;  // kinds that can't be followed now, and why
  std::vector<ObjectGuardReport> guards;      // that hold something back
};

// Thread-safe.
class ObjectControl {
 public:
  virtual ~ObjectControl() = default;
  [[nodiscard]] virtual ObjectsReport Report() const = 0;
  // As ActionRunner's.
  [[nodiscard]] virtual absl::Status ApproveGuard(const std::string& guard_kind, uint64_t gone) = 0;
};

}  // namespace understudy::primary
