// Reports on their way: a real SMTP server with STARTTLS and sign-in, and a real HTTP server.
#include "control/report/notify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "core/net/pki.h"
#include "tests/support/http_test_server.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Report Sample() {
  Report report{.run = "run-1",
                .started_at = absl::FromUnixSeconds(1'767'323'045),
                .ended_at = absl::FromUnixSeconds(1'767'323'047)};
  report.objects.push_back({.key = {model::ObjectKind::kPersistentVolumeClaim, "shop", "däta"},
                            .outcome = Outcome::kSynced,
                            .reason = ".\r\nQUIT"});
  return report;
}

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class NotifyTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_.File(name)) << text;
    return folder_.File(name);
  }
  absl::Status Deliver(const config::NotifyConfig& config, const std::string& target) {
    return Notifier(config).Deliver(target, "0123abcd", Sample(), {});
  }

  tests::TempDir folder_;
};

class MailServerTest : public NotifyTest {
 protected:
  // Skips the test where the server's package is missing.
  void StartServer(bool secure) {
    const auto there = tests::RunProcess({.program = "/usr/bin/python3", .arguments = {"-c", "import aiosmtpd"}});
    if (!there.ok() || there->exit_code != 0) GTEST_SKIP() << "python3-aiosmtpd isn't installed";
    std::filesystem::create_directory(folder_.File("mail"));
    std::vector<std::string> arguments = {tests::SourcePath("tests/support/smtp_server.py"), folder_.File("mail")};
    if (secure) {
      const std::filesystem::path pki = folder_.File("pki");
      ASSERT_EQ(net::InitAuthority(pki, false), absl::OkStatus());
      ASSERT_TRUE(
          net::IssueCertificate(pki, {.name = "dr", .roles = {net::Role::kDr}, .hosts = {"localhost", "127.0.0.1"}})
              .ok());
      for (const char* const more : {"pki/dr.crt", "pki/dr.key"}) arguments.push_back(folder_.File(more));
      arguments.insert(arguments.end(), {"understudy", "open sesame"});
    }
    auto server = tests::Process::Start({.program = "/usr/bin/python3", .arguments = arguments});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_EQ(tests::WaitFor("the mail server", absl::Seconds(60),
                             [this] { return !ReadFile(folder_.File("mail/port")).empty() || !server_->Running(); }),
              absl::OkStatus());
    ASSERT_TRUE(server_->Running()) << server_->Err();
    port_ = ReadFile(folder_.File("mail/port"));
  }
  config::NotifyConfig Config() {
    config::EmailConfig email;
    email.smtp_url = "smtp://127.0.0.1:" + port_;
    email.ca = folder_.File("pki/ca.crt");
    email.user = "understudy";
    email.password_file = Write("password", "open sesame\n");
    email.from = "understudy@example.com";
    email.to = {"a@example.com", "b@example.com"};
    return {.email = email, .webhooks = {}};
  }
  std::string Mail() { return ReadFile(folder_.File("mail/0.eml")); }

  std::unique_ptr<tests::Process> server_;
  std::string port_;
};

TEST_F(MailServerTest, TakesAReportOverStarttlsFromWhoSignedIn) {
  StartServer(/*secure=*/true);
  if (IsSkipped()) return;
  ASSERT_EQ(Deliver(Config(), "email"), absl::OkStatus());
  const std::string mail = Mail();
  EXPECT_THAT(mail, HasSubstr("X-Test-From: understudy@example.com"));
  EXPECT_THAT(mail, HasSubstr("X-Test-To: a@example.com,b@example.com"));
  EXPECT_THAT(mail, HasSubstr("multipart/alternative"));
  // The text part is what was rendered.
  const size_t begin = mail.find("base64") + 10;
  std::string text;
  ASSERT_TRUE(absl::Base64Unescape(
      absl::StrReplaceAll(mail.substr(begin, mail.find("\r\n--", begin) - begin), {{"\r\n", ""}}), &text));
  EXPECT_THAT(text, HasSubstr("PersistentVolumeClaim shop/däta"));
}

TEST_F(MailServerTest, AWrongPasswordAndAnUntrustedServerAreRefused) {
  StartServer(/*secure=*/true);
  if (IsSkipped()) return;
  config::NotifyConfig config = Config();
  config.email->password_file = Write("wrong", "open barley");
  EXPECT_TRUE(absl::IsFailedPrecondition(Deliver(config, "email"))) << Deliver(config, "email");
  config = Config();
  config.email->ca.clear();
  EXPECT_TRUE(absl::IsUnavailable(Deliver(config, "email"))) << Deliver(config, "email");
  config = Config();
  config.email->password_file = folder_.File("none");
  EXPECT_THAT(std::string(MessageOf(Deliver(config, "email"))), HasSubstr("secret file"));
  EXPECT_THAT(Mail(), IsEmpty());
}

TEST_F(MailServerTest, AServerWithoutStarttlsGetsNothingWhereItIsRequired) {
  StartServer(/*secure=*/false);
  if (IsSkipped()) return;
  config::NotifyConfig config = Config();
  config.email->user.clear();
  config.email->password_file.clear();
  config.email->ca.clear();
  EXPECT_TRUE(absl::IsUnavailable(Deliver(config, "email"))) << Deliver(config, "email");
  EXPECT_THAT(Mail(), IsEmpty());
  config.email->starttls = config::StartTls::kOff;
  EXPECT_EQ(Deliver(config, "email"), absl::OkStatus());
  EXPECT_THAT(Mail(), HasSubstr("Subject: [understudy] sync done: 1 synced"));
}

TEST_F(NotifyTest, AWebhookGetsTheReportSignedAndWithItsToken) {
  tests::HttpTestServer server([](const tests::TestRequest&, tests::TestReply& reply) { reply.Send(202, ""); });
  config::NotifyConfig config;
  config.webhooks.push_back({.url = server.Url() + "/hook",
                             .ca = {},
                             .token_file = Write("token", "a-token\n"),
                             .hmac_secret_file = Write("secret", "s3cret\n")});
  ASSERT_EQ(Deliver(config, server.Url() + "/hook"), absl::OkStatus());
  const std::vector<tests::TestRequest> requests = server.Requests();
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_EQ(requests[0].method, "POST");
  EXPECT_EQ(requests[0].target, "/hook");
  EXPECT_EQ(requests[0].headers.at("authorization"), "Bearer a-token");
  EXPECT_EQ(requests[0].headers.at("content-type"), "application/json");
  EXPECT_EQ(requests[0].headers.at("x-understudy-delivery"), "0123abcd");
  // By another implementation than ours.
  const std::string body = Write("body", requests[0].body);
  const auto signature =
      tests::RunProcess({.program = "openssl", .arguments = {"dgst", "-sha256", "-hmac", "s3cret", "-r", body}});
  ASSERT_TRUE(signature.ok()) << signature.status();
  EXPECT_EQ(requests[0].headers.at("x-hub-signature-256"), "sha256=" + signature->out.substr(0, 64));
  EXPECT_EQ(ParseReport(requests[0].body)->run, "run-1");
}

TEST_F(NotifyTest, AnAnswerThatIsntGoodIsAnError) {
  tests::HttpTestServer server([](const tests::TestRequest&, tests::TestReply& reply) { reply.Send(503, "busy"); });
  config::NotifyConfig config;
  config.webhooks.push_back({.url = server.Url(), .ca = {}, .token_file = {}, .hmac_secret_file = {}});
  EXPECT_TRUE(absl::IsUnavailable(Deliver(config, server.Url())));
  EXPECT_TRUE(absl::IsNotFound(Deliver(config, "https://elsewhere")));
  EXPECT_TRUE(absl::IsNotFound(Deliver(config, "email")));
}

TEST_F(NotifyTest, MailGoesOutOnlyForProblemsUnlessAlwaysIsAsked) {
  config::NotifyConfig config{.email = config::EmailConfig{}, .webhooks = {{"https://hook", "", "", ""}}};
  Report report = Sample();
  EXPECT_THAT(TargetsOf(config, report), ElementsAre("https://hook"));
  report.alerts = {"look at this"};
  EXPECT_THAT(TargetsOf(config, report), ElementsAre("email", "https://hook"));
  config.email->when = config::MailWhen::kAlways;
  report.alerts.clear();
  EXPECT_THAT(TargetsOf(config, report), ElementsAre("email", "https://hook"));
}

}  // namespace
}  // namespace understudy::control
