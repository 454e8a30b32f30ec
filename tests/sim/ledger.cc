#include "tests/sim/ledger.h"

#include <fmt/format.h>

namespace understudy::sim {

absl::Status Ledger::Check(model::Sequence sequence, const Picture& found) const {
  if (sequence < newest_acknowledged_) {
    return absl::DataLossError(
        fmt::format("DR is at {}, though {} was acknowledged: that is lost", sequence, newest_acknowledged_));
  }
  if (sequence == 0) return absl::OkStatus();
  const auto moments = possible_.find(sequence);
  if (moments == possible_.end()) return absl::DataLossError(fmt::format("nobody sent commit {}", sequence));
  for (const Moment& moment : moments->second) {
    if (!moment.has_value() || *moment == found) return absl::OkStatus();
  }
  return absl::DataLossError(fmt::format("the replica at {} isn't what the volume was then:\n{}", sequence,
                                         Differences(*moments->second.back(), found)));
}

}  // namespace understudy::sim
