// understudy-dr as a whole in one process, called over mutual TLS as the primary and the control plane call it.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <stop_token>
#include <thread>

#include "absl/synchronization/notification.h"
#include "agent-dr/app.h"
#include "core/delta/content_digest.h"
#include "core/net/channel.h"
#include "core/net/http_client.h"
#include "core/net/pki.h"
#include "core/wire/catalog_client.h"
#include "core/wire/limits.h"
#include "core/wire/replication_codec.h"
#include "core/wire/standby_codec.h"
#include "core/wire/trash_codec.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"
#include "understudy/v1/exports.grpc.pb.h"
#include "understudy/v1/points.grpc.pb.h"
#include "understudy/v1/replica.grpc.pb.h"
#include "understudy/v1/replication.grpc.pb.h"
#include "understudy/v1/standby.grpc.pb.h"

namespace understudy::dr {
namespace {

using ::testing::HasSubstr;

class DrAgentTest : public testing::Test {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::ReplicateRequest, v1::ReplicateResponse>;

  void SetUp() override {
    const std::string pki = folder_.File("pki");
    ASSERT_TRUE(net::InitAuthority(pki, false).ok());
    for (const net::Role role : net::kAllRoles) {
      const std::string name(net::ToString(role));
      ASSERT_TRUE(net::IssueCertificate(pki, {.name = name, .roles = {role}, .hosts = {"127.0.0.1"}}).ok());
    }
    mkdir(folder_.File("state").c_str(), 0700);
    mkdir(folder_.File("export").c_str(), 0755);
    config_.listen = "127.0.0.1:0";
    config_.metrics_listen = "127.0.0.1:0";
    config_.state_dir = folder_.File("state");
    config_.tls = {pki + "/ca.crt", pki + "/dr.crt", pki + "/dr.key"};
    config_.exports.resize(1);
    config_.trash.retain = absl::Hours(2);
    config_.hooks.dir = folder_.File("hooks.d");
    config_.exports[0].path = folder_.File("export");
    Start();
  }

  void Start() {
    agent_.reset();
    auto agent = DrAgent::Start(config_);
    ASSERT_TRUE(agent.ok()) << agent.status();
    agent_ = *std::move(agent);
  }

  std::shared_ptr<grpc::Channel> Channel(net::Role role) {
    const std::string name(net::ToString(role));
    const std::string pki = folder_.File("pki");
    auto channel = net::MakeChannel({"127.0.0.1:" + std::to_string(agent_->port()),
                                     {pki + "/ca.crt", pki + "/" + name + ".crt", pki + "/" + name + ".key"},
                                     role,
                                     net::Role::kDr});
    EXPECT_TRUE(channel.ok()) << channel.status();
    return *channel;
  }

  std::string Root(const std::string& volume) { return folder_.File("export") + "/" + volume; }

  v1::ReplicateRequest OpenRequest(const std::string& volume, const std::string& root, uint64_t session) {
    v1::ReplicateRequest request;
    *request.mutable_open() = wire::ToProto(model::VolumeSpec{volume, root, 0});
    request.mutable_open()->set_session(session);
    return request;
  }

  static v1::ReplicateRequest CommitRequest(const std::string& volume, uint64_t base, const std::string& content) {
    model::Commit commit;
    commit.volume = volume;
    commit.epoch = 1;
    commit.base_sequence = base;
    commit.sequence = base + 1;
    commit.operations = {model::Put{"file", {}, content.size(), delta::DigestOfContent(content), content}};
    v1::ReplicateRequest request;
    request.set_epoch(commit.epoch);
    *request.mutable_commit() = wire::ToProto(commit);
    return request;
  }

  tests::TempDir folder_;
  config::DrConfig config_;
  std::unique_ptr<DrAgent> agent_;
};

TEST_F(DrAgentTest, ShakesHandsWithItsOwnProtocolVersionOnly) {
  const auto stub = v1::Replication::NewStub(Channel(net::Role::kPrimary));
  v1::HandshakeResponse response;
  {
    grpc::ClientContext context;
    const auto status = stub->Handshake(&context, wire::ToRequest({wire::kProtocolVersion, "0.1.0", "a"}), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.protocol_version(), wire::kProtocolVersion);
  }
  grpc::ClientContext context;
  const auto refused =
      stub->Handshake(&context, wire::ToRequest({wire::kProtocolVersion + 1, "9.9.9", "a"}), &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("upgrade understudy-dr"));
}

TEST_F(DrAgentTest, AcknowledgesThenSaysThatItIsPublished) {
  grpc::ClientContext context;
  const auto stub = v1::Replication::NewStub(Channel(net::Role::kPrimary));
  const std::unique_ptr<Stream> stream = stub->Replicate(&context);
  stream->Write(OpenRequest("vol", Root("vol"), 5));
  v1::ReplicateResponse answer;
  ASSERT_TRUE(stream->Read(&answer));
  ASSERT_TRUE(answer.has_opened());
  EXPECT_EQ(answer.opened().session(), 5u);
  EXPECT_EQ(answer.opened().replica().sequence(), 0u);
  stream->Write(CommitRequest("vol", 0, "content"));
  ASSERT_TRUE(stream->Read(&answer));
  ASSERT_TRUE(answer.has_acknowledged());
  EXPECT_EQ(answer.acknowledged().sequence(), 1u);
  ASSERT_TRUE(stream->Read(&answer));
  ASSERT_TRUE(answer.has_published());
  EXPECT_EQ(answer.published().sequence(), 1u);
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(DrAgentTest, ARefusalEndsOneVolumesSessionAndNothingElse) {
  grpc::ClientContext context;
  const auto stub = v1::Replication::NewStub(Channel(net::Role::kPrimary));
  const std::unique_ptr<Stream> stream = stub->Replicate(&context);
  stream->Write(OpenRequest("one", Root("one"), 1));
  stream->Write(OpenRequest("two", Root("two"), 2));
  v1::ReplicateResponse answer;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(stream->Read(&answer));
    ASSERT_TRUE(answer.has_opened());
  }
  stream->Write(CommitRequest("one", 7, "wrong base"));
  ASSERT_TRUE(stream->Read(&answer));
  ASSERT_TRUE(answer.has_refused());
  EXPECT_EQ(answer.refused().volume(), "one");
  EXPECT_EQ(answer.refused().session(), 1u);
  EXPECT_EQ(answer.refused().code(), static_cast<uint32_t>(absl::StatusCode::kFailedPrecondition));
  // Passed over in silence: the next answer is the other volume's.
  stream->Write(CommitRequest("one", 0, "too late"));
  stream->Write(CommitRequest("two", 0, "fine"));
  ASSERT_TRUE(stream->Read(&answer));
  ASSERT_TRUE(answer.has_acknowledged());
  EXPECT_EQ(answer.acknowledged().volume(), "two");
  ASSERT_TRUE(stream->Read(&answer));
  // Opened again, the volume goes on.
  stream->Write(OpenRequest("one", Root("one"), 3));
  ASSERT_TRUE(stream->Read(&answer));
  ASSERT_TRUE(answer.has_opened());
  EXPECT_EQ(answer.opened().session(), 3u);
  EXPECT_EQ(answer.opened().replica().sequence(), 0u);
  // An opening is refused with its own number.
  stream->Write(OpenRequest("one", "/elsewhere", 4));
  ASSERT_TRUE(stream->Read(&answer));
  ASSERT_TRUE(answer.has_refused());
  EXPECT_EQ(answer.refused().session(), 4u);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

// The right to write is in every message: an earlier epoch's is refused whatever it is, and nothing of it is kept.
TEST_F(DrAgentTest, EveryMessageCarriesTheEpochAndOneOfAnEarlierEpochIsRefused) {
  const auto stub = v1::Replication::NewStub(Channel(net::Role::kPrimary));
  const v1::StageBegin begin = wire::ToProto(wire::StageBegin{"vol", 1, "large", 100, ""});
  std::vector<v1::ReplicateRequest> messages(7);
  *messages[0].mutable_stage_begin() = begin;
  *messages[1].mutable_stage_resume() = wire::ToResume({"vol", 1, "large", 100, ""});
  *messages[2].mutable_stage_data() = wire::ToProto(wire::StageData{"vol", 1, {{0, 3, "abc"}}});
  *messages[3].mutable_stage_data() = wire::ToProto(wire::StageData{"vol", 1, {{0, 3, ""}}});
  *messages[4].mutable_stage_delta() = wire::ToProto(wire::StageDelta{"vol", 1, {0, 100, "delta", {}, 0, 100}});
  *messages[5].mutable_stage_end() = wire::ToProto(wire::StageEnd{"vol", 1});
  messages[6] = CommitRequest("vol", 0, "late");
  for (size_t i = 0; i < messages.size(); ++i) {
    for (const uint64_t epoch : {0, 1, 2}) {
      SCOPED_TRACE(testing::Message() << "message " << i << " of epoch " << epoch);
      grpc::ClientContext context;
      const std::unique_ptr<Stream> stream = stub->Replicate(&context);
      v1::ReplicateRequest open = OpenRequest("vol", Root("vol"), i);
      open.mutable_open()->set_epoch(2);
      stream->Write(open);
      v1::ReplicateResponse answer;
      ASSERT_TRUE(stream->Read(&answer));
      ASSERT_TRUE(answer.has_opened()) << answer.refused().message();
      EXPECT_EQ(answer.opened().replica().epoch(), 2u);
      v1::ReplicateRequest begun;
      begun.set_epoch(2);
      *begun.mutable_stage_begin() = begin;
      if (i > 1) stream->Write(begun);
      messages[i].set_epoch(epoch);
      if (messages[i].has_commit()) messages[i].mutable_commit()->set_epoch(epoch);
      stream->Write(messages[i]);
      if (epoch != 2) {
        ASSERT_TRUE(stream->Read(&answer));
        ASSERT_TRUE(answer.has_refused());
        EXPECT_EQ(answer.refused().fenced_by_epoch(), epoch == 0 ? 0u : 2u) << answer.refused().message();
      }
      stream->WritesDone();
      while (stream->Read(&answer)) continue;
      EXPECT_TRUE(stream->Finish().ok());
    }
  }
}

TEST_F(DrAgentTest, AVolumeIsPromotedAndDemotedOverItsService) {
  const auto primary = v1::Replication::NewStub(Channel(net::Role::kPrimary));
  const auto control = v1::Standby::NewStub(Channel(net::Role::kControl));
  grpc::ClientContext replicating;
  const std::unique_ptr<Stream> stream = primary->Replicate(&replicating);
  stream->Write(OpenRequest("vol", Root("vol"), 1));
  stream->Write(CommitRequest("vol", 0, "content"));
  v1::ReplicateResponse answer;
  while (stream->Read(&answer) && !answer.has_published()) continue;
  ASSERT_TRUE(answer.has_published());
  const auto last_of = [](grpc::ClientReader<v1::StandbyProgress>& reader) {
    v1::StandbyProgress last;
    while (reader.Read(&last)) EXPECT_TRUE(wire::Parse(last).ok());
    EXPECT_TRUE(reader.Finish().ok());
    return wire::Parse(last).value();
  };
  {
    grpc::ClientContext context;
    const auto reader = control->Promote(&context, wire::ToProto(wire::PromoteRequest{.volume = "vol"}));
    const wire::StandbyProgress last = last_of(*reader);
    ASSERT_TRUE(last.done && last.replica.has_value());
    EXPECT_EQ(last.replica->state, model::VolumeState::kActive);
    EXPECT_EQ(last.replica->epoch, 2u);
  }
  // The session that was open, and an opening.
  stream->Write(CommitRequest("vol", 1, "late"));
  ASSERT_TRUE(stream->Read(&answer));
  ASSERT_TRUE(answer.has_refused());
  EXPECT_EQ(answer.refused().fenced_by_epoch(), 2u);
  stream->Write(OpenRequest("vol", Root("vol"), 2));
  ASSERT_TRUE(stream->Read(&answer));
  ASSERT_TRUE(answer.has_refused());
  EXPECT_EQ(answer.refused().fenced_by_epoch(), 2u);
  EXPECT_THAT(answer.refused().message(), HasSubstr("drctl volumes demote vol"));
  {
    grpc::ClientContext context;
    const auto reader = control->Demote(&context, wire::ToProto(wire::DemoteRequest{.volume = "vol"}));
    EXPECT_EQ(last_of(*reader).replica->state, model::VolumeState::kStandby);
  }
  {
    grpc::ClientContext context;
    const auto reader =
        control->RunHooks(&context, wire::ToProto(wire::RunHooksRequest{.phase = model::HookPhase::kPostFence}));
    EXPECT_TRUE(last_of(*reader).done);
  }
  stream->Write(OpenRequest("vol", Root("vol"), 3));
  ASSERT_TRUE(stream->Read(&answer));
  EXPECT_TRUE(answer.has_opened());
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  grpc::ClientContext context;
  const auto unknown = control->Promote(&context, wire::ToProto(wire::PromoteRequest{.volume = "other"}));
  v1::StandbyProgress none;
  EXPECT_FALSE(unknown->Read(&none));
  EXPECT_EQ(unknown->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

// Somebody cleans up at the old primary site while virtual machines use the objects at DR.
TEST_F(DrAgentTest, TheCatalogKeepsWhatBelongsToAPromotedVolume) {
  {
    grpc::ClientContext replicating;
    const auto stream = v1::Replication::NewStub(Channel(net::Role::kPrimary))->Replicate(&replicating);
    stream->Write(OpenRequest("pv-web", Root("pv-web"), 1));
    stream->Write(CommitRequest("pv-web", 0, "content"));
    v1::ReplicateResponse answer;
    while (stream->Read(&answer) && !answer.has_published()) continue;
    ASSERT_TRUE(answer.has_published());
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
  model::CatalogEntry claim{.key = {model::ObjectKind::kPersistentVolumeClaim, "shop", "web"},
                            .uid = "c1",
                            .resource = "{}",
                            .volume = "pv-web",
                            .replica_path = Root("pv-web"),
                            .server = "nfs1",
                            .observed_at = absl::UnixEpoch()};
  const auto catalog = [this](net::Role role) { return std::make_unique<wire::CatalogClient>(Channel(role)); };
  ASSERT_EQ(catalog(net::Role::kPrimary)->Put(claim), absl::OkStatus());
  const auto control = v1::Standby::NewStub(Channel(net::Role::kControl));
  const auto await_end = [](grpc::ClientReader<v1::StandbyProgress>& reader) {
    v1::StandbyProgress progress;
    while (reader.Read(&progress)) continue;
    EXPECT_TRUE(reader.Finish().ok());
  };
  {
    grpc::ClientContext context;
    await_end(*control->Promote(&context, wire::ToProto(wire::PromoteRequest{.volume = "pv-web"})));
  }
  const auto expect_refused = [&] {
    model::CatalogEntry anew = claim;
    anew.uid = "c2";
    anew.volume = "pv-another";
    const auto primary = catalog(net::Role::kPrimary);
    for (const absl::Status& refused : {primary->Put(anew), primary->Delete(claim.key, "c1")}) {
      EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
      EXPECT_THAT(std::string(MessageOf(refused)), HasSubstr("volume 'pv-web' is active at DR"));
      EXPECT_THAT(std::string(MessageOf(refused)), HasSubstr("drctl volumes demote pv-web"));
    }
    EXPECT_TRUE(absl::IsFailedPrecondition(catalog(net::Role::kControl)->Delete(claim.key, "c1")));
    const auto claims = primary->List(claim.key.kind);
    ASSERT_TRUE(claims.ok() && claims->size() == 1) << claims.status();
    EXPECT_EQ(claims->front().uid, "c1");
  };
  expect_refused();
  Start();
  expect_refused();
  // A replica that can't be loaded was promoted all the same.
  config_.exports[0].path = folder_.File("another-export");
  mkdir(folder_.File("another-export").c_str(), 0755);
  Start();
  EXPECT_TRUE(absl::IsFailedPrecondition(catalog(net::Role::kPrimary)->Delete(claim.key, "c1")));
  config_.exports[0].path = folder_.File("export");
  Start();
  {
    grpc::ClientContext context;
    const auto again = v1::Standby::NewStub(Channel(net::Role::kControl));
    await_end(*again->Demote(&context, wire::ToProto(wire::DemoteRequest{.volume = "pv-web"})));
  }
  EXPECT_EQ(catalog(net::Role::kPrimary)->Delete(claim.key, "c1"), absl::OkStatus());
  EXPECT_TRUE(catalog(net::Role::kPrimary)->List(claim.key.kind)->empty());
}

TEST_F(DrAgentTest, APeerThatBreaksTheProtocolLosesItsStream) {
  grpc::ClientContext context;
  const auto stub = v1::Replication::NewStub(Channel(net::Role::kPrimary));
  const std::unique_ptr<Stream> stream = stub->Replicate(&context);
  stream->Write(OpenRequest("../vol", Root("vol"), 1));
  v1::ReplicateResponse answer;
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(DrAgentTest, ManyVolumesShareAStream) {
  constexpr int kVolumes = 50;
  grpc::ClientContext context;
  const auto stub = v1::Replication::NewStub(Channel(net::Role::kPrimary));
  const std::unique_ptr<Stream> stream = stub->Replicate(&context);
  std::thread writer([&] {
    for (int i = 0; i < kVolumes; ++i) {
      const std::string volume = "vol" + std::to_string(i);
      stream->Write(OpenRequest(volume, Root(volume), static_cast<uint64_t>(i)));
      stream->Write(CommitRequest(volume, 0, std::string(100'000, 'x')));
    }
  });
  v1::ReplicateResponse answer;
  int published = 0;
  while (published < kVolumes && stream->Read(&answer)) {
    ASSERT_FALSE(answer.has_refused()) << answer.refused().message();
    if (answer.has_published()) ++published;
  }
  writer.join();
  EXPECT_EQ(published, kVolumes);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());

  grpc::ClientContext list_context;
  v1::ListReplicasResponse replicas;
  const auto control = v1::Replica::NewStub(Channel(net::Role::kControl));
  ASSERT_TRUE(control->ListReplicas(&list_context, {}, &replicas).ok());
  const auto parsed = wire::Parse(replicas);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->size(), static_cast<size_t>(kVolumes));
  EXPECT_EQ(parsed->front().published_sequence, 1u);
}

// Replicas whose exports are switched, by the exportfs of tests/support.
class DrExportsTest : public DrAgentTest {
 protected:
  void SetUp() override {
    DrAgentTest::SetUp();
    std::filesystem::create_symlink(tests::SourcePath("tests/support/fake_exportfs.sh"), folder_.File("exportfs"));
    config_.exports[0].switching = {config::ExportBackend::kKnfsd, {"10.0.0.0/8"}, {}};
    config_.knfsd.exports_dir = folder_.File("exports.d");
    config_.knfsd.exportfs = folder_.File("exportfs");
    config_.knfsd.etab = folder_.File("etab");
    Start();
    MakeReplica();
  }

  void MakeReplica() {
    grpc::ClientContext context;
    const auto stub = v1::Replication::NewStub(Channel(net::Role::kPrimary));
    const std::unique_ptr<Stream> stream = stub->Replicate(&context);
    stream->Write(OpenRequest("web", Root("web"), 1));
    v1::ReplicateResponse answer;
    ASSERT_TRUE(stream->Read(&answer));
    ASSERT_TRUE(answer.has_opened());
    replica_id_ = answer.opened().replica().replica_id();
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
  grpc::Status Set(const std::string& volume, const std::string& mode, v1::Export* state = nullptr,
                   net::Role role = net::Role::kControl) {
    grpc::ClientContext context;
    v1::SetExportRequest request;
    request.set_volume(volume);
    request.set_mode(mode);
    v1::SetExportResponse response;
    const grpc::Status status = v1::Exports::NewStub(Channel(role))->SetExport(&context, request, &response);
    if (state != nullptr) *state = response.export_();
    return status;
  }
  std::vector<v1::Export> List() {
    grpc::ClientContext context;
    v1::ListExportsResponse response;
    const auto status = v1::Exports::NewStub(Channel(net::Role::kControl))->ListExports(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return {response.exports().begin(), response.exports().end()};
  }
  std::string Etab() {
    std::ifstream file(folder_.File("etab"));
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::string replica_id_;
};

TEST_F(DrExportsTest, AStandbyReplicaIsExportedReadOnlyOrNotAtAll) {
  ASSERT_EQ(List().size(), 1u);
  EXPECT_EQ(List()[0].desired(), "none");
  EXPECT_EQ(List()[0].actual(), "");
  v1::Export state;
  ASSERT_TRUE(Set("web", "ro", &state).ok());
  EXPECT_EQ(state.actual(), "ro");
  EXPECT_EQ(state.backend(), "knfsd");
  EXPECT_THAT(Etab(), HasSubstr(Root("web") + "\t10.0.0.0/8(ro"));
  const grpc::Status refused = Set("web", "rw");
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("its replica is standby"));
  EXPECT_THAT(refused.error_message(), HasSubstr("promote"));
  EXPECT_EQ(List()[0].desired(), "ro");
  ASSERT_TRUE(Set("web", "none").ok());
  EXPECT_EQ(Etab(), "");
  EXPECT_EQ(Set("nobody", "ro").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Set("web", "wr").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Set("web", "ro", nullptr, net::Role::kPrimary).error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(DrExportsTest, AVolumeThatGoesToTheTrashLosesItsExport) {
  ASSERT_TRUE(Set("web", "ro").ok());
  ASSERT_THAT(Etab(), HasSubstr(Root("web")));
  const auto discard = [&](const std::string& replica_id) {
    grpc::ClientContext context;
    v1::DiscardVolumeResponse response;
    return v1::Replication::NewStub(Channel(net::Role::kPrimary))
        ->DiscardVolume(&context, wire::ToProto(model::DiscardedVolume{"web", Root("web"), replica_id, 1}), &response);
  };
  EXPECT_FALSE(discard(std::string(32, 'f')).ok());
  EXPECT_THAT(Etab(), HasSubstr(Root("web"))) << "one that stays keeps it";
  const grpc::Status trashed = discard(replica_id_);
  ASSERT_TRUE(trashed.ok()) << trashed.error_message();
  EXPECT_EQ(Etab(), "");
  EXPECT_TRUE(List().empty());
}

TEST_F(DrExportsTest, AnExportThatIsntAsDesiredIsNoReadiness) {
  ASSERT_TRUE(Set("web", "ro").ok());
  const auto get = [this](const std::string& path) {
    net::HttpRequest request;
    request.url = "http://127.0.0.1:" + std::to_string(agent_->metrics_port()) + path;
    const auto response = net::HttpClient({}).Send(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.value_or(net::HttpResponse());
  };
  EXPECT_EQ(get("/readyz").status, 200);
  std::ofstream(folder_.File("behaviour")) << "fail";
  EXPECT_EQ(Set("web", "none").error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(agent_->StatusLine(), HasSubstr("export of 'web' isn't none"));
  EXPECT_EQ(get("/readyz").status, 503);
  EXPECT_THAT(get("/readyz").body, HasSubstr("can't do anything today"));
  EXPECT_THAT(get("/metrics").body, HasSubstr("understudy_export_off{volume=\"web\"} 1"));
  // The next start brings it about.
  std::ofstream(folder_.File("behaviour")) << "";
  Start();
  EXPECT_TRUE(tests::WaitFor("the export to go", absl::Seconds(60), [&] { return Etab().empty(); }).ok());
  EXPECT_TRUE(tests::WaitFor("readiness", absl::Seconds(60), [&] {
                return agent_->StatusLine().find("export") == std::string::npos;
              }).ok());
}

TEST_F(DrAgentTest, AnInventoryComesInPages) {
  const size_t count = wire::kMaxPageEntries + 5;
  mkdir(Root("vol").c_str(), 0755);
  for (size_t i = 0; i < count; ++i) mkdir((Root("vol") + "/d" + std::to_string(1000 + i)).c_str(), 0755);
  const auto stub = v1::Replication::NewStub(Channel(net::Role::kPrimary));
  v1::InventoryRequest request;
  request.set_volume("vol");
  {
    grpc::ClientContext context;
    v1::InventoryResponse page;
    const auto reader = stub->Inventory(&context, request);
    EXPECT_FALSE(reader->Read(&page));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
  }
  grpc::ClientContext stream_context;
  const std::unique_ptr<Stream> stream = stub->Replicate(&stream_context);
  stream->Write(OpenRequest("vol", Root("vol"), 1));
  v1::ReplicateResponse answer;
  ASSERT_TRUE(stream->Read(&answer));
  grpc::ClientContext context;
  const auto reader = stub->Inventory(&context, request);
  v1::InventoryResponse page;
  size_t entries = 0;
  int pages = 0;
  while (reader->Read(&page)) {
    const auto parsed = wire::Parse(page);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    entries += parsed->size();
    ++pages;
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(entries, count);
  EXPECT_EQ(pages, 2);
}

TEST_F(DrAgentTest, TellsWhatStandsAtAPathOfAReplica) {
  const auto primary = v1::Replication::NewStub(Channel(net::Role::kPrimary));
  const auto control = v1::Replica::NewStub(Channel(net::Role::kControl));
  grpc::ClientContext replicating;
  const std::unique_ptr<Stream> stream = primary->Replicate(&replicating);
  stream->Write(OpenRequest("vol", Root("vol"), 1));
  stream->Write(CommitRequest("vol", 0, "content"));
  v1::ReplicateResponse answer;
  while (stream->Read(&answer) && !answer.has_published()) continue;
  ASSERT_TRUE(answer.has_published());
  v1::StatEntryResponse entry;
  const auto stat = [&](const std::string& volume, const std::string& path) {
    grpc::ClientContext context;
    v1::StatEntryRequest request;
    request.set_volume(volume);
    request.set_path(path);
    entry.Clear();
    return control->StatEntry(&context, request, &entry).error_code();
  };
  EXPECT_EQ(stat("vol", "file"), grpc::StatusCode::OK);
  EXPECT_TRUE(entry.found() && entry.regular());
  EXPECT_EQ(entry.size_bytes(), 7u);
  EXPECT_EQ(entry.sequence(), 1u);
  EXPECT_EQ(stat("vol", "other"), grpc::StatusCode::OK);
  EXPECT_FALSE(entry.found());
  EXPECT_EQ(stat("vol", ""), grpc::StatusCode::OK);
  EXPECT_TRUE(entry.found() && !entry.regular());
  EXPECT_EQ(stat("another", "file"), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(stat("vol", "../secret"), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(stat("../vol", "file"), grpc::StatusCode::INVALID_ARGUMENT);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(DrAgentTest, ADeletedVolumeGoesToTheTrashAndComesBackOrIsPurged) {
  const auto primary = v1::Replication::NewStub(Channel(net::Role::kPrimary));
  const auto control = v1::Replica::NewStub(Channel(net::Role::kControl));
  for (const char* const volume : {"back", "gone"}) {
    grpc::ClientContext context;
    const std::unique_ptr<Stream> stream = primary->Replicate(&context);
    stream->Write(OpenRequest(volume, Root(volume), 1));
    stream->Write(CommitRequest(volume, 0, "content"));
    v1::ReplicateResponse answer;
    while (stream->Read(&answer) && !answer.has_published()) continue;
    ASSERT_TRUE(answer.has_published());
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
  std::map<std::string, std::string> ids;
  {
    grpc::ClientContext context;
    v1::ListReplicasResponse replicas;
    ASSERT_TRUE(control->ListReplicas(&context, {}, &replicas).ok());
    for (const auto& replica : replicas.replicas()) ids[replica.volume()] = replica.replica_id();
  }
  const auto discard = [&](const std::string& volume, const std::string& root, const std::string& id) {
    grpc::ClientContext context;
    v1::DiscardVolumeResponse response;
    return primary->DiscardVolume(&context, wire::ToProto({volume, root, id, 1}), &response).error_code();
  };
  const auto list = [&] {
    grpc::ClientContext context;
    v1::ListTrashResponse response;
    EXPECT_TRUE(control->ListTrash(&context, {}, &response).ok());
    const auto page = wire::Parse(response);
    EXPECT_TRUE(page.ok()) << page.status();
    return page->entries;
  };
  EXPECT_EQ(discard("back", Root("gone"), ids["back"]), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(discard("back", Root("back"), ids["gone"]), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(discard("../back", Root("back"), ids["back"]), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(discard("back", "relative", ids["back"]), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(discard("back", Root("back"), ""), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(list().empty());
  EXPECT_EQ(discard("back", Root("back"), ids["back"]), grpc::StatusCode::OK);
  EXPECT_EQ(discard("back", Root("back"), ids["back"]), grpc::StatusCode::OK) << "asked again";
  EXPECT_EQ(discard("gone", Root("gone"), ids["gone"]), grpc::StatusCode::OK);
  struct stat raw {};
  EXPECT_NE(stat(Root("back").c_str(), &raw), 0);
  ASSERT_EQ(list().size(), 2u);
  EXPECT_LT(list()[0].expires_at - list()[0].deleted_at, absl::Hours(3));
  for (const model::TrashEntry& entry : list()) {
    grpc::ClientContext context;
    if (entry.volume == "back") {
      v1::RestoreTrashRequest request;
      v1::RestoreTrashResponse response;
      request.set_id(entry.id);
      ASSERT_TRUE(control->RestoreTrash(&context, request, &response).ok());
      EXPECT_EQ(response.replica().sequence(), 1u);
    } else {
      v1::PurgeTrashRequest request;
      v1::PurgeTrashResponse response;
      request.set_id(entry.id);
      ASSERT_TRUE(control->PurgeTrash(&context, request, &response).ok());
    }
  }
  EXPECT_EQ(stat((Root("back") + "/file").c_str(), &raw), 0);
  // The agent's own thread purges, at once and not with its next round.
  const auto empty = [&] { return list().empty(); };
  EXPECT_EQ(tests::WaitFor("the trash to be empty", absl::Seconds(30), empty), absl::OkStatus());
  net::HttpClient client({});
  net::HttpRequest request;
  request.url = "http://127.0.0.1:" + std::to_string(agent_->metrics_port()) + "/metrics";
  const auto response = client.Send(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_THAT(response->body, HasSubstr("understudy_trash_volumes 0"));
  EXPECT_THAT(response->body, HasSubstr("understudy_trash_purged_total 1"));
}

class DrPointsTest : public DrAgentTest {
 protected:
  void SetUp() override {
    DrAgentTest::SetUp();
    points_ = v1::Points::NewStub(Channel(net::Role::kControl));
  }
  // Commits of one session: each completes a capture or doesn't.
  void Commit(const std::vector<bool>& complete) {
    const auto primary = v1::Replication::NewStub(Channel(net::Role::kPrimary));
    grpc::ClientContext context;
    const std::unique_ptr<Stream> stream = primary->Replicate(&context);
    stream->Write(OpenRequest("vol", Root("vol"), 1));
    v1::ReplicateResponse answer;
    for (size_t i = 0; i < complete.size(); ++i) {
      v1::ReplicateRequest request = CommitRequest("vol", i, std::to_string(i));
      request.mutable_commit()->set_completes_capture(complete[i]);
      stream->Write(request);
      while (stream->Read(&answer) && !answer.has_published()) continue;
      ASSERT_TRUE(answer.has_published());
    }
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
  // The sequence of the state that has the label now. nullopt: the newest is asked for.
  absl::StatusOr<uint64_t> Label(std::optional<uint64_t> state, const std::string& label) {
    grpc::ClientContext context;
    v1::LabelPointRequest request;
    v1::LabelPointResponse response;
    request.set_volume("vol");
    request.set_newest(!state.has_value());
    request.set_sequence(state.value_or(0));
    request.set_label(label);
    const grpc::Status status = points_->LabelPoint(&context, request, &response);
    if (status.ok()) return response.sequence();
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }
  std::vector<v1::PointTree> Trees() {
    grpc::ClientContext context;
    v1::ListTreesResponse response;
    EXPECT_TRUE(points_->ListTrees(&context, {}, &response).ok());
    return {response.trees().begin(), response.trees().end()};
  }
  std::unique_ptr<v1::Points::Stub> points_;
};

TEST_F(DrPointsTest, TheMidstOfACaptureGetsNoLabel) {
  Commit({false});
  EXPECT_TRUE(absl::IsFailedPrecondition(Label(std::nullopt, "none").status())) << "no whole one is kept";
  EXPECT_TRUE(absl::IsFailedPrecondition(Label(1, "none").status()));
}

TEST_F(DrPointsTest, TheNewestIsTheNewestWholeOne) {
  Commit({true, false, true, false, false});
  const absl::StatusOr<uint64_t> newest = Label(std::nullopt, "newest");
  ASSERT_TRUE(newest.ok()) << newest.status();
  EXPECT_EQ(*newest, 3u);
  for (const uint64_t torn : {2, 4, 5}) {
    const absl::StatusOr<uint64_t> refused = Label(torn, "torn");
    EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("midst of a capture"));
  }
  EXPECT_TRUE(Label(1, "first").ok());
  EXPECT_TRUE(absl::IsNotFound(Label(9, "nine").status()));
}

TEST_F(DrPointsTest, ATreeIsFoundAndRemovedAfterItsVolumeWentToTheTrash) {
  Commit({true});
  {
    grpc::ClientContext context;
    v1::MaterialisePointRequest request;
    request.set_volume("vol");
    request.set_sequence(1);
    const auto reader = points_->MaterialisePoint(&context, request);
    v1::MaterialisePointResponse response;
    while (reader->Read(&response)) continue;
    ASSERT_TRUE(reader->Finish().ok());
  }
  {
    grpc::ClientContext context;
    v1::ListReplicasResponse replicas;
    ASSERT_TRUE(v1::Replica::NewStub(Channel(net::Role::kControl))->ListReplicas(&context, {}, &replicas).ok());
    grpc::ClientContext discarding;
    v1::DiscardVolumeResponse response;
    ASSERT_TRUE(v1::Replication::NewStub(Channel(net::Role::kPrimary))
                    ->DiscardVolume(&discarding,
                                    wire::ToProto({"vol", Root("vol"), replicas.replicas(0).replica_id(), 1}),
                                    &response)
                    .ok());
  }
  {
    grpc::ClientContext context;
    v1::ListPointsRequest request;
    v1::ListPointsResponse response;
    request.set_volume("vol");
    EXPECT_EQ(points_->ListPoints(&context, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  }
  ASSERT_EQ(Trees().size(), 1u);
  EXPECT_EQ(Trees()[0].volume(), "vol");
  EXPECT_EQ(Trees()[0].state(), "ready");
  {
    grpc::ClientContext context;
    v1::ListTreesRequest request;
    v1::ListTreesResponse response;
    request.set_after_id(Trees()[0].id());
    ASSERT_TRUE(points_->ListTrees(&context, request, &response).ok());
    EXPECT_EQ(response.trees_size(), 0) << "only what comes after";
  }
  grpc::ClientContext context;
  v1::RemoveTreeRequest request;
  v1::RemoveTreeResponse response;
  request.set_id(Trees()[0].id());
  EXPECT_TRUE(points_->RemoveTree(&context, request, &response).ok());
  EXPECT_TRUE(Trees().empty());
}

model::CatalogEntry Pv(const std::string& name) {
  model::CatalogEntry entry;
  entry.key = {model::ObjectKind::kPersistentVolume, "", name};
  entry.uid = "uid-" + name;
  entry.resource = "{}";
  return entry;
}

TEST_F(DrAgentTest, TheCatalogIsWrittenListedAndFollowed) {
  wire::CatalogClient primary(Channel(net::Role::kPrimary));
  wire::CatalogClient control(Channel(net::Role::kControl));
  ASSERT_TRUE(primary.Put(Pv("one")).ok());
  ASSERT_TRUE(primary.Put(Pv("two")).ok());
  ASSERT_TRUE(primary.Delete(Pv("one").key, "uid-one").ok());
  const auto listed = primary.List(model::ObjectKind::kPersistentVolume);
  ASSERT_TRUE(listed.ok()) << listed.status();
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(listed->front().key.name, "two");

  std::stop_source stop;
  absl::Notification caught_up;
  absl::Notification heard_three;
  std::vector<std::string> heard;
  absl::Status watched;
  std::thread watcher([&] {
    watched = control.Watch(0, stop.get_token(), [&](std::optional<model::CatalogEntry> entry) {
      heard.push_back(!entry.has_value() ? "caught up" : entry->key.name + (entry->deleted ? " deleted" : ""));
      if (!entry.has_value()) caught_up.Notify();
      if (entry.has_value() && entry->key.name == "three") heard_three.Notify();
    });
  });
  ASSERT_TRUE(caught_up.WaitForNotificationWithTimeout(absl::Seconds(30)));
  ASSERT_TRUE(primary.Put(Pv("three")).ok());
  EXPECT_TRUE(heard_three.WaitForNotificationWithTimeout(absl::Seconds(30)));
  stop.request_stop();
  watcher.join();
  EXPECT_TRUE(watched.ok()) << watched;
  EXPECT_EQ(heard, (std::vector<std::string>{"two", "one deleted", "caught up", "three"}));
}

TEST_F(DrAgentTest, AWatchEndsAsUnavailableWhenTheAgentStops) {
  wire::CatalogClient control(Channel(net::Role::kControl));
  absl::Notification caught_up;
  absl::Status watched;
  std::thread watcher([&] {
    watched = control.Watch(0, std::stop_token(), [&](std::optional<model::CatalogEntry>) { caught_up.Notify(); });
  });
  EXPECT_TRUE(caught_up.WaitForNotificationWithTimeout(absl::Seconds(30)));
  agent_->Stop();
  watcher.join();
  EXPECT_EQ(watched.code(), absl::StatusCode::kUnavailable) << watched;
}

TEST_F(DrAgentTest, TellsItsMetrics) {
  {
    grpc::ClientContext context;
    const auto stub = v1::Replication::NewStub(Channel(net::Role::kPrimary));
    const std::unique_ptr<Stream> stream = stub->Replicate(&context);
    stream->Write(OpenRequest("vol", Root("vol"), 1));
    stream->Write(CommitRequest("vol", 0, "content"));
    v1::ReplicateResponse answer;
    while (stream->Read(&answer) && !answer.has_published()) continue;
    ASSERT_TRUE(answer.has_published());
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
  net::HttpClient client({});
  net::HttpRequest request;
  request.url = "http://127.0.0.1:" + std::to_string(agent_->metrics_port()) + "/metrics";
  const auto response = client.Send(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_THAT(response->body, HasSubstr("understudy_dr_replica_published_sequence{volume=\"vol\"} 1"));
  EXPECT_THAT(response->body, HasSubstr("understudy_dr_commits_total 1"));
}

TEST_F(DrAgentTest, ReplicasAreThereAfterARestart) {
  {
    grpc::ClientContext context;
    const auto stub = v1::Replication::NewStub(Channel(net::Role::kPrimary));
    const std::unique_ptr<Stream> stream = stub->Replicate(&context);
    stream->Write(OpenRequest("vol", Root("vol"), 1));
    stream->Write(CommitRequest("vol", 0, "content"));
    v1::ReplicateResponse answer;
    while (stream->Read(&answer) && !answer.has_acknowledged()) continue;
    ASSERT_TRUE(answer.has_acknowledged());
    context.TryCancel();
    (void)stream->Finish();
  }
  agent_.reset();
  const auto work = *std::filesystem::directory_iterator(folder_.File(".understudy"));
  const std::filesystem::path left = work.path() / "removed/undo-1";
  std::filesystem::create_directories(left / "d");
  // More than the commit that is published again takes apart.
  for (int i = 0; i < 1200; ++i) std::ofstream(left / "d" / std::to_string(i)) << "";
  Start();
  EXPECT_TRUE(
      tests::WaitFor("what was removed to go", absl::Seconds(30), [&] { return !std::filesystem::exists(left); }).ok());
  grpc::ClientContext context;
  v1::ListReplicasResponse replicas;
  ASSERT_TRUE(v1::Replica::NewStub(Channel(net::Role::kControl))->ListReplicas(&context, {}, &replicas).ok());
  ASSERT_EQ(replicas.replicas_size(), 1);
  EXPECT_EQ(replicas.replicas(0).published_sequence(), 1u);
}

}  // namespace
}  // namespace understudy::dr
