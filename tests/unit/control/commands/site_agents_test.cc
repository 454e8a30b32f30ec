// Calls to agents that don't answer: what a failover waits for ends soon after its stop is asked for.
#include "control/commands/site_agents.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/net/pki.h"
#include "core/net/rpc_server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"
#include "understudy/v1/exports.grpc.pb.h"
#include "understudy/v1/freshness.grpc.pb.h"
#include "understudy/v1/points.grpc.pb.h"
#include "understudy/v1/replica.grpc.pb.h"
#include "understudy/v1/standby.grpc.pb.h"
#include "understudy/v1/verify.grpc.pb.h"

namespace understudy::control {
namespace {

// How long an agent is silent when nobody hangs up: past the bound of the test.
constexpr absl::Duration kSilence = absl::Seconds(60);
constexpr absl::Duration kSoon = absl::Seconds(10);

// Counts the calls that have come, and answers none of them while its caller waits.
class Silence {
 public:
  grpc::Status Keep(const grpc::ServerContext* context) {
    ++calls_;
    (void)tests::WaitFor("the caller's end", kSilence, [&] { return context->IsCancelled(); });
    return {grpc::StatusCode::ABORTED, "the caller didn't hang up"};
  }
  [[nodiscard]] int Calls() const { return calls_; }

 private:
  std::atomic<int> calls_ = 0;
};

template <class Message>
using Writer = grpc::ServerWriter<Message>;

class SilentStandby : public v1::Standby::Service {
 public:
  explicit SilentStandby(Silence& silence) : silence_(silence) {}
  grpc::Status Promote(grpc::ServerContext* context, const v1::PromoteRequest*, Writer<v1::StandbyProgress>*) override {
    return silence_.Keep(context);
  }
  grpc::Status RunHooks(grpc::ServerContext* context, const v1::RunHooksRequest*,
                        Writer<v1::StandbyProgress>*) override {
    return silence_.Keep(context);
  }

 private:
  Silence& silence_;
};

class SilentPoints : public v1::Points::Service {
 public:
  explicit SilentPoints(Silence& silence) : silence_(silence) {}
  grpc::Status MaterialisePoint(grpc::ServerContext* context, const v1::MaterialisePointRequest*,
                                Writer<v1::MaterialisePointResponse>*) override {
    return silence_.Keep(context);
  }
  grpc::Status RemoveTree(grpc::ServerContext* context, const v1::RemoveTreeRequest*,
                          v1::RemoveTreeResponse*) override {
    return silence_.Keep(context);
  }
  grpc::Status ListPoints(grpc::ServerContext* context, const v1::ListPointsRequest*,
                          v1::ListPointsResponse*) override {
    return silence_.Keep(context);
  }

 private:
  Silence& silence_;
};

class SilentVerify : public v1::Verify::Service {
 public:
  explicit SilentVerify(Silence& silence) : silence_(silence) {}
  grpc::Status VerifyReplica(grpc::ServerContext* context, const v1::VerifyReplicaRequest*,
                             Writer<v1::VerifyUpdate>*) override {
    return silence_.Keep(context);
  }

 private:
  Silence& silence_;
};

class SilentReplica : public v1::Replica::Service {
 public:
  explicit SilentReplica(Silence& silence) : silence_(silence) {}
  grpc::Status ListReplicas(grpc::ServerContext* context, const v1::ListReplicasRequest*,
                            v1::ListReplicasResponse*) override {
    return silence_.Keep(context);
  }

 private:
  Silence& silence_;
};

class SilentExports : public v1::Exports::Service {
 public:
  explicit SilentExports(Silence& silence) : silence_(silence) {}
  grpc::Status SetExport(grpc::ServerContext* context, const v1::SetExportRequest*, v1::SetExportResponse*) override {
    return silence_.Keep(context);
  }

 private:
  Silence& silence_;
};

class SilentFreshness : public v1::Freshness::Service {
 public:
  explicit SilentFreshness(Silence& silence) : silence_(silence) {}
  grpc::Status ListConfirmations(grpc::ServerContext* context, const v1::ListConfirmationsRequest*,
                                 v1::ListConfirmationsResponse*) override {
    return silence_.Keep(context);
  }

 private:
  Silence& silence_;
};

struct LongCall {
  std::string name;
  std::function<absl::Status(SiteAgents&)> make;
};

std::vector<LongCall> LongCalls() {
  const PromotionWatch watch{.on_step = [](const std::string&) {}, .on_hook = [](const model::HookResult&) {}};
  return {
      {"Promote", [watch](SiteAgents& a) { return a.Promote("p", "web", "run", false, watch).status(); }},
      {"RunHooks",
       [watch](SiteAgents& a) { return a.RunHooks("p", model::HookPhase::kPreFence, "web", "run", watch); }},
      {"Verify",
       [](SiteAgents& a) { return a.Verify("p", "web", model::VerifyDepth::kKept, [](const auto&) {}).status(); }},
      {"Materialise",
       [](SiteAgents& a) {
         return a.Materialise("p", {.volume = "web", .sequence = 1, .path = "/srv/b/copy"}, [](const auto&) {})
             .status();
       }},
      {"RemoveTree", [](SiteAgents& a) { return a.RemoveTree("p", std::string(32, 'a')); }},
      {"Points", [](SiteAgents& a) { return a.Points("p", "web").status(); }},
      {"Replicas", [](SiteAgents& a) { return a.Replicas("p").status(); }},
      {"ConfirmedAt", [](SiteAgents& a) { return a.ConfirmedAt("p", {.volume = "web"}).status(); }},
      {"SetSourceExport", [](SiteAgents& a) { return a.SetSourceExport("p", "web", model::ExportMode::kReadOnly); }},
  };
}

class SiteAgentsTest : public ::testing::TestWithParam<LongCall> {
 protected:
  static void SetUpTestSuite() {
    pki_ = new tests::TempDir();
    ASSERT_TRUE(net::InitAuthority(pki_->Path(), true).ok());
    for (const net::Role role : net::kAllRoles) {
      ASSERT_TRUE(net::IssueCertificate(
                      pki_->Path(), {.name = std::string(net::ToString(role)), .roles = {role}, .hosts = {"127.0.0.1"}})
                      .ok());
    }
  }
  static void TearDownTestSuite() { delete std::exchange(pki_, nullptr); }
  static net::TlsFiles Files(const std::string& name) {
    return {pki_->File("ca.crt"), pki_->File(name + ".crt"), pki_->File(name + ".key")};
  }

  Silence silence_;
  SilentStandby standby_{silence_};
  SilentPoints points_{silence_};
  SilentVerify verify_{silence_};
  SilentReplica replica_{silence_};
  SilentExports exports_{silence_};
  SilentFreshness freshness_{silence_};
  static tests::TempDir* pki_;
};
tests::TempDir* SiteAgentsTest::pki_ = nullptr;

TEST_P(SiteAgentsTest, ACallEndsSoonAfterTheStop) {
  const auto dr = net::RpcServer::Start("127.0.0.1:0", Files("dr"), net::Role::kDr,
                                        {&standby_, &points_, &verify_, &replica_, &freshness_});
  const auto primary = net::RpcServer::Start("127.0.0.1:0", Files("primary"), net::Role::kPrimary, {&exports_});
  ASSERT_TRUE(dr.ok() && primary.ok()) << dr.status() << primary.status();
  config::ControlConfig config;
  config.tls.ca = pki_->File("ca.crt");
  config.tls.cert = pki_->File("control.crt");
  config.tls.key = pki_->File("control.key");
  config::PairConfig pair;
  pair.name = "p";
  pair.primary = fmt::format("127.0.0.1:{}", (*primary)->port());
  pair.dr = fmt::format("127.0.0.1:{}", (*dr)->port());
  config.pairs = {pair};
  std::stop_source stop;
  const auto agents = ConnectSites(config, FailoverWay::kToDr, stop.get_token());
  ASSERT_TRUE(agents.ok()) << agents.status();

  absl::Status ended;
  std::atomic<bool> over = false;
  std::jthread caller([&] {
    ended = GetParam().make(**agents);
    over = true;
  });
  ASSERT_TRUE(tests::WaitFor("the call", kSoon, [&] { return silence_.Calls() > 0 || over; }).ok());
  ASSERT_FALSE(over) << ended;
  stop.request_stop();
  EXPECT_TRUE(tests::WaitFor("its end", kSoon, [&] { return over.load(); }).ok());
  caller.join();
  EXPECT_TRUE(absl::IsCancelled(ended)) << ended;
}
INSTANTIATE_TEST_SUITE_P(Calls, SiteAgentsTest, ::testing::ValuesIn(LongCalls()),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace understudy::control
