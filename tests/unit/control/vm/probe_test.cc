// Probes against real servers: an open and a closed port, HTTP with and without TLS, sshd, and a guest agent.
#include "control/vm/probe.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "tests/support/http_test_server.h"
#include "tests/support/memory_machines.h"
#include "tests/support/process.h"
#include "tests/support/ssh_server.h"
#include "tests/support/temp_dir.h"

namespace understudy::control {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using tests::HttpTestServer;
using tests::SshServer;
using tests::TestReply;
using tests::TestRequest;

constexpr absl::Duration kPatience = absl::Seconds(60);  // no test that works waits for it
constexpr absl::Duration kShort = absl::Milliseconds(100);
const VmKey kDb{"shop", "db"};

int PortOf(const HttpTestServer& server) {
  return std::stoi(server.Url().substr(server.Url().rfind(':') + 1));
}

class ProbeTest : public testing::Test {
 protected:
  void SetUp() override {
    machines_.Add(kDb, kRunAlways);
    machines_.SetAddress(kDb, "127.0.0.1");
  }

  ProbeResult Run(const Probe& probe, std::stop_token stop = {}) {
    const auto result = RunProbe(machines_, kDb, probe, stop, {.retry_interval = absl::Milliseconds(1)});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : ProbeResult();
  }
  template <class What>
  static Probe Of(What what, absl::Duration timeout = kPatience) {
    return {.vms = {"*"}, .what = std::move(what), .timeout = timeout, .attempt_timeout = kPatience};
  }

  tests::MemoryMachines machines_;
};

TEST_F(ProbeTest, AnOpenPortPassesAtTheInstancesAddress) {
  const HttpTestServer server([](const TestRequest&, TestReply&) {});
  const ProbeResult result = Run(Of(TcpProbe{.port = static_cast<uint16_t>(PortOf(server)), .host = ""}));
  EXPECT_TRUE(result.passed) << result.text;
  EXPECT_EQ(result.kind, "tcp");
  EXPECT_EQ(result.target, fmt::format("127.0.0.1:{}", PortOf(server)));
  EXPECT_EQ(result.attempts, 1);
}

TEST_F(ProbeTest, AClosedPortIsTriedUntilTheTimeIsOver) {
  const auto port = static_cast<uint16_t>(tests::FreePort());
  const ProbeResult result = Run(Of(TcpProbe{.port = port, .host = "localhost"}, kShort));
  EXPECT_FALSE(result.passed);
  EXPECT_GT(result.attempts, 1);
  EXPECT_THAT(result.text, HasSubstr("refused"));
}

TEST_F(ProbeTest, AnInstanceWithoutAnAddressIsAskedForItAgain) {
  machines_.SetAddress(kDb, "");
  EXPECT_THAT(Run(Of(TcpProbe{.port = 1, .host = ""}, kShort)).text, HasSubstr("no address"));
  const HttpTestServer server([](const TestRequest&, TestReply&) {});
  std::jthread dhcp([&] { machines_.SetAddress(kDb, "127.0.0.1"); });
  EXPECT_TRUE(Run(Of(TcpProbe{.port = static_cast<uint16_t>(PortOf(server)), .host = ""})).passed);
}

TEST_F(ProbeTest, APageIsGotUntilItIsAsExpected) {
  std::atomic<int> asked = 0;
  const HttpTestServer server([&](const TestRequest& request, TestReply& reply) {
    ++asked;
    if (asked == 1) return reply.Send(503, "starting");
    if (asked == 2) return reply.Send(200, "half way");
    reply.Send(200, "status: up, " + request.target);
  });
  const HttpProbe http{
      .url = fmt::format("http://{{ip}}:{}/healthz", PortOf(server)), .status = 200, .body = "status: up", .ca = ""};
  const ProbeResult result = Run(Of(http));
  EXPECT_TRUE(result.passed) << result.text;
  EXPECT_EQ(result.attempts, 3);
  EXPECT_EQ(result.target, server.Url() + "/healthz");
  EXPECT_EQ(server.Requests().back().target, "/healthz");
}

TEST_F(ProbeTest, AWrongPageSaysWhatCame) {
  const HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(500, "no \x1b database"); });
  HttpProbe http{.url = server.Url(), .status = 200, .body = "", .ca = ""};
  const ProbeResult result = Run(Of(http, kShort));
  EXPECT_FALSE(result.passed);
  EXPECT_THAT(result.text, HasSubstr("answered 500, not 200: no \\x1b database"));
  http.status = 500;
  http.body = "all is well";
  EXPECT_THAT(Run(Of(http, kShort)).text, HasSubstr("without 'all is well'"));
  http.body = "database";
  EXPECT_TRUE(Run(Of(http)).passed);
}

TEST_F(ProbeTest, AServersCertificateHasToBeOfTheAuthority) {
  const tests::TempDir folder;
  const auto made = tests::RunProcess(
      {.program = "openssl",
       .arguments = {"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-addext",
                     "subjectAltName=IP:127.0.0.1", "-keyout", folder.File("key"), "-out", folder.File("crt")}});
  ASSERT_TRUE(made.ok() && made->exit_code == 0) << made->err;
  const HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, "up"); },
                              {.certificate_file = folder.File("crt"), .key_file = folder.File("key")});
  HttpProbe http{.url = server.Url(), .status = 200, .body = "", .ca = ""};
  EXPECT_THAT(Run(Of(http, kShort)).text, HasSubstr("certificate"));
  http.ca = folder.File("crt");
  EXPECT_TRUE(Run(Of(http)).passed);
}

TEST_F(ProbeTest, AGuestAgentThatAnswersPassesWithWhatRunsInside) {
  EXPECT_THAT(Run(Of(GuestAgentProbe{}, kShort)).text, HasSubstr("qemu-guest-agent"));
  machines_.SetAgent(kDb, true);
  EXPECT_EQ(Run(Of(GuestAgentProbe{})).text, "the guest agent answers");
  machines_.SetGuest(kDb, {.pretty_name = "Debian 12", .host_name = "db", .agent_version = "7.2"});
  const ProbeResult result = Run(Of(GuestAgentProbe{}));
  EXPECT_TRUE(result.passed);
  EXPECT_EQ(result.target, "agent");
  EXPECT_THAT(result.text, HasSubstr("Debian 12 on db"));
}

TEST_F(ProbeTest, AMachineThatIsGoneFailsWithThat) {
  machines_.Remove(kDb);
  EXPECT_THAT(Run(Of(TcpProbe{.port = 1, .host = ""}, kShort)).text, HasSubstr("shop/db not found"));
}

TEST_F(ProbeTest, AStopEndsAProbe) {
  std::stop_source stop;
  stop.request_stop();
  const Probe probe = Of(TcpProbe{.port = static_cast<uint16_t>(tests::FreePort()), .host = ""});
  EXPECT_TRUE(absl::IsCancelled(RunProbe(machines_, kDb, probe, stop.get_token()).status()));
  EXPECT_TRUE(absl::IsCancelled(RunProbes(machines_, {kDb}, {probe}, 2, stop.get_token()).status()));
}

TEST_F(ProbeTest, EveryMachineIsProbedByWhatItMatches) {
  const HttpTestServer server([](const TestRequest&, TestReply&) {});
  const auto open = static_cast<uint16_t>(PortOf(server));
  machines_.Add({"shop", "web"}, kRunAlways);
  Probe tcp = Of(TcpProbe{.port = open, .host = "127.0.0.1"});
  Probe agent = Of(GuestAgentProbe{}, absl::ZeroDuration());
  agent.vms = {"shop/d*", "bank/*"};
  const auto results = RunProbes(machines_, {{"shop", "web"}, kDb, {"shop", "db"}}, {tcp, agent}, 3, {});
  ASSERT_TRUE(results.ok()) << results.status();
  std::vector<std::string> told;
  for (const ProbeResult& result : *results) {
    told.push_back(fmt::format("{} {} {}", ToString(result.key), result.kind, result.passed));
  }
  EXPECT_THAT(told, ElementsAre("shop/db tcp true", "shop/db guest-agent false", "shop/db tcp true",
                                "shop/db guest-agent false", "shop/web tcp true"));
}

class SshProbeTest : public ProbeTest {
 protected:
  static void SetUpTestSuite() {
    auto server = SshServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override {
    ASSERT_NE(server_, nullptr);
    ProbeTest::SetUp();
  }
  static SshProbe Command(const std::string& command) {
    SshProbe probe;
    probe.command = command;
    probe.user = server_->user();
    probe.key_file = server_->KeyFile();
    probe.known_hosts = server_->KnownHosts("db.shop");
    probe.port = static_cast<uint16_t>(server_->port());
    return probe;
  }
  static std::unique_ptr<SshServer> server_;
};
std::unique_ptr<SshServer> SshProbeTest::server_;

TEST_F(SshProbeTest, ACommandThatSucceedsPassesAndTheMachineIsKnownByItsName) {
  const ProbeResult result = Run(Of(Command("echo ready; echo notes >&2")));
  EXPECT_TRUE(result.passed) << result.text << server_->Log();
  EXPECT_EQ(result.text, "the command ended with 0: ready / notes");
  EXPECT_EQ(result.target, fmt::format("127.0.0.1:{}", server_->port()));
}

TEST_F(SshProbeTest, ACommandIsRunAgainUntilItsExitCodeIsTheOneExpected) {
  const std::string file = server_->File("up");
  std::ofstream(server_->File("count")) << "";
  const ProbeResult result =
      Run(Of(Command(fmt::format("echo x >> {0}; [ $(wc -l < {0}) -ge 3 ] || {{ echo not yet; exit 1; }}", file))));
  EXPECT_TRUE(result.passed) << result.text;
  EXPECT_EQ(result.attempts, 3);
  SshProbe fails = Command("exit 4");
  EXPECT_EQ(Run(Of(fails, kShort)).text, "the command ended with 4, not 0");
  fails.exit_code = 4;
  EXPECT_TRUE(Run(Of(fails)).passed);
  EXPECT_EQ(Run(Of(Command("kill -TERM $$"), kShort)).text, "the command ended by signal TERM, not 0");
}

TEST_F(SshProbeTest, AWrongHostKeyIsAFailureThatIsntTriedAgain) {
  SshProbe probe = Command("true");
  probe.known_hosts = server_->ChangedKnownHosts();
  const ProbeResult result = Run(Of(probe));
  EXPECT_FALSE(result.passed);
  EXPECT_EQ(result.attempts, 1);
  EXPECT_THAT(result.text, HasSubstr(server_->Fingerprint()));
  probe = Command("true");
  probe.known_hosts = server_->KnownHosts("web.shop");
  const ProbeResult unknown = Run(Of(probe));
  EXPECT_EQ(unknown.attempts, 1);
  EXPECT_THAT(unknown.text, HasSubstr("db.shop"));
}

TEST_F(SshProbeTest, AMissingKeyFileIsAFailureThatIsntTriedAgain) {
  SshProbe probe = Command("true");
  probe.key_file = server_->File("nothing");
  EXPECT_EQ(Run(Of(probe)).attempts, 1);
}

TEST_F(SshProbeTest, OutputIsBoundedAndPrintable) {
  const ProbeResult result = Run(Of(Command("head -c 1000000 /dev/urandom")));
  EXPECT_TRUE(result.passed);
  EXPECT_LT(result.text.size(), 1100U);
  for (const char c : result.text) EXPECT_TRUE(static_cast<unsigned char>(c) >= ' ');
}

}  // namespace
}  // namespace understudy::control
