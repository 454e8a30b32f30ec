// SSH sessions against a real sshd: who is talked to, who may sign in, and what comes of a command.
#include "core/net/ssh_session.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "core/os/fd.h"
#include "tests/support/ssh_server.h"
#include "tests/support/wait.h"

namespace understudy::net {
namespace {

using testing::HasSubstr;
using tests::RunProcess;
using tests::SshServer;

// Generous: no test that works waits for it.
constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr absl::Duration kShort = absl::Milliseconds(200);
constexpr size_t kOutputLimit = 4096;

class SshSessionTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = SshServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override { ASSERT_NE(server_, nullptr); }

  static SshTarget Target() {
    return {.host = "127.0.0.1",
            .port = static_cast<uint16_t>(server_->port()),
            .user = server_->user(),
            .key_file = server_->KeyFile(),
            .passphrase_file = {},
            .known_hosts = server_->KnownHosts(),
            .known_as = {}};
  }
  static absl::Status Connecting(const SshTarget& target) {
    return SshSession::Connect(target, kPatience, {}).status();
  }
  static absl::StatusOr<SshRun> Run(const std::string& command, size_t limit = kOutputLimit,
                                    absl::Duration timeout = kPatience, std::stop_token stop = {}) {
    auto session = SshSession::Connect(Target(), kPatience, {});
    if (!session.ok()) return session.status();
    return (*session)->Run(command, limit, timeout, stop);
  }
  static std::string WriteFile(const std::string& name, const std::string& text) {
    std::ofstream(server_->File(name)) << text;
    return server_->File(name);
  }

  static std::unique_ptr<SshServer> server_;
};
std::unique_ptr<SshServer> SshSessionTest::server_;

TEST_F(SshSessionTest, ACommandsOutputAndExitCodeComeBack) {
  const auto run = Run("echo out; echo err >&2; exit 3");
  ASSERT_TRUE(run.ok()) << run.status() << server_->Log();
  EXPECT_EQ(run->exit_code, 3);
  EXPECT_EQ(run->out, "out\n");
  EXPECT_EQ(run->err, "err\n");
  EXPECT_EQ(run->signal, "");
  EXPECT_FALSE(run->truncated);
}

TEST_F(SshSessionTest, ASessionRunsSeveralCommandsOneAfterTheOther) {
  auto session = SshSession::Connect(Target(), kPatience, {});
  ASSERT_TRUE(session.ok()) << session.status();
  for (const std::string word : {"one", "two", "three"}) {
    const auto run = (*session)->Run("echo " + word, kOutputLimit, kPatience, {});
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_EQ(run->out, word + "\n");
  }
}

TEST_F(SshSessionTest, ACommandThatASignalEndsSaysWhich) {
  const auto run = Run("kill -KILL $$");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->exit_code, std::nullopt);
  EXPECT_EQ(run->signal, "KILL");
}

TEST_F(SshSessionTest, MoreOutputThanIsKeptIsReadAndDropped) {
  const auto run = Run("head -c 3000000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero | tr '\\0' y >&2; exit 7");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->exit_code, 7);
  EXPECT_EQ(run->out, std::string(kOutputLimit, 'x'));
  EXPECT_EQ(run->err, std::string(kOutputLimit, 'y'));
  EXPECT_TRUE(run->truncated);
}

TEST_F(SshSessionTest, ACommandThatReadsGetsNothing) {
  const auto run = Run("cat; echo end");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->out, "end\n");
}

TEST_F(SshSessionTest, ACommandIsWaitedForUntilItsDeadline) {
  EXPECT_TRUE(absl::IsDeadlineExceeded(Run("sleep 600", kOutputLimit, kShort).status()));
}

TEST_F(SshSessionTest, AStopEndsTheWaitForACommand) {
  std::stop_source stop;
  auto session = SshSession::Connect(Target(), kPatience, {});
  ASSERT_TRUE(session.ok()) << session.status();
  const std::string begun = server_->File("begun");
  const std::jthread stopper([&] {
    EXPECT_TRUE(tests::WaitFor("the command", kPatience, [&] { return std::ifstream(begun).good(); }).ok());
    stop.request_stop();
  });
  const auto run =
      (*session)->Run(fmt::format("touch {}; exec sleep 600", begun), kOutputLimit, kPatience, stop.get_token());
  EXPECT_TRUE(absl::IsCancelled(run.status())) << run.status();
}

TEST_F(SshSessionTest, AServerThatIsntKnownIsntSignedInTo) {
  SshTarget target = Target();
  target.known_hosts = WriteFile("empty_known_hosts", "");
  const absl::Status status = Connecting(target);
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("empty_known_hosts"));
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("ssh-keyscan"));
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("SHA256:"));
}

TEST_F(SshSessionTest, AServerWhoseKeyChangedIsntSignedInToAndTheMessageHasTheFingerprint) {
  SshTarget target = Target();
  target.known_hosts = server_->ChangedKnownHosts();
  const absl::Status status = Connecting(target);
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("has another"));
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr(server_->Fingerprint()));
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("changed_known_hosts"));
}

TEST_F(SshSessionTest, ARevokedKeyIsRefusedThoughItIsListed) {
  SshTarget target = Target();
  target.known_hosts = WriteFile(
      "revoked", fmt::format("[127.0.0.1]:{0} {1}\n@revoked * {1}\n", server_->port(), server_->PublicHostKey()));
  const absl::Status status = Connecting(target);
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("revoked"));
}

TEST_F(SshSessionTest, ALineThatCantBeReadDoesntHideTheOthers) {
  SshTarget target = Target();
  target.known_hosts =
      WriteFile("odd", fmt::format("nonsense\n@cert-authority * {1}\n*.example.com ssh-new AAAA\n[127.0.0.1]:{0} {1}",
                                   server_->port(), server_->PublicHostKey()));
  EXPECT_EQ(Connecting(target), absl::OkStatus());
}

TEST_F(SshSessionTest, ACertificateAuthorityTrustsNobody) {
  SshTarget target = Target();
  target.known_hosts = WriteFile("authority", fmt::format("@cert-authority * {}\n", server_->PublicHostKey()));
  EXPECT_TRUE(absl::IsUnauthenticated(Connecting(target)));
}

TEST_F(SshSessionTest, AMachineIsKnownByItsNameWhateverAddressItGot) {
  SshTarget target = Target();
  target.known_hosts = server_->KnownHosts("db.shop");
  EXPECT_TRUE(absl::IsUnauthenticated(Connecting(target)));
  target.known_as = {"db.shop"};
  EXPECT_EQ(Connecting(target), absl::OkStatus());
}

TEST_F(SshSessionTest, TheNameCountsBeforeAnAddressThatAnotherMachineHadBefore) {
  SshTarget target = Target();
  std::ifstream changed(server_->ChangedKnownHosts());
  const std::string other(std::istreambuf_iterator<char>(changed), {});
  target.known_hosts = WriteFile("moved", other + "db.shop " + server_->PublicHostKey() + "\n");
  target.known_as = {"db.shop"};
  EXPECT_EQ(Connecting(target), absl::OkStatus());
  target.known_hosts =
      WriteFile("moved", fmt::format("db.shop {}[127.0.0.1]:{} {}\n", other.substr(other.find(' ') + 1),
                                     server_->port(), server_->PublicHostKey()));
  EXPECT_TRUE(absl::IsUnauthenticated(Connecting(target)));
}

TEST_F(SshSessionTest, HashedNamesAreFound) {
  SshTarget target = Target();
  const std::string file =
      WriteFile("hashed", fmt::format("[127.0.0.1]:{} {}\n", server_->port(), server_->PublicHostKey()));
  const auto hashed = RunProcess({.program = "ssh-keygen", .arguments = {"-q", "-H", "-f", file}});
  ASSERT_TRUE(hashed.ok() && hashed->exit_code == 0) << hashed->err;
  std::ifstream stream(file);
  ASSERT_EQ(stream.get(), '|');
  target.known_hosts = file;
  EXPECT_EQ(Connecting(target), absl::OkStatus());
}

TEST_F(SshSessionTest, TheKindOfKeyThatIsKnownIsAskedFor) {
  std::ifstream stream(server_->File("host_ecdsa.pub"));
  std::string key;
  std::getline(stream, key);
  SshTarget target = Target();
  target.known_hosts = WriteFile("ecdsa", fmt::format("[127.0.0.1]:{} {}\n", server_->port(), key));
  EXPECT_EQ(Connecting(target), absl::OkStatus());
}

TEST_F(SshSessionTest, AStrangersKeyIsRefused) {
  SshTarget target = Target();
  target.key_file = server_->StrangersKeyFile();
  const absl::Status status = Connecting(target);
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("authorized_keys"));
}

TEST_F(SshSessionTest, ALockedKeyOpensWithItsPassphraseOnly) {
  SshTarget target = Target();
  target.key_file = server_->LockedKeyFile();
  target.passphrase_file = WriteFile("passphrase", "open sesame\n");
  EXPECT_EQ(Connecting(target), absl::OkStatus());
  target.passphrase_file = WriteFile("passphrase", "open barley\n");
  EXPECT_TRUE(absl::IsInvalidArgument(Connecting(target))) << Connecting(target);
  target.passphrase_file.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(Connecting(target))) << Connecting(target);
}

TEST_F(SshSessionTest, FilesThatCantBeReadAreNamed) {
  SshTarget target = Target();
  target.key_file = server_->File("no_key");
  absl::Status status = Connecting(target);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("no_key"));
  target = Target();
  target.known_hosts = server_->File("no_hosts");
  status = Connecting(target);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("no_hosts"));
}

TEST_F(SshSessionTest, KeysOfAnAgentDo) {
  const std::string socket = server_->File("agent");
  const auto agent = tests::Process::Start({.program = "ssh-agent", .arguments = {"-D", "-a", socket}});
  ASSERT_TRUE(agent.ok()) << agent.status();
  setenv("SSH_AUTH_SOCK", socket.c_str(), 1);
  const auto add = [&](const std::string& key) {
    return tests::WaitForOk("the agent", kPatience, [&] {
      const auto added = RunProcess({.program = "ssh-add", .arguments = {"-q", key}});
      return added.ok() && added->exit_code == 0 ? absl::OkStatus() : absl::UnavailableError("not yet");
    });
  };
  SshTarget target = Target();
  target.key_file.clear();
  ASSERT_EQ(add(server_->StrangersKeyFile()), absl::OkStatus());
  EXPECT_TRUE(absl::IsPermissionDenied(Connecting(target))) << Connecting(target);
  ASSERT_EQ(add(server_->KeyFile()), absl::OkStatus());
  EXPECT_EQ(Connecting(target), absl::OkStatus());
  unsetenv("SSH_AUTH_SOCK");
  EXPECT_TRUE(absl::IsInvalidArgument(Connecting(target)));
}

TEST_F(SshSessionTest, APortThatNobodyListensOnIsUnavailable) {
  SshTarget target = Target();
  target.port = static_cast<uint16_t>(tests::FreePort());
  EXPECT_TRUE(absl::IsUnavailable(Connecting(target))) << Connecting(target);
}

// Takes connections, and never says a word.
class SilentServer {
 public:
  SilentServer() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(socket_.get(), 8), 0);
    EXPECT_EQ(getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  [[nodiscard]] uint16_t port() const { return port_; }

 private:
  const os::Fd socket_;
  uint16_t port_ = 0;
};

TEST_F(SshSessionTest, AServerThatSaysNothingIsWaitedForUntilTheDeadlineOrAStop) {
  const SilentServer server;
  SshTarget target = Target();
  target.port = server.port();
  EXPECT_TRUE(absl::IsDeadlineExceeded(SshSession::Connect(target, kShort, {}).status()));
  std::stop_source stop;
  const std::jthread stopper([&] { stop.request_stop(); });
  const absl::Status stopped = SshSession::Connect(target, kPatience, stop.get_token()).status();
  EXPECT_TRUE(absl::IsCancelled(stopped)) << stopped;
}

}  // namespace
}  // namespace understudy::net
