// When cron expressions are due: each kind of field, calendars, and days on which clocks are set.
#include "control/sync/cron.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace understudy::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::TimeZone Zone(const std::string& name) {
  absl::TimeZone zone;
  EXPECT_TRUE(absl::LoadTimeZone(name, &zone)) << name << ": is tzdata installed?";
  return zone;
}

absl::Time At(const std::string& text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &time, &error)) << text << ": " << error;
  return time;
}

// The first `count` instants at which `cron` is due after `after`, in the zone's own time.
std::vector<std::string> Due(const std::string& cron, const std::string& after, size_t count,
                             const std::string& zone_name = "UTC") {
  const absl::StatusOr<CronExpression> expression = CronExpression::Parse(cron);
  EXPECT_TRUE(expression.ok()) << expression.status();
  if (!expression.ok()) return {};
  const absl::TimeZone zone = Zone(zone_name);
  std::vector<std::string> due;
  absl::Time time = At(after);
  while (due.size() < count) {
    time = expression->Next(time, zone);
    due.push_back(absl::FormatTime("%m-%d %H:%M %z", time, zone));
  }
  return due;
}

std::string ErrorOf(const std::string& cron) {
  return std::string(MessageOf(CronExpression::Parse(cron).status()));
}

constexpr char kNewYear[] = "2026-01-01T00:00:00Z";

TEST(CronTest, EveryKindOfFieldIsUnderstood) {
  EXPECT_THAT(Due("0 * * * *", kNewYear, 2), ElementsAre("01-01 01:00 +0000", "01-01 02:00 +0000"));
  EXPECT_THAT(Due("*/20 3 * * *", kNewYear, 4),
              ElementsAre("01-01 03:00 +0000", "01-01 03:20 +0000", "01-01 03:40 +0000", "01-02 03:00 +0000"));
  EXPECT_THAT(Due("5,50-52 0 * * *", kNewYear, 5),
              ElementsAre("01-01 00:05 +0000", "01-01 00:50 +0000", "01-01 00:51 +0000", "01-01 00:52 +0000",
                          "01-02 00:05 +0000"));
  EXPECT_THAT(Due("10-40/15 0 * * *", kNewYear, 3),
              ElementsAre("01-01 00:10 +0000", "01-01 00:25 +0000", "01-01 00:40 +0000"));
  EXPECT_THAT(Due("50/5 0 * * *", kNewYear, 3),
              ElementsAre("01-01 00:50 +0000", "01-01 00:55 +0000", "01-02 00:50 +0000"));
  EXPECT_THAT(Due("0 0 1 FEB,apr *", kNewYear, 2), ElementsAre("02-01 00:00 +0000", "04-01 00:00 +0000"));
  EXPECT_THAT(Due("0 12 * * Mon-wed", kNewYear, 3),
              ElementsAre("01-05 12:00 +0000", "01-06 12:00 +0000", "01-07 12:00 +0000"));
  EXPECT_THAT(Due("  0\t0  *  * 7 ", kNewYear, 1), ElementsAre("01-04 00:00 +0000"));
  EXPECT_THAT(Due("0 0 * * 0", kNewYear, 1), ElementsAre("01-04 00:00 +0000"));
  EXPECT_THAT(Due("0 0 * * 5-7", kNewYear, 3),
              ElementsAre("01-02 00:00 +0000", "01-03 00:00 +0000", "01-04 00:00 +0000"));
}

TEST(CronTest, ShorthandsStandForTheirExpressions) {
  EXPECT_THAT(Due("@hourly", kNewYear, 1), ElementsAre("01-01 01:00 +0000"));
  EXPECT_THAT(Due("@daily", kNewYear, 1), ElementsAre("01-02 00:00 +0000"));
  EXPECT_THAT(Due("@midnight", kNewYear, 1), ElementsAre("01-02 00:00 +0000"));
  EXPECT_THAT(Due("@Weekly", kNewYear, 1), ElementsAre("01-04 00:00 +0000"));
  EXPECT_THAT(Due("@monthly", kNewYear, 2), ElementsAre("02-01 00:00 +0000", "03-01 00:00 +0000"));
  EXPECT_THAT(Due("@yearly", "2026-01-01T00:00:01Z", 1), ElementsAre("01-01 00:00 +0000"));
  EXPECT_THAT(Due("@annually", kNewYear, 1), ElementsAre("01-01 00:00 +0000"));
}

TEST(CronTest, DayOfMonthAndDayOfWeekSufficeEachWhenBothAreRestricted) {
  EXPECT_THAT(Due("0 0 13 * 5", kNewYear, 4),
              ElementsAre("01-02 00:00 +0000", "01-09 00:00 +0000", "01-13 00:00 +0000", "01-16 00:00 +0000"));
  // A step of everything isn't a restriction of its own: both have to fit.
  EXPECT_THAT(Due("0 0 */10 * 3", kNewYear, 2), ElementsAre("01-21 00:00 +0000", "02-11 00:00 +0000"));
}

TEST(CronTest, DaysThatSomeMonthsDontHaveArePassedOver) {
  EXPECT_THAT(Due("0 0 31 * *", kNewYear, 3),
              ElementsAre("01-31 00:00 +0000", "03-31 00:00 +0000", "05-31 00:00 +0000"));
  const absl::StatusOr<CronExpression> leap = CronExpression::Parse("0 0 29 2 *");
  ASSERT_TRUE(leap.ok());
  EXPECT_EQ(leap->Next(At("2096-03-01T00:00:00Z"), absl::UTCTimeZone()), At("2104-02-29T00:00:00Z"));
  // A leap day that is a Sunday comes every 28 years, with a pause of 40 around a century.
  const absl::StatusOr<CronExpression> rare = CronExpression::Parse("0 0 29 2 */7");
  ASSERT_TRUE(rare.ok()) << rare.status();
  EXPECT_EQ(rare->Next(At("2088-03-01T00:00:00Z"), absl::UTCTimeZone()), At("2128-02-29T00:00:00Z"));
}

TEST(CronTest, TheDueInstantIsAfterTheGivenOne) {
  EXPECT_THAT(Due("30 12 * * *", "2026-05-05T12:30:00Z", 1), ElementsAre("05-06 12:30 +0000"));
  EXPECT_THAT(Due("30 12 * * *", "2026-05-05T12:29:59.999Z", 1), ElementsAre("05-05 12:30 +0000"));
  EXPECT_THAT(Due("59 23 31 12 *", "2026-12-31T23:59:30Z", 1), ElementsAre("12-31 23:59 +0000"));
}

TEST(CronTest, MistakesNameTheField) {
  for (const char* const wrong : {"", "* * * *", "* * * * * *", "@never", "0 0 * *"}) {
    EXPECT_THAT(ErrorOf(wrong), HasSubstr("write five fields")) << wrong;
  }
  EXPECT_THAT(ErrorOf("60 * * * *"), HasSubstr("minute: '60'"));
  EXPECT_THAT(ErrorOf("* 24 * * *"), HasSubstr("hour: '24'"));
  EXPECT_THAT(ErrorOf("* * 0 * *"), HasSubstr("day of month: '0'"));
  EXPECT_THAT(ErrorOf("* * * 13 *"), HasSubstr("month: '13'"));
  EXPECT_THAT(ErrorOf("* * * * 8"), HasSubstr("day of week: '8'"));
  EXPECT_THAT(ErrorOf("* * * mon *"), HasSubstr("month: 'mon'"));
  for (const char* const wrong :
       {"5-1", "*/0", "*/-1", "*/x", "1-", "-1", "1,", ",1", "1--2", "+1", "1/2/3", "**", "0x1"}) {
    EXPECT_THAT(ErrorOf(std::string(wrong) + " * * * *"), HasSubstr("minute: ")) << wrong;
  }
  EXPECT_THAT(ErrorOf("0 0 30 2 *"), HasSubstr("no month has such a day"));
  EXPECT_THAT(ErrorOf("0 0 31 4,6,9,11 *"), HasSubstr("no month has such a day"));
  EXPECT_TRUE(CronExpression::Parse("0 0 30 2 1").ok()) << "its Mondays are there";
  EXPECT_TRUE(CronExpression::Parse("*/2147483647 * * * *").ok());
  EXPECT_FALSE(CronExpression::Parse(std::string(2000, '*')).ok());
  EXPECT_THAT(std::string(MessageOf(ParseSchedule("@daily", "Mars/Olympus").status())), HasSubstr("Mars/Olympus"));
  EXPECT_TRUE(ParseSchedule("@daily", "Europe/Berlin").ok());
}

// Berlin, 29 March 2026: 02:00 becomes 03:00.
TEST(CronTest, ATimeThatADayLeavesOutIsDueAtTheEndOfTheGap) {
  EXPECT_THAT(Due("30 2 * * *", "2026-03-28T00:00:00Z", 3, "Europe/Berlin"),
              ElementsAre("03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"));
  // All that fell into the gap is due once.
  EXPECT_THAT(Due("10,20,30 2 * * *", "2026-03-28T03:00:00Z", 2, "Europe/Berlin"),
              ElementsAre("03-29 03:00 +0200", "03-30 02:10 +0200"));
  EXPECT_THAT(Due("0 3 * * *", "2026-03-28T03:00:00Z", 2, "Europe/Berlin"),
              ElementsAre("03-29 03:00 +0200", "03-30 03:00 +0200"));
  // Hourly follows the clock on the wall.
  EXPECT_THAT(Due("30 * * * *", "2026-03-29T00:00:00Z", 2, "Europe/Berlin"),
              ElementsAre("03-29 01:30 +0100", "03-29 03:30 +0200"));
}

// Berlin, 25 October 2026: 03:00 becomes 02:00.
TEST(CronTest, ATimeThatADayHasTwiceIsDueTheFirstTime) {
  EXPECT_THAT(Due("30 2 * * *", "2026-10-24T03:00:00Z", 2, "Europe/Berlin"),
              ElementsAre("10-25 02:30 +0200", "10-26 02:30 +0100"));
  EXPECT_THAT(Due("30 2 * * *", "2026-10-25T00:40:00Z", 1, "Europe/Berlin"), ElementsAre("10-26 02:30 +0100"));
  EXPECT_THAT(Due("30 * * * *", "2026-10-24T23:45:00Z", 3, "Europe/Berlin"),
              ElementsAre("10-25 02:30 +0200", "10-25 02:30 +0100", "10-25 03:30 +0100"));
}

// Half an hour (Lord Howe), midnight (Havana), a whole day (Apia), and a zone ahead of UTC by three quarters of an
// hour.
TEST(CronTest, OddZones) {
  EXPECT_THAT(Due("15 2 * * *", "2026-10-03T12:00:00Z", 2, "Australia/Lord_Howe"),
              ElementsAre("10-04 02:30 +1100", "10-05 02:15 +1100"));
  EXPECT_THAT(Due("0 0 8 3 *", "2026-01-01T00:00:00Z", 1, "America/Havana"), ElementsAre("03-08 01:00 -0400"));
  EXPECT_THAT(Due("0 12 * * *", "2011-12-29T22:30:00Z", 2, "Pacific/Apia"),
              ElementsAre("12-31 00:00 +1400", "12-31 12:00 +1400"));
  EXPECT_THAT(Due("0 0 * * *", kNewYear, 1, "Asia/Kathmandu"), ElementsAre("01-02 00:00 +0545"));
}

// Against the plainest telling: minute by minute.
TEST(CronTest, NextIsTheFirstMinuteThatFits) {
  std::mt19937 random(20260101);
  const auto below = [&random](int bound) { return static_cast<int>(random() % static_cast<unsigned>(bound)); };
  for (int i = 0; i < 200; ++i) {
    const int minute = below(60);
    const int hour = below(24);
    const int weekday = below(7);
    const bool weekly = below(2) == 0;
    const std::string cron = std::to_string(minute) + " " + std::to_string(hour) + " * * " +
                             (weekly ? std::to_string(weekday) : std::string("*"));
    const absl::StatusOr<CronExpression> expression = CronExpression::Parse(cron);
    ASSERT_TRUE(expression.ok());
    const absl::Time after = At(kNewYear) + absl::Minutes(below(500'000)) + absl::Seconds(below(60));
    absl::Time expected = absl::FromUnixSeconds(absl::ToUnixSeconds(after) / 60 * 60) + absl::Minutes(1);
    while (true) {
      const absl::CivilMinute civil = absl::ToCivilMinute(expected, absl::UTCTimeZone());
      const int day = (static_cast<int>(absl::GetWeekday(civil)) + 1) % 7;
      if (civil.minute() == minute && civil.hour() == hour && (!weekly || day == weekday)) break;
      expected += absl::Minutes(1);
    }
    EXPECT_EQ(expression->Next(after, absl::UTCTimeZone()), expected) << cron << " after " << after;
  }
}

}  // namespace
}  // namespace understudy::control
