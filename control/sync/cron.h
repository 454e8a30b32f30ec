// cron.h: when a cron expression is due. Pure.
//
// Five fields: minute (0-59), hour (0-23), day of month (1-31), month (1-12 or JAN-DEC), day of week (0-7 or SUN-SAT; 0
// and 7 are Sunday). A field is a list of *, a value, a range a-b, or a step */n, a-b/n or a/n (from a to the field's
// end). Names are taken in any case. When day of month and day of week are both restricted (neither begins with *),
// either suffices. `@hourly @daily @midnight @weekly @monthly @yearly @annually` stand for the usual expressions.
//
// Where the time zone leaves an hour out or repeats it: a time of day that doesn't exist on a day is due at the first
// instant after the gap; one that exists twice is due at its first occurrence. Expressions whose hour field begins with
// * follow the clock on the wall as it runs instead: they are due in both passes of a repeated hour, and not for one
// that is left out.
#pragma once

#include <bitset>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::control {

// A value; thread-safe as such.
class CronExpression {
 public:
  // INVALID_ARGUMENT, naming the field and what may stand there; also for an expression that is never due, such as
  // 30 February.
  [[nodiscard]] static absl::StatusOr<CronExpression> Parse(std::string_view text);

  // The first due instant after `after`, on a whole minute of the zone's time.
  [[nodiscard]] absl::Time Next(absl::Time after, const absl::TimeZone& zone) const;

 private:
  CronExpression() = default;
  [[nodiscard]] bool DueOn(absl::CivilDay day) const;
  [[nodiscard]] std::optional<absl::CivilDay> DayFrom(absl::CivilDay first) const;
  [[nodiscard]] std::optional<absl::Time> FirstOn(absl::CivilDay day, absl::Time after,
                                                  const absl::TimeZone& zone) const;

  std::bitset<60> minutes_;
  std::bitset<24> hours_;
  std::bitset<32> days_;
  std::bitset<13> months_;
  std::bitset<7> weekdays_;  // 0: Sunday
  bool any_hour_ = false;    // the field begins with *
  bool any_day_ = false;
  bool any_weekday_ = false;
};

// When something is due. INVALID_ARGUMENT: the expression, or a zone that this machine doesn't know.
struct CronSchedule {
  CronExpression expression;
  absl::TimeZone zone;
  [[nodiscard]] absl::Time Next(absl::Time after) const { return expression.Next(after, zone); }
};
[[nodiscard]] absl::StatusOr<CronSchedule> ParseSchedule(std::string_view cron, const std::string& time_zone);

}  // namespace understudy::control
