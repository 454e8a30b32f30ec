// The report as JSON, text, HTML and mail.
#include "control/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "control/report/mail.h"
#include "control/report/render.h"

namespace understudy::control {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Report Sample() {
  Report report{.run = "20260102T030405Z-1f2e",
                .trigger = Trigger::kSchedule,
                .made_up = true,
                .started_at = absl::FromUnixMillis(1'767'323'045'500),
                .ended_at = absl::FromUnixMillis(1'767'323'047'750),
                .namespaces = {"shop"},
                .exit_code = ExitCode::kPartial,
                .alerts = {"nothing was deleted at DR: a list was empty"},
                .cleaning = {.state = CleaningState::kHeld, .reason = "a list was empty", .stale = 2, .at_dr = 9}};
  report.lists.push_back(
      {.cluster = "primary", .kind = model::ObjectKind::kPersistentVolumeClaim, .namespace_name = "shop", .items = 3});
  report.objects.push_back({.key = {model::ObjectKind::kPersistentVolumeClaim, "shop", "db"},
                            .outcome = Outcome::kSynced,
                            .pair = "east",
                            .volume = "pv-db",
                            .sequence = 7,
                            .took = absl::Milliseconds(1500)});
  report.objects.push_back({.key = {model::ObjectKind::kPersistentVolumeClaim, "shop", "web"},
                            .outcome = Outcome::kFailed,
                            .reason = "<script>alert('x')</script> & \x1b[31mred\x1b[0m",
                            .to_primary = true});
  return report;
}

TEST(ReportTest, JsonRoundTrips) {
  const nlohmann::ordered_json json = ToJson(Sample());
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["report"], "sync");
  EXPECT_EQ(json["result"], "partial");
  EXPECT_EQ(json["exit_code"], 3);
  EXPECT_EQ(json["seconds"], 2.25);
  EXPECT_EQ(json["started_at"], "2026-01-02T03:04:05.5+00:00");
  EXPECT_EQ(json["counts"]["synced"], 1);
  EXPECT_EQ(json["counts"]["cleaned"], 0);
  EXPECT_EQ(json["objects"][0]["sequence"], 7);
  EXPECT_TRUE(json["objects"][1]["sequence"].is_null());
  EXPECT_EQ(json["objects"][0]["direction"], "to-dr");
  EXPECT_EQ(json["objects"][1]["direction"], "to-primary");
  const absl::StatusOr<Report> parsed = ParseReport(json.dump());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(ToJson(*parsed), json);
}

TEST(ReportTest, WhatIsNoReportIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(ParseReport("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseReport("{}").status()));
  nlohmann::ordered_json json = ToJson(Sample());
  json["schema_version"] = 2;
  EXPECT_TRUE(absl::IsFailedPrecondition(ParseReport(json.dump()).status()));
  json = ToJson(Sample());
  json["objects"][0]["outcome"] = "eaten";
  EXPECT_THAT(std::string(MessageOf(ParseReport(json.dump()).status())), HasSubstr("eaten"));
}

TEST(ReportTest, TheExitCodeSaysHowItEnded) {
  Report report;
  EXPECT_EQ(ExitCodeOf(report, false), ExitCode::kDone);
  report.cleaning.state = CleaningState::kHeld;
  EXPECT_EQ(ExitCodeOf(report, false), ExitCode::kRefused);
  report.objects.push_back({.key = {}, .outcome = Outcome::kFailed});
  EXPECT_EQ(ExitCodeOf(report, false), ExitCode::kFailed);
  EXPECT_EQ(ExitCodeOf(report, true), ExitCode::kUnreachable);
  report.objects.push_back({.key = {}, .outcome = Outcome::kUnchanged});
  EXPECT_EQ(ExitCodeOf(report, true), ExitCode::kPartial);
  report.objects = {{.key = {}, .outcome = Outcome::kSkipped}};
  report.cleaning.state = CleaningState::kNothing;
  EXPECT_EQ(ExitCodeOf(report, true), ExitCode::kDone);
}

TEST(RenderTest, NothingFromAClusterBecomesMarkupOrSteersATerminal) {
  const std::string html = RenderHtml(Sample());
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp;"));
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  const std::string text = RenderText(Sample());
  for (const std::string& rendered : {html, text}) {
    EXPECT_THAT(rendered, Not(HasSubstr("\x1b"))) << rendered;
    EXPECT_THAT(rendered, HasSubstr("a list was empty"));
  }
}

TEST(RenderTest, ProblemsComeFirstAndWhatIsLeftOutIsSaid) {
  Report report = Sample();
  report.objects[0].key.name = "first-by-name";
  const std::string text = RenderText(report);
  EXPECT_LT(text.find("failed      PersistentVolumeClaim shop/web"), text.find("shop/first-by-name"));
  report.objects.resize(kMaxRenderedObjects + 5, report.objects[0]);
  EXPECT_THAT(RenderText(report), HasSubstr("… and 5 more"));
  EXPECT_THAT(RenderHtml(report), HasSubstr("… and 5 more"));
}

TEST(MailTest, HasBothPartsInShortLines) {
  const std::string mail = ComposeMail(DeliverableOf(Sample()), {.from = "understudy@example.com",
                                                                 .to = {"a@example.com", "b@example.com"},
                                                                 .date = absl::FromUnixSeconds(1'767'323'047),
                                                                 .id = "0123abcd"});
  EXPECT_THAT(mail, HasSubstr("Date: Fri, 02 Jan 2026 03:04:07 +0000\r\n"));
  EXPECT_THAT(mail, HasSubstr("To: <a@example.com>,\r\n <b@example.com>\r\n"));
  EXPECT_THAT(mail, HasSubstr("Message-ID: <0123abcd@example.com>\r\n"));
  EXPECT_THAT(mail, HasSubstr("Subject: [understudy] sync partial: 1 synced, 1 failed, 1 alerts\r\n"));
  EXPECT_THAT(mail, HasSubstr("text/plain"));
  EXPECT_THAT(mail, HasSubstr("text/html"));
  size_t begin = 0;
  for (size_t end = mail.find("\r\n"); end != std::string::npos; end = mail.find("\r\n", begin)) {
    EXPECT_LE(end - begin, 200U);
    EXPECT_EQ(mail.substr(begin, end - begin).find_first_of("\r\n"), std::string::npos);
    begin = end + 2;
  }
  EXPECT_EQ(begin, mail.size());
}

}  // namespace
}  // namespace understudy::control
