// sync_watch.h: what the primary's reports say about a sync that is waited for: why it doesn't come to its end. Pure.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "control/commands/agents_client.h"
#include "core/base/status.h"

namespace understudy::control {

// Reports come about once a second; a primary that was silent for so long before the end didn't answer.
inline constexpr absl::Duration kLongestSilence = absl::Seconds(5);

// One volume's. Not thread-safe.
class SyncWatch {
 public:
  // Takes in a report that came at `now`, of a monotonic clock. Returns what keeps the volume from replicating when
  // that is something else than what was returned last; printable.
  std::optional<std::string> OnReport(const PrimaryVolume& report, absl::Duration now);

  // `status` of a sync that ended at `now`, in the caller's words: when its `timeout` is over although the primary
  // answers, ABORTED with the volume's error, or UNAVAILABLE when DR can't be reached. Any other status stays.
  [[nodiscard]] absl::Status Explain(const absl::Status& status, absl::Duration timeout, absl::Duration now) const;

 private:
  std::optional<PrimaryVolume> last_report_;
  absl::Duration last_report_at_;
  std::optional<PrimaryVolume> trouble_;  // the report with the error that isn't over
  std::string returned_;
};

}  // namespace understudy::control
