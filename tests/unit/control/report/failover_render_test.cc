// The report of a failover run for people: lines that fit, a page that is well-formed for a real parser, and names that
// stay names.
#include "control/report/failover_render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "control/report/deliverable.h"
#include "control/report/failover_timeline.h"
#include "control/report/mail.h"
#include "control/report/time_scale.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/control/report/failover_samples.h"

namespace understudy::control {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

FailoverReport Built(const RunRecord& run) {
  return BuildFailoverReport(run, At(30'000));
}

std::vector<RunRecord> AllSamples() {
  return {PlannedRun(), UnplannedRun(), FailedRun(), PartialRun(), AbortedRun(), ResumedRun(), TestRun(true)};
}

// What tends to break out of where it stands: markup, quotes, control characters, terminal escapes, no UTF-8, text that
// runs backwards, characters that XML doesn't know, commands of a shell, headers of a mail.
const char* const kHostile[] = {
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "]]></style></svg></title><b>&amp;",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "a\tb\rc\x01\x7f\x08",
    "\xff\xfe\xc3(",
    "\xe2\x80\xaegnp.exe",
    "\xef\xbf\xbf\xef\xbf\xbe\xed\xa0\x80",
    "$(reboot); `reboot` ' \\' {0} {} %n %s",
    "x\r\nBcc: everybody@example.com\r\n\r\nhello",
};

class PageTest : public testing::Test {
 protected:
  // The names of all elements of the page, by Python's expat; empty when it isn't well-formed.
  std::string Elements(const std::string& page) {
    std::ofstream(folder_.File("page.html")) << page;
    const auto parsed = tests::RunProcess(
        {.program = "python3",
         .arguments = {"-c",
                       "import sys, xml.etree.ElementTree as tree\n"
                       "print(' '.join(sorted({e.tag.split('}')[-1] for e in tree.parse(sys.argv[1]).iter()})))",
                       folder_.File("page.html")}});
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->exit_code, 0) << parsed->err;
    return parsed->out;
  }

  tests::TempDir folder_;
};

TEST_F(PageTest, IsWellFormedAndAsksForNothingFromElsewhere) {
  for (const RunRecord& run : AllSamples()) {
    const std::string page = RenderHtml(Built(run));
    EXPECT_THAT(Elements(page), HasSubstr("svg"));
    EXPECT_THAT(page, HasSubstr("default-src 'none'"));
    for (const char* const outside : {"<script", "<link", "<img", "<iframe", "src=", "href=", "@import", "onclick"}) {
      EXPECT_THAT(page, Not(HasSubstr(outside)));
    }
    // The only addresses that mean anything are the names of the two languages; a probe's is text.
    const std::string without =
        absl::StrReplaceAll(page, {{"http://www.w3.org/1999/xhtml", ""}, {"http://www.w3.org/2000/svg", ""}});
    for (const char* const address : {"=\"http", "='http", "url(h"}) EXPECT_THAT(without, Not(HasSubstr(address)));
  }
}

TEST_F(PageTest, NamesStayNames) {
  const std::string elements = Elements(RenderHtml(Built(HostileRun("plain"))));
  for (const char* const hostile : kHostile) {
    const FailoverReport report = Built(HostileRun(hostile));
    const std::string page = RenderHtml(report);
    EXPECT_EQ(Elements(page), elements) << hostile;
    const std::string text = RenderText(report);
    for (const std::string& shown : {page, text}) {
      for (const char control : {'\x1b', '\x07', '\x01', '\x7f', '\r', '\t', '\x08'}) {
        EXPECT_EQ(shown.find(control), std::string::npos) << hostile;
      }
      EXPECT_THAT(shown, Not(HasSubstr("\xe2\x80\xae")));
    }
    EXPECT_TRUE(ParseFailoverReport(DocumentText(ToJson(report))).ok()) << hostile;
  }
}

TEST_F(PageTest, TheMailOfAHostileRunHasOnlyItsOwnHeaders) {
  for (const char* const hostile : kHostile) {
    const Deliverable report = DeliverableOf(Built(HostileRun(hostile)));
    for (const char c : report.subject) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << hostile;
    const std::string mail =
        ComposeMail(report, {.from = "understudy@example.com", .to = {"a@example.com"}, .date = At(0), .id = "0123"});
    EXPECT_THAT(mail.substr(0, mail.find("\r\n\r\n")), Not(HasSubstr("\nBcc:")));
  }
}

TEST(TextTest, FitsAHundredColumnsButForCommands) {
  std::vector<RunRecord> runs = AllSamples();
  runs.push_back(HostileRun(std::string(300, 'x')));
  runs.push_back(HostileRun("ein Wörterbuch voller Wörter — " + std::string(150, 'e') + "\nzwei"));
  for (const RunRecord& run : runs) {
    const std::string text = RenderText(Built(run));
    for (const absl::string_view view : absl::StrSplit(text, '\n')) {
      const std::string line(view);
      const auto columns = std::count_if(line.begin(), line.end(),
                                         [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
      const std::string command = line.substr(std::min<size_t>(line.size(), 7));
      if (command.starts_with("drctl ") || command.starts_with("virtctl ") || command.starts_with("kubectl ")) continue;
      EXPECT_LE(columns, 100) << line;
    }
  }
}

TEST(TextTest, SaysWhatMattersFirst) {
  const std::string text = RenderText(Built(FailedRun()));
  EXPECT_TRUE(text.starts_with("Understudy: planned failover of shop: failed\nWhat went wrong: promote east/pv-db: "))
      << text;
  EXPECT_LT(text.find("WHAT TO DO NEXT"), text.find("STEPS"));
  EXPECT_LT(text.find("drctl failover resume"), text.find("STEPS"));
}

TEST(TextTest, ManyItemsAreCutWithTheProblemsFirst) {
  RunRecord run = PlannedRun();
  StepRecord& boot = StepOf(run, "boot");
  ItemRecord many = boot.items[0];
  for (size_t i = 0; i < kMaxRenderedRows + 50; ++i) {
    many.key = "shop/vm-" + std::to_string(1'000'000 + i);
    boot.items.push_back(many);
  }
  boot.items.back().state = ItemState::kFailed;
  boot.items.back().key = "shop/zebra";
  const std::string text = RenderText(Built(run));
  EXPECT_THAT(text, HasSubstr("boot shop/zebra: failed"));
  EXPECT_THAT(text, HasSubstr("… and 53 more: drctl failover report"));
  EXPECT_THAT(RenderHtml(Built(run)), HasSubstr("… and 53 more, in the JSON"));
}

TEST(TextTest, LongOutputIsShortened) {
  RunRecord run = PlannedRun();
  StepOf(run, "promote").items[0].facts["hooks"][0]["output"] = std::string(100'000, 'a');
  for (const std::string& shown : {RenderText(Built(run)), RenderHtml(Built(run))}) {
    EXPECT_THAT(shown, HasSubstr("(98000 bytes more)"));
    EXPECT_LT(shown.size(), 40'000U);
  }
}

TEST(DurationTest, ReadsAsPeopleSayIt) {
  EXPECT_EQ(DurationText(absl::ZeroDuration()), "0 s");
  EXPECT_EQ(DurationText(absl::Milliseconds(450)), "0.5 s");
  EXPECT_EQ(DurationText(absl::Milliseconds(59'960)), "1 min 0 s");
  EXPECT_EQ(DurationText(absl::Seconds(2170)), "36 min 10 s");
  EXPECT_EQ(DurationText(absl::Minutes(123)), "2 h 3 min");
  EXPECT_EQ(DurationText(absl::Hours(76)), "3 d 4 h");
  EXPECT_EQ(DurationText(-absl::Seconds(2)), "-2.0 s");
}

TEST(TimeScaleTest, IsInProportionAndAscends) {
  const TimeScale scale(At(0), At(100), {}, 600);
  EXPECT_DOUBLE_EQ(scale.X(At(0)), 0);
  EXPECT_DOUBLE_EQ(scale.X(At(25)), 150);
  EXPECT_DOUBLE_EQ(scale.X(At(100)), 600);
  EXPECT_DOUBLE_EQ(scale.X(At(-5)), 0);
  EXPECT_DOUBLE_EQ(scale.X(At(105)), 600);
}

TEST(TimeScaleTest, ALongGapLeavesRoomForTheWork) {
  const RunGap night{.begin = At(50), .end = At(28'850), .after = "", .before = "", .reason = ""};
  const RunGap pause{.begin = At(28'860), .end = At(28'865), .after = "", .before = "", .reason = ""};
  const TimeScale scale(At(0), At(28'900), {night, pause}, 600);
  EXPECT_TRUE(scale.IsFolded(night));
  EXPECT_FALSE(scale.IsFolded(pause));
  EXPECT_DOUBLE_EQ(scale.X(At(50)), 276);
  EXPECT_DOUBLE_EQ(scale.X(night.end), 324);
  EXPECT_DOUBLE_EQ(scale.X(At(28'900)), 600);
  for (const absl::Time tick : scale.Ticks(50)) EXPECT_TRUE(tick <= night.begin || tick >= night.end) << tick;
}

TEST(TimeScaleTest, TicksAreRoundAndApart) {
  const TimeScale scale(At(0), At(3600), {}, 600);
  const std::vector<absl::Time> ticks = scale.Ticks(50);
  ASSERT_GE(ticks.size(), 5U);
  double last = 0;
  for (const absl::Time tick : ticks) {
    EXPECT_EQ(absl::ToUnixSeconds(tick) % 600, 0) << tick;
    EXPECT_GE(scale.X(tick) - last, 50);
    last = scale.X(tick);
  }
  EXPECT_TRUE(TimeScale(At(0), At(0), {}, 600).Ticks(50).empty());
}

TEST(TimelineTest, ShowsFailuresGapsAndAttemptsInWordsToo) {
  const std::string failed = RenderTimeline(Built(FailedRun()));
  EXPECT_THAT(failed, HasSubstr("#b00020"));
  EXPECT_THAT(failed, HasSubstr("promote: failed, 5.0 s"));
  EXPECT_THAT(RenderTimeline(Built(PlannedRun())), Not(HasSubstr("#b00020")));
  const std::string resumed = RenderTimeline(Built(ResumedRun()));
  EXPECT_THAT(resumed, HasSubstr("2 attempts"));
  EXPECT_THAT(resumed, HasSubstr("url(#gap)"));
  EXPECT_THAT(resumed, HasSubstr("≈ 40 min 3 s"));
  EXPECT_THAT(resumed, HasSubstr("resumed by bob@bastion</title>"));
  EXPECT_THAT(resumed, HasSubstr("aria-labelledby=\"timeline-title timeline-desc\""));
}

}  // namespace
}  // namespace understudy::control
