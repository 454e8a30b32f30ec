// Reports on their way: a real SMTP server with STARTTLS and sign-in, and a real HTTP server.
#include "control/report/notify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "core/net/pki.h"
#include "tests/support/http_test_server.h"
#include "tests/support/mail_server.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/control/report/failover_samples.h"

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

class NotifyTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_.File(name)) << text;
    return folder_.File(name);
  }
  absl::Status Deliver(const config::NotifyConfig& config, const std::string& target) {
    return Notifier(config).Deliver(target, "0123abcd", DeliverableOf(Sample()), {});
  }

  tests::TempDir folder_;
};

class MailServerTest : public NotifyTest {
 protected:
  void StartServer(bool secure) {
    const std::string pki = folder_.File("pki");
    if (secure) {
      ASSERT_EQ(net::InitAuthority(pki, false), absl::OkStatus());
      ASSERT_TRUE(
          net::IssueCertificate(pki, {.name = "dr", .roles = {net::Role::kDr}, .hosts = {"localhost", "127.0.0.1"}})
              .ok());
    }
    auto server = tests::MailServer::Start(folder_.File("mail"), secure ? pki + "/dr" : "");
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  config::NotifyConfig Config() {
    config::EmailConfig email;
    email.smtp_url = server_->Url();
    email.ca = folder_.File("pki/ca.crt");
    email.user = tests::MailServer::kUser;
    email.password_file = Write("password", std::string(tests::MailServer::kPassword) + "\n");
    email.from = "understudy@example.com";
    email.to = {"a@example.com", "b@example.com"};
    return {.email = email, .webhooks = {}};
  }
  std::string Mail() { return server_->Mail(0); }

  std::unique_ptr<tests::MailServer> server_;
};

TEST_F(MailServerTest, TakesAReportOverStarttlsFromWhoSignedIn) {
  StartServer(/*secure=*/true);
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
  ASSERT_EQ(Deliver(config, server.Url()), absl::OkStatus());
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

TEST_F(MailServerTest, TakesAFailoversReport) {
  StartServer(/*secure=*/true);
  const Deliverable report = DeliverableOf(BuildFailoverReport(ResumedRun(), At(3000)));
  ASSERT_EQ(Notifier(Config()).Deliver("email", "0123abcd", report, {}), absl::OkStatus());
  EXPECT_THAT(Mail(), HasSubstr("Subject: [understudy] planned failover of shop done, RTO 43 min 4 s, RPO 0 s"));
  EXPECT_THAT(Mail(), HasSubstr("Content-Type: text/html"));
}

TEST_F(NotifyTest, AWebhookGetsAFailoversDocument) {
  tests::HttpTestServer server([](const tests::TestRequest&, tests::TestReply& reply) { reply.Send(200, ""); });
  config::NotifyConfig config;
  config.webhooks.push_back({.url = server.Url(), .ca = {}, .token_file = {}, .hmac_secret_file = {}});
  const FailoverReport report = BuildFailoverReport(PartialRun(), At(3000));
  ASSERT_EQ(Notifier(config).Deliver(server.Url(), "0123abcd", DeliverableOf(report), {}), absl::OkStatus());
  const std::vector<tests::TestRequest> requests = server.Requests();
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_EQ(nlohmann::ordered_json::parse(requests[0].body), ToJson(report));
}

TEST_F(NotifyTest, AnAnswerThatIsntGoodIsAnError) {
  tests::HttpTestServer server([](const tests::TestRequest&, tests::TestReply& reply) { reply.Send(503, "busy"); });
  config::NotifyConfig config;
  config.webhooks.push_back({.url = server.Url(), .ca = {}, .token_file = {}, .hmac_secret_file = {}});
  EXPECT_TRUE(absl::IsUnavailable(Deliver(config, server.Url())));
  EXPECT_TRUE(absl::IsNotFound(Deliver(config, "https://elsewhere")));
  EXPECT_TRUE(absl::IsNotFound(Deliver(config, "email")));
}

// Slack, Teams and others take reports at a URL whose path is the password.
TEST_F(NotifyTest, AWebhookIsNamedByItsHostAndItsPathIsNowhereToBeRead) {
  tests::HttpTestServer server([](const tests::TestRequest& request, tests::TestReply& reply) {
    reply.Send(request.target == "/T0/s3cret" ? 503 : 200, "");
  });
  config::NotifyConfig config;
  for (const char* const path : {"/T0/s3cret", "/other?key=s3cret"}) {
    config.webhooks.push_back({.url = server.Url() + path, .ca = {}, .token_file = {}, .hmac_secret_file = {}});
  }
  config.webhooks.push_back({"http://user:s3cret@127.0.0.1:1/s3cret", "", "", ""});
  const std::vector<std::string> targets = TargetsOf(config, HasProblems(Sample()));
  EXPECT_THAT(targets, ElementsAre(server.Url(), server.Url() + " #2", "http://127.0.0.1:1"));
  const absl::Status refused = Deliver(config, targets[0]);
  EXPECT_EQ(MessageOf(refused), "POST " + server.Url() + ": HTTP 503");
  EXPECT_EQ(Deliver(config, targets[1]), absl::OkStatus());
  EXPECT_EQ(server.Requests().back().target, "/other?key=s3cret");
  const absl::Status unreachable = Deliver(config, targets[2]);
  EXPECT_TRUE(absl::IsUnavailable(unreachable)) << unreachable;
  EXPECT_THAT(std::string(MessageOf(unreachable)), testing::Not(HasSubstr("s3cret")));
}

TEST_F(NotifyTest, MailGoesOutOnlyForProblemsUnlessAlwaysIsAsked) {
  config::NotifyConfig config{.email = config::EmailConfig{}, .webhooks = {{"https://hook", "", "", ""}}};
  Report report = Sample();
  EXPECT_THAT(TargetsOf(config, HasProblems(report)), ElementsAre("https://hook"));
  report.alerts = {"look at this"};
  EXPECT_THAT(TargetsOf(config, HasProblems(report)), ElementsAre("email", "https://hook"));
  config.email->when = config::MailWhen::kAlways;
  report.alerts.clear();
  EXPECT_THAT(TargetsOf(config, HasProblems(report)), ElementsAre("email", "https://hook"));
}

}  // namespace
}  // namespace understudy::control
