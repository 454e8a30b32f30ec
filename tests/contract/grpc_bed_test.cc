// The contract suite over the primary's gRPC sink, connected to understudy-dr over mutual TLS.
#include <grpcpp/channel.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "agent-dr/app.h"
#include "agent-primary/ship/grpc_sink.h"
#include "agent-primary/ship/volume_discarder.h"
#include "core/net/channel.h"
#include "core/net/pki.h"
#include "tests/contract/replica_sink_contract.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {
namespace {

class GrpcBed : public SinkBed {
 public:
  GrpcBed() {
    const std::string pki = folder_.File("pki");
    EXPECT_TRUE(net::InitAuthority(pki, false).ok());
    for (const net::Role role : {net::Role::kPrimary, net::Role::kDr}) {
      const std::string name(net::ToString(role));
      EXPECT_TRUE(net::IssueCertificate(pki, {.name = name, .roles = {role}, .hosts = {"127.0.0.1"}}).ok());
    }
    mkdir(folder_.File("state").c_str(), 0700);
    mkdir(folder_.File("export").c_str(), 0755);
    config::DrConfig config;
    config.listen = "127.0.0.1:0";
    config.metrics_listen = "127.0.0.1:0";
    config.state_dir = folder_.File("state");
    config.tls = {pki + "/ca.crt", pki + "/dr.crt", pki + "/dr.key"};
    config.exports.resize(1);
    config.exports[0].path = folder_.File("export");
    auto agent = dr::DrAgent::Start(config);
    EXPECT_TRUE(agent.ok()) << agent.status();
    agent_ = *std::move(agent);
    channel_.address = "127.0.0.1:" + std::to_string(agent_->port());
    channel_.tls = {pki + "/ca.crt", pki + "/primary.crt", pki + "/primary.key"};
    channel_.own_role = net::Role::kPrimary;
    channel_.server_role = net::Role::kDr;
  }

  std::unique_ptr<model::ReplicaSink> Connect() override {
    auto channel = net::MakeChannel(channel_);
    EXPECT_TRUE(channel.ok()) << channel.status();
    auto sink = primary::GrpcReplicaSink::Connect(*std::move(channel), channel_.address,
                                                  {[](const model::VolumeName&, model::Sequence) {}, [] {}});
    EXPECT_TRUE(sink.ok()) << sink.status();
    return *std::move(sink);
  }
  std::string RootFor(const std::string& name) override { return folder_.File("export") + "/" + name; }
  [[nodiscard]] const net::ChannelSpec& channel() const { return channel_; }
  void StopAgent() { agent_.reset(); }

 private:
  TempDir folder_;
  net::ChannelSpec channel_;
  std::unique_ptr<dr::DrAgent> agent_;
};

const MakeSinkBed kGrpc = [] { return std::make_unique<GrpcBed>(); };

INSTANTIATE_TEST_SUITE_P(Grpc, ReplicaSinkContract, testing::Values(kGrpc));
INSTANTIATE_TEST_SUITE_P(Grpc, DeltaContract, testing::Values(kGrpc));

TEST(VolumeDiscarderTest, DrGivesUpTheReplicaThatIsMeantAndNoOther) {
  GrpcBed bed;
  const auto sink = bed.Connect();
  const std::string root = bed.RootFor("vol");
  const auto state = sink->Open({"vol", root, 0});
  ASSERT_TRUE(state.ok()) << state.status();
  const auto discarder = primary::VolumeDiscarder::Create(bed.channel());
  ASSERT_TRUE(discarder.ok()) << discarder.status();
  const std::string other(32, '0');
  EXPECT_TRUE(absl::IsFailedPrecondition((*discarder)->Discard({"vol", root, other, state->epoch})));
  EXPECT_TRUE((*discarder)->Discard({"vol", root, state->replica_id, state->epoch}).ok());
  EXPECT_TRUE((*discarder)->Discard({"vol", root, state->replica_id, state->epoch}).ok()) << "asked again";
  const auto next = bed.Connect()->Open({"vol", root, 0});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_NE(next->replica_id, state->replica_id);
  bed.StopAgent();
  EXPECT_TRUE(absl::IsUnavailable((*discarder)->Discard({"vol", root, next->replica_id, next->epoch})));
}

}  // namespace
}  // namespace understudy::tests
