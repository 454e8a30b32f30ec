// What drctl serve does with reports that another process queued.
#include "control/commands/outbox_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "control/report/outbox.h"
#include "control/sync/state.h"
#include "tests/support/http_test_server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace understudy::control {
namespace {

// Also where there is no Kubernetes, and so nothing that is synced by schedule.
TEST(OutboxServiceTest, BringsAFailoversReportToItsReceiverWithoutAnyCluster) {
  tests::TempDir folder;
  tests::HttpTestServer server([](const tests::TestRequest&, tests::TestReply& reply) { reply.Send(200, ""); });
  config::ControlConfig config;
  config.state_dir = folder.Path() + "/state";
  config.notify.webhooks.push_back({.url = server.Url() + "/hook", .ca = {}, .token_file = {}, .hmac_secret_file = {}});
  RunRecord run;
  run.spec.id = "run-1";
  run.spec.started_at = absl::Now() - absl::Minutes(2);
  run.state = RunState::kDone;
  run.ended_at = absl::Now() - absl::Minutes(1);
  const auto state = SyncState::Open(config.state_dir);
  ASSERT_TRUE(state.ok()) << state.status();
  ASSERT_EQ(QueueFailoverReport(**state, config.notify, BuildFailoverReport(run, *run.ended_at)), absl::OkStatus());

  const auto service = OutboxService::Start(config);
  ASSERT_TRUE(service.ok()) << service.status();
  ASSERT_EQ(tests::WaitFor("the report", absl::Seconds(60), [&] { return !server.Requests().empty(); }),
            absl::OkStatus());
  EXPECT_THAT(server.Requests().at(0).body, testing::HasSubstr("\"report\":\"failover\",\"run\":\"run-1\""));
}

TEST(OutboxServiceTest, MakesNothingWhereNobodyIsToHearOfAnything) {
  tests::TempDir folder;
  config::ControlConfig config;
  config.state_dir = folder.Path() + "/state";
  const auto service = OutboxService::Start(config);
  ASSERT_TRUE(service.ok()) << service.status();
  EXPECT_EQ(*service, nullptr);
  EXPECT_FALSE(std::filesystem::exists(config.state_dir));
}

}  // namespace
}  // namespace understudy::control
