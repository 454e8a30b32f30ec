#include "control/report/time_scale.h"

#include <algorithm>

namespace understudy::control {
namespace {

// A gap longer than this part of the whole is folded, to this part of the width.
constexpr double kFoldedFrom = 0.2;
constexpr double kFoldedTo = 0.08;
// All folded gaps together take no more than this part.
constexpr double kMostFolded = 0.5;
constexpr size_t kMostTicks = 8;

constexpr absl::Duration kTickSteps[] = {absl::Seconds(1),  absl::Seconds(2),  absl::Seconds(5),   absl::Seconds(10),
                                         absl::Seconds(15), absl::Seconds(30), absl::Minutes(1),   absl::Minutes(2),
                                         absl::Minutes(5),  absl::Minutes(10), absl::Minutes(15),  absl::Minutes(30),
                                         absl::Hours(1),    absl::Hours(2),    absl::Hours(3),     absl::Hours(6),
                                         absl::Hours(12),   absl::Hours(24),   absl::Hours(7 * 24)};

bool IsLong(const RunGap& gap, absl::Duration whole) {
  return gap.Length() > kFoldedFrom * whole;
}

// The first multiple of `step` that isn't before `time`.
absl::Time RoundUp(absl::Time time, absl::Duration step) {
  const absl::Duration since = time - absl::UnixEpoch();
  return absl::UnixEpoch() + absl::Ceil(since, step);
}

}  // namespace

TimeScale::TimeScale(absl::Time begin, absl::Time end, const std::vector<RunGap>& gaps, double width) {
  const absl::Duration whole = std::max(end - begin, absl::Milliseconds(1));
  absl::Time at = begin;
  for (const RunGap& gap : gaps) {
    if (!IsLong(gap, whole)) continue;
    pieces_.push_back({at, gap.begin, 0, 0, false});
    pieces_.push_back({gap.begin, gap.end, 0, 0, true});
    at = gap.end;
  }
  pieces_.push_back({at, begin + whole, 0, 0, false});
  absl::Duration unfolded;
  size_t folded = 0;
  for (const Piece& piece : pieces_) {
    if (piece.folded) {
      ++folded;
    } else {
      unfolded += piece.end - piece.begin;
    }
  }
  const double each = folded > 0 ? std::min(kFoldedTo, kMostFolded / static_cast<double>(folded)) * width : 0;
  const double left = width - each * static_cast<double>(folded);
  double x = 0;
  for (Piece& piece : pieces_) {
    const double part = unfolded > absl::ZeroDuration() ? absl::FDivDuration(piece.end - piece.begin, unfolded) : 0;
    piece.x = x;
    piece.width = piece.folded ? each : part * left;
    x += piece.width;
  }
}

double TimeScale::X(absl::Time time) const {
  for (const Piece& piece : pieces_) {
    if (time > piece.end) continue;
    const absl::Duration length = piece.end - piece.begin;
    if (length <= absl::ZeroDuration() || time < piece.begin) return piece.x;
    return piece.x + piece.width * absl::FDivDuration(time - piece.begin, length);
  }
  return pieces_.back().x + pieces_.back().width;
}

bool TimeScale::IsFolded(const RunGap& gap) const {
  return std::any_of(pieces_.begin(), pieces_.end(),
                     [&](const Piece& piece) { return piece.folded && piece.begin == gap.begin; });
}

std::vector<absl::Time> TimeScale::Ticks(double closest) const {
  absl::Duration unfolded;
  for (const Piece& piece : pieces_) unfolded += piece.folded ? absl::ZeroDuration() : piece.end - piece.begin;
  absl::Duration step = kTickSteps[0];
  for (const absl::Duration wider : kTickSteps) {
    step = wider;
    if (unfolded <= static_cast<int64_t>(kMostTicks) * step) break;
  }
  const double end = pieces_.back().x + pieces_.back().width;
  double last = 0;
  std::vector<absl::Time> ticks;
  for (const Piece& piece : pieces_) {
    if (piece.folded) continue;
    for (absl::Time tick = RoundUp(piece.begin, step); tick <= piece.end; tick += step) {
      if (X(tick) - last < closest || end - X(tick) < closest) continue;
      ticks.push_back(tick);
      last = X(tick);
    }
  }
  return ticks;
}

}  // namespace understudy::control
