#include "control/sync/cron.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

// The calendar, weekdays included, repeats itself after 400 years: what isn't due within them never is.
constexpr int kMaxDays = 400 * 366;
constexpr size_t kFields = 5;
constexpr size_t kMaxExpressionBytes = 1024;

struct Field {
  std::string_view name;
  int least;
  int most;
  const char* const* names;  // of the values from `least` on; nullptr: none
  int name_count;
};

constexpr const char* kMonths[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr const char* kWeekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

constexpr Field kMinute{"minute", 0, 59, nullptr, 0};
constexpr Field kHour{"hour", 0, 23, nullptr, 0};
constexpr Field kDay{"day of month", 1, 31, nullptr, 0};
constexpr Field kMonth{"month", 1, 12, kMonths, 12};
constexpr Field kWeekday{"day of week", 0, 7, kWeekdays, 7};

struct Shorthand {
  std::string_view name;
  std::string_view expression;
};
constexpr Shorthand kShorthands[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"},
};

absl::Status Unfit(const Field& field, std::string_view part) {
  return absl::InvalidArgumentError(fmt::format("{}: '{}' isn't *, a value from {} to {}, a range a-b or a step */n",
                                                field.name, Printable(part), field.least, field.most));
}

absl::StatusOr<int> ParseValue(const Field& field, std::string_view text) {
  const std::string lower = absl::AsciiStrToLower(std::string(text));
  for (int i = 0; i < field.name_count; ++i) {
    if (lower == field.names[i]) return field.least + i;
  }
  int value = 0;
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  if (!digits || !absl::SimpleAtoi(std::string(text), &value) || value < field.least || value > field.most) {
    return Unfit(field, text);
  }
  return value;
}

// One part of a field's list: marks its values in `values`.
template <size_t kSize>
absl::Status ParsePart(const Field& field, std::string_view part, std::bitset<kSize>& values) {
  const size_t slash = part.find('/');
  const std::string_view range = part.substr(0, slash);
  int step = 1;
  if (slash != std::string_view::npos) {
    const std::string_view text = part.substr(slash + 1);
    const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
    if (!digits || !absl::SimpleAtoi(std::string(text), &step) || step < 1) return Unfit(field, part);
  }
  int first = field.least;
  int last = field.most;
  if (range != "*") {
    const size_t dash = range.find('-');
    ASSIGN_OR_RETURN(first, ParseValue(field, range.substr(0, dash)));
    if (dash != std::string_view::npos) {
      ASSIGN_OR_RETURN(last, ParseValue(field, range.substr(dash + 1)));
    } else if (slash == std::string_view::npos) {
      last = first;
    }
    if (last < first) return Unfit(field, part);
  }
  // Compared so that a huge step doesn't overflow.
  for (int value = first; value <= last; value += step) {
    values.set(static_cast<size_t>(value));
    if (step > last - value) break;
  }
  return absl::OkStatus();
}

template <size_t kSize>
absl::Status ParseField(const Field& field, std::string_view text, std::bitset<kSize>& values) {
  for (const absl::string_view part : absl::StrSplit(absl::string_view(text.data(), text.size()), ',')) {
    RETURN_IF_ERROR(ParsePart(field, {part.data(), part.size()}, values));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CronExpression> CronExpression::Parse(std::string_view text) {
  if (text.size() > kMaxExpressionBytes) return absl::InvalidArgumentError("a cron expression of more than 1 KiB");
  for (const Shorthand& shorthand : kShorthands) {
    if (absl::AsciiStrToLower(std::string(text)) == shorthand.name) return Parse(shorthand.expression);
  }
  const std::vector<std::string> fields =
      absl::StrSplit(absl::string_view(text.data(), text.size()), absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (fields.size() != kFields) {
    return absl::InvalidArgumentError(
        fmt::format("'{}': write five fields (minute, hour, day of month, month, day of week), or @hourly, @daily, "
                    "@weekly, @monthly or @yearly",
                    Printable(text)));
  }
  CronExpression cron;
  std::bitset<8> weekdays;
  RETURN_IF_ERROR(ParseField(kMinute, fields[0], cron.minutes_));
  RETURN_IF_ERROR(ParseField(kHour, fields[1], cron.hours_));
  RETURN_IF_ERROR(ParseField(kDay, fields[2], cron.days_));
  RETURN_IF_ERROR(ParseField(kMonth, fields[3], cron.months_));
  RETURN_IF_ERROR(ParseField(kWeekday, fields[4], weekdays));
  for (size_t i = 0; i < weekdays.size(); ++i) {
    if (weekdays[i]) cron.weekdays_.set(i % cron.weekdays_.size());
  }
  cron.any_hour_ = fields[1].starts_with('*');
  cron.any_day_ = fields[2].starts_with('*');
  cron.any_weekday_ = fields[4].starts_with('*');
  if (!cron.DayFrom(absl::CivilDay(2000, 3, 1))) {
    return absl::InvalidArgumentError(fmt::format("'{}': no month has such a day", Printable(text)));
  }
  return cron;
}

bool CronExpression::DueOn(absl::CivilDay day) const {
  if (!months_[static_cast<size_t>(day.month())]) return false;
  const bool by_day = days_[static_cast<size_t>(day.day())];
  // absl counts from Monday.
  const size_t weekday = (static_cast<size_t>(absl::GetWeekday(day)) + 1) % weekdays_.size();
  const bool by_weekday = weekdays_[weekday];
  // A field that begins with * may still be a step, so it isn't passed over.
  return any_day_ || any_weekday_ ? by_day && by_weekday : by_day || by_weekday;
}

std::optional<absl::CivilDay> CronExpression::DayFrom(absl::CivilDay first) const {
  for (int i = 0; i < kMaxDays; ++i) {
    if (DueOn(first + i)) return first + i;
  }
  return std::nullopt;
}

std::optional<absl::Time> CronExpression::FirstOn(absl::CivilDay day, absl::Time after,
                                                  const absl::TimeZone& zone) const {
  std::optional<absl::Time> best;
  const auto consider = [&](absl::Time time) {
    if (time > after && (!best || time < *best)) best = time;
  };
  for (size_t hour = 0; hour < hours_.size(); ++hour) {
    if (!hours_[hour]) continue;
    for (size_t minute = 0; minute < minutes_.size(); ++minute) {
      if (!minutes_[minute]) continue;
      const absl::CivilSecond civil(day.year(), day.month(), day.day(), static_cast<int>(hour),
                                    static_cast<int>(minute), 0);
      const absl::TimeZone::TimeInfo info = zone.At(civil);
      switch (info.kind) {
        case absl::TimeZone::TimeInfo::UNIQUE:
          consider(info.pre);
          break;
        case absl::TimeZone::TimeInfo::SKIPPED:
          if (!any_hour_) consider(info.trans);
          break;
        case absl::TimeZone::TimeInfo::REPEATED:
          consider(info.pre);
          if (any_hour_) consider(info.post);
          break;
      }
    }
  }
  return best;
}

absl::Time CronExpression::Next(absl::Time after, const absl::TimeZone& zone) const {
  // A day earlier: the end of a gap at midnight belongs to a time of the day before.
  absl::CivilDay day(absl::ToCivilDay(after, zone) - 1);
  while (const std::optional<absl::CivilDay> due = DayFrom(day)) {
    if (const std::optional<absl::Time> time = FirstOn(*due, after, zone)) return *time;
    day = *due + 1;
  }
  // Parse refused whatever is never due.
  AbortOnBrokenInvariant("a cron expression that is due", __FILE__, __LINE__);
}

absl::StatusOr<CronSchedule> ParseSchedule(std::string_view cron, const std::string& time_zone) {
  ASSIGN_OR_RETURN(const CronExpression expression, CronExpression::Parse(cron));
  absl::TimeZone zone;
  if (!absl::LoadTimeZone(time_zone, &zone)) {
    return absl::InvalidArgumentError(fmt::format(
        "time zone '{}' isn't known here: write a name such as Europe/Berlin or UTC (and see that tzdata is "
        "installed)",
        Printable(time_zone)));
  }
  return CronSchedule{expression, zone};
}

}  // namespace understudy::control
