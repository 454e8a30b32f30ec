// A connection that is kept open over the death of an agent, as drctl serve keeps one: it is used only now and then, by
// a process in which nobody else talks gRPC.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "control/commands/agents_client.h"
#include "tests/support/site.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

// How often somebody looks; a handshake takes far less.
constexpr absl::Duration kPace = absl::Milliseconds(1500);

TEST(Reconnect, AnAgentThatWasKilledIsReachedAgainAtTheNextLook) {
  auto made = Site::Make();
  ASSERT_TRUE(made.ok()) << made.status();
  const std::unique_ptr<Site> site = *std::move(made);
  ASSERT_TRUE(site->StartDr().ok());
  const auto client = control::ReplicaClient::Create(
      fmt::format("127.0.0.1:{}", site->dr_port()),
      {site->File("pki/ca.crt"), site->File("pki/control.crt"), site->File("pki/control.key")});
  ASSERT_TRUE(client.ok()) << client.status();
  const auto listens = [&] {
    // Another process: what talks gRPC in this one would help the connection along.
    const ProcessResult asked = site->Drctl({"exports", "list", "--site", "dr"});
    return asked.exit_code == 0 ? absl::OkStatus() : absl::UnavailableError(asked.err);
  };
  ASSERT_TRUE(WaitForOk("the agent", absl::Minutes(1), listens).ok());
  ASSERT_TRUE(client->ListReplicas().ok());
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    site->dr().Kill();
    // Long enough for the pauses between attempts to have become as long as they may.
    for (int look = 0; look < 6; ++look) {
      EXPECT_FALSE(client->ListReplicas().ok());
      absl::SleepFor(kPace);
    }
    ASSERT_TRUE(site->StartDr().ok());
    ASSERT_TRUE(WaitForOk("the agent", absl::Minutes(1), listens).ok());
    absl::Status reached = client->ListReplicas().status();
    if (!reached.ok()) {
      absl::SleepFor(kPace);
      reached = client->ListReplicas().status();
    }
    EXPECT_TRUE(reached.ok()) << "at the second look at an agent that is there: " << reached;
  }
}

}  // namespace
}  // namespace understudy::tests
