// time_scale.h: where on a timeline a moment of a run is drawn. Pure.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "control/report/failover_report.h"

namespace understudy::control {

// In proportion, except that a long gap is folded: a night between two attempts would leave no room for the attempts.
class TimeScale {
 public:
  // From `begin` to `end` over `width`, with x from 0. `gaps` by time, within the two.
  TimeScale(absl::Time begin, absl::Time end, const std::vector<RunGap>& gaps, double width);

  // Times outside are drawn at the nearer end.
  [[nodiscard]] double X(absl::Time time) const;
  // Whether the gap is drawn shorter than in proportion.
  [[nodiscard]] bool IsFolded(const RunGap& gap) const;
  // Round times for the axis, the begin and the end apart; `closest` is the least distance of two, and to the ends.
  [[nodiscard]] std::vector<absl::Time> Ticks(double closest) const;

 private:
  struct Piece {
    absl::Time begin;
    absl::Time end;
    double x;
    double width;
    bool folded;
  };
  std::vector<Piece> pieces_;
};

}  // namespace understudy::control
