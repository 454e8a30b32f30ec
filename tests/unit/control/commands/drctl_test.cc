// drctl against agents that speak real gRPC over real mutual TLS on loopback, and say what the test tells them to.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "control/app.h"
#include "control/commands/sync_watch.h"
#include "core/net/pki.h"
#include "core/net/rpc_server.h"
#include "nlohmann/json.hpp"
#include "tests/support/mail_server.h"
#include "tests/support/temp_dir.h"
#include "understudy/v1/exports.grpc.pb.h"
#include "understudy/v1/points.grpc.pb.h"
#include "understudy/v1/primary.grpc.pb.h"
#include "understudy/v1/replica.grpc.pb.h"
#include "understudy/v1/standby.grpc.pb.h"

namespace understudy::control {
namespace {

using nlohmann::json;
using ::testing::AllOf;

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A primary whose volumes are the test's. The volume "stuck" can't be synced; "endless…" are reported until the caller
// gives up; "silent" isn't reported at all.
class FakePrimary : public v1::Primary::Service {
 public:
  void Add(const std::string& name) {
    const absl::MutexLock lock(&mutex_);
    v1::VolumeStatus& volume = *volumes_.add_volumes();
    volume.set_name(name);
    volume.set_path("/srv/a/" + name);
    volume.set_replica_path("/srv/b/" + name);
    volume.set_state("idle");
    volume.set_lag_seconds(0.25);
    volume.set_sequence(41);
    volume.set_epoch(3);
    volume.set_strategy("rsync");
    volume.set_last_acknowledged_nanoseconds(1'700'000'000'500'000'000);
    volumes_.set_peer_connected(true);
  }
  void Guard(const std::string& name, uint64_t gone, uint64_t before) {
    const absl::MutexLock lock(&mutex_);
    for (v1::VolumeStatus& volume : *volumes_.mutable_volumes()) {
      if (volume.name() != name) continue;
      volume.set_state("guarded");
      volume.mutable_guard()->set_kind("deletion");
      volume.mutable_guard()->set_reason("too much would go");
      volume.mutable_guard()->set_entries_gone(gone);
      volume.mutable_guard()->set_entries_before(before);
      volume.mutable_guard()->set_since_nanoseconds(1'700'000'000'500'000'000);
    }
  }
  // A guard on storage objects.
  void GuardObjects(const std::string& kind, uint64_t gone, uint64_t before) {
    const absl::MutexLock lock(&mutex_);
    v1::Guard& guard = *volumes_.add_object_guards();
    guard.set_kind(kind);
    guard.set_reason("nearly all would go");
    guard.set_entries_gone(gone);
    guard.set_entries_before(before);
    guard.set_since_nanoseconds(1'700'000'000'500'000'000);
    volumes_.mutable_objects()->set_pending(2);
    volumes_.mutable_objects()->add_following_errors("PersistentVolume: forbidden");
  }
  // As which `name` is reported while it is synced.
  void Fail(const std::string& name, const std::string& state, const std::string& error) {
    const absl::MutexLock lock(&mutex_);
    v1::VolumeStatus& volume = failing_[name];
    volume.set_state(state);
    volume.set_error(error);
  }
  void Set(const std::string& name, const std::string& state, const std::string& error) {
    const absl::MutexLock lock(&mutex_);
    for (v1::VolumeStatus& volume : *volumes_.mutable_volumes()) {
      if (volume.name() != name) continue;
      volume.set_state(state);
      volume.set_error(error);
    }
  }
  grpc::Status PauseVolume(grpc::ServerContext*, const v1::PauseVolumeRequest* request,
                           v1::PauseVolumeResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    for (v1::VolumeStatus& volume : *volumes_.mutable_volumes()) {
      if (volume.name() != request->volume()) continue;
      volume.set_state("paused");
      volume.set_paused_reason("volume '" + volume.name() + "' is paused: drctl volumes resume " + volume.name());
      volume.set_paused_since_nanoseconds(1'700'000'000'500'000'000);
      *response->mutable_volume() = volume;
    }
    return grpc::Status::OK;
  }
  grpc::Status ResumeVolume(grpc::ServerContext*, const v1::ResumeVolumeRequest* request,
                            v1::ResumeVolumeResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    for (v1::VolumeStatus& volume : *volumes_.mutable_volumes()) {
      if (volume.name() != request->volume()) continue;
      volume.set_state("idle");
      volume.clear_paused_reason();
      volume.clear_paused_since_nanoseconds();
      *response->mutable_volume() = volume;
    }
    return grpc::Status::OK;
  }
  // Of the volume "web": a disk image, and why it is read as a whole.
  grpc::Status ShowVolume(grpc::ServerContext*, const v1::ShowVolumeRequest* request,
                          v1::ShowVolumeResponse* response) override {
    const bool known = request->volume() == "web" && (request->file().empty() || request->file() == "disk\x1b.img");
    if (!known) return {grpc::StatusCode::NOT_FOUND, "there is no such file"};
    v1::FileStatus& file = *response->add_files();
    file.set_path("disk\x1b.img");
    file.set_kind(v1::FILE_KIND_REGULAR);
    file.set_size(4'294'967'296);
    file.set_extents(60'000);
    file.set_rung("blocks");
    file.set_reason("its 60000 extents are so short on average that reading it costs less");
    file.set_captured_at_nanoseconds(1'700'000'000'500'000'000);
    file.mutable_base()->set_made_at_nanoseconds(1'700'000'000'000'000'000);
    file.mutable_base()->set_size(4'294'967'295);
    file.set_dirty(true);
    return grpc::Status::OK;
  }
  // What was approved: "<volume> <kind> <entries>"; empty: nothing.
  std::string Approved() const {
    const absl::MutexLock lock(&mutex_);
    return approved_;
  }
  bool AskedForPublished() const {
    const absl::MutexLock lock(&mutex_);
    return asked_for_published_;
  }

  grpc::Status ListVolumes(grpc::ServerContext*, const v1::ListVolumesRequest*,
                           v1::ListVolumesResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    *response = volumes_;
    return grpc::Status::OK;
  }
  grpc::Status SyncVolume(grpc::ServerContext* context, const v1::SyncVolumeRequest* request,
                          grpc::ServerWriter<v1::SyncVolumeResponse>* writer) override {
    const absl::MutexLock lock(&mutex_);
    asked_for_published_ = request->published();
    for (const v1::VolumeStatus& volume : volumes_.volumes()) {
      if (volume.name() == request->volume() && volume.has_guard()) {
        return {grpc::StatusCode::FAILED_PRECONDITION, volume.guard().reason()};
      }
    }
    if (request->volume() == "stuck") return {grpc::StatusCode::RESOURCE_EXHAUSTED, "no space at DR"};
    while (request->volume() == "silent" && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    v1::SyncVolumeResponse response;
    response.mutable_volume()->set_state("replicating");
    if (const auto failing = failing_.find(request->volume()); failing != failing_.end()) {
      *response.mutable_volume() = failing->second;
    }
    response.mutable_volume()->set_name(request->volume());
    response.mutable_volume()->set_dirty_paths(7);
    writer->Write(response);
    while (request->volume().starts_with("endless") && writer->Write(response)) absl::SleepFor(absl::Milliseconds(1));
    response.set_done(true);
    response.mutable_volume()->set_sequence(42);
    writer->Write(response);
    return grpc::Status::OK;
  }
  // "broken" has two differences, of which one is listed; it and "busy" have entries that changed all the time.
  grpc::Status VerifyVolume(grpc::ServerContext*, const v1::VerifyVolumeRequest* request,
                            grpc::ServerWriter<v1::VerifyUpdate>* writer) override {
    if (request->volume() == "stuck") return {grpc::StatusCode::UNAVAILABLE, "can't reach DR"};
    v1::VerifyUpdate update;
    update.mutable_counts()->set_entries(10);
    if (request->volume() == "broken") {
      v1::Difference& difference = *update.add_differences();
      difference.set_path("d/f\x1b");
      difference.set_kind(request->depth() == "digests" ? "content" : "mtime");
      difference.set_detail("other at DR");
    }
    writer->Write(update);
    update.clear_differences();
    update.mutable_counts()->set_differences(request->volume() == "broken" ? 2 : 0);
    update.mutable_counts()->set_unchecked(request->volume() == "broken" || request->volume() == "busy" ? 3 : 0);
    update.set_done(request->volume() != "cut");
    writer->Write(update);
    return grpc::Status::OK;
  }
  // Two events, of which the second one changes for a follower, before the agent ends.
  grpc::Status ListEvents(grpc::ServerContext*, const v1::ListEventsRequest* request,
                          grpc::ServerWriter<v1::ListEventsResponse>* writer) override {
    if (request->limit() == 0) return {grpc::StatusCode::FAILED_PRECONDITION, "takes in no events"};
    v1::ListEventsResponse response;
    v1::ObjectEventRecord& event = *response.mutable_event();
    event.set_event_id("e1");
    event.set_type("ADDED");
    event.set_kind("PersistentVolume");
    event.set_name("pv1");
    event.set_observed_at_nanoseconds(1'700'000'000'500'000'000);
    event.set_source("webhook");
    event.set_rule("forward,volumes");
    event.set_outcome("done");
    event.set_forwarding("failed");
    event.set_forwarding_detail("eda: 400");
    if (request->limit() > 1) writer->Write(response);
    event.Clear();
    event.set_event_id("e2");
    event.set_type("DELETED");
    event.set_kind("PersistentVolumeClaim");
    event.set_namespace_name("shop");
    event.set_name("db\x1b[2J");
    event.set_observed_at_nanoseconds(1'700'000'001'000'000'000);
    event.set_source("watch");
    event.set_outcome("pending");
    event.set_detail("DR is away");
    writer->Write(response);
    event.set_outcome("done");
    event.clear_detail();
    if (request->follow()) writer->Write(response);
    return grpc::Status::OK;
  }
  grpc::Status ApproveGuard(grpc::ServerContext*, const v1::ApproveGuardRequest* request,
                            v1::ApproveGuardResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    if (request->volume() == "worse") return {grpc::StatusCode::FAILED_PRECONDITION, "more would go meanwhile"};
    approved_ = request->volume() + " " + request->kind() + " " + std::to_string(request->entries_gone());
    response->mutable_volume()->set_name(request->volume());
    return grpc::Status::OK;
  }

 private:
  mutable absl::Mutex mutex_;
  std::string approved_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, v1::VolumeStatus> failing_ ABSL_GUARDED_BY(mutex_);
  v1::ListVolumesResponse volumes_ ABSL_GUARDED_BY(mutex_);
  bool asked_for_published_ ABSL_GUARDED_BY(mutex_) = false;
};

class FakeReplica : public v1::Replica::Service {
 public:
  void Add(const std::string& name) {
    const absl::MutexLock lock(&mutex_);
    v1::ReplicaState& replica = *replicas_.add_replicas();
    replica.set_volume(name);
    replica.set_state("standby");
    replica.set_sequence(41);
    replica.set_epoch(3);
    replica.set_root("/srv/b/" + name);
    replica.set_complete(true);
    replica.set_captured_at_nanoseconds(1'700'000'000'500'000'000);
  }
  void Set(const std::string& name, const std::string& state, bool hooks_due) {
    const absl::MutexLock lock(&mutex_);
    for (v1::ReplicaState& replica : *replicas_.mutable_replicas()) {
      if (replica.volume() != name) continue;
      replica.set_state(state);
      replica.set_hooks_due(hooks_due);
      replica.set_state_since_nanoseconds(1'700'000'060'000'000'000);
    }
  }
  void Hold(const std::string& name) {
    const absl::MutexLock lock(&mutex_);
    for (v1::ReplicaState& replica : *replicas_.mutable_replicas()) {
      if (replica.volume() == name) replica.set_held(true);
    }
  }
  void LeaveInMidstOfCapture(const std::string& name, uint64_t whole_sequence) {
    const absl::MutexLock lock(&mutex_);
    for (v1::ReplicaState& replica : *replicas_.mutable_replicas()) {
      if (replica.volume() != name) continue;
      replica.set_midst_of_capture(true);
      replica.set_whole_sequence(whole_sequence);
      replica.set_whole_captured_at_nanoseconds(1'600'000'000'000'000'000);
    }
  }
  grpc::Status ListReplicas(grpc::ServerContext*, const v1::ListReplicasRequest*,
                            v1::ListReplicasResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    *response = replicas_;
    return grpc::Status::OK;
  }

  // In the trash, deleted on 14 November 2023 and to be kept until `expires_at`.
  void AddTrashed(const std::string& id, const std::string& volume, absl::Time expires_at) {
    const absl::MutexLock lock(&mutex_);
    v1::TrashEntry& entry = trash_[id];
    entry.set_id(id);
    entry.set_volume(volume);
    entry.set_root("/srv/b/" + volume);
    entry.set_state("trashed");
    entry.set_reason("deleted at the primary");
    entry.set_deleted_at_nanoseconds(1'700'000'000'000'000'000);
    entry.set_expires_at_nanoseconds(absl::ToUnixNanos(expires_at));
  }
  std::vector<std::string> Trashed() const {
    const absl::MutexLock lock(&mutex_);
    std::vector<std::string> ids;
    for (const auto& [id, entry] : trash_) ids.push_back(id);
    return ids;
  }
  // One entry for each page.
  grpc::Status ListTrash(grpc::ServerContext*, const v1::ListTrashRequest* request,
                         v1::ListTrashResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    const auto next = trash_.upper_bound(request->after_id());
    if (next == trash_.end()) return grpc::Status::OK;
    *response->add_entries() = next->second;
    response->set_more(std::next(next) != trash_.end());
    return grpc::Status::OK;
  }
  grpc::Status RestoreTrash(grpc::ServerContext*, const v1::RestoreTrashRequest* request,
                            v1::RestoreTrashResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    const v1::TrashEntry entry = trash_.at(request->id());
    if (entry.volume() == "taken") return {grpc::StatusCode::FAILED_PRECONDITION, "there is a replica of that name"};
    trash_.erase(request->id());
    response->mutable_replica()->set_volume(entry.volume());
    response->mutable_replica()->set_root(entry.root());
    response->mutable_replica()->set_sequence(41);
    return grpc::Status::OK;
  }
  grpc::Status PurgeTrash(grpc::ServerContext*, const v1::PurgeTrashRequest* request,
                          v1::PurgeTrashResponse*) override {
    const absl::MutexLock lock(&mutex_);
    if (trash_.at(request->id()).volume() == "taken") return {grpc::StatusCode::FAILED_PRECONDITION, "it is restoring"};
    trash_.erase(request->id());
    return grpc::Status::OK;
  }

 private:
  mutable absl::Mutex mutex_;
  std::map<std::string, v1::TrashEntry> trash_ ABSL_GUARDED_BY(mutex_);
  v1::ListReplicasResponse replicas_ ABSL_GUARDED_BY(mutex_);
};

// An agent's exports: "web" and "db" are there; "stuck" can't be switched; whatever is set is so.
class FakeExports : public v1::Exports::Service {
 public:
  void Add(const std::string& volume, const std::string& backend = "knfsd") {
    const absl::MutexLock lock(&mutex_);
    v1::Export& added = exports_[volume];
    added.set_volume(volume);
    added.set_path("/srv/" + volume);
    added.set_backend(backend);
    added.set_desired("none");
  }
  // One for each page.
  grpc::Status ListExports(grpc::ServerContext*, const v1::ListExportsRequest* request,
                           v1::ListExportsResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    const auto next = exports_.upper_bound(request->after_volume());
    if (next == exports_.end()) return grpc::Status::OK;
    *response->add_exports() = next->second;
    response->set_more(std::next(next) != exports_.end());
    return grpc::Status::OK;
  }
  grpc::Status SetExport(grpc::ServerContext*, const v1::SetExportRequest* request,
                         v1::SetExportResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    if (request->volume() == "stuck") return {grpc::StatusCode::ABORTED, "exportfs didn't end"};
    if (request->volume() == "standby" && request->mode() == "rw") {
      return {grpc::StatusCode::FAILED_PRECONDITION, "promote the volume first"};
    }
    v1::Export& one = exports_.at(request->volume());
    one.set_desired(request->mode());
    if (one.backend() != "none") one.set_actual(request->mode());
    one.set_since_nanoseconds(1'700'000'000'000'000'000);
    *response->mutable_export_() = one;
    return grpc::Status::OK;
  }

 private:
  absl::Mutex mutex_;
  std::map<std::string, v1::Export> exports_ ABSL_GUARDED_BY(mutex_);
};

// The states of one volume, and trees of any.
class FakePoints : public v1::Points::Service {
 public:
  static v1::Point State(uint64_t sequence, int64_t captured_at_nanoseconds) {
    v1::Point point;
    point.set_sequence(sequence);
    point.set_captured_at_nanoseconds(captured_at_nanoseconds);
    point.set_completes_capture(true);
    return point;
  }
  // In the order of the records, the newest's first.
  void SetStates(const v1::Point& newest, const std::vector<v1::Point>& points) {
    const absl::MutexLock lock(&mutex_);
    *states_.mutable_newest() = newest;
    states_.mutable_points()->Assign(points.begin(), points.end());
  }
  void AddTree(const std::string& id, const std::string& volume, bool writable) {
    const absl::MutexLock lock(&mutex_);
    v1::PointTree& tree = trees_[id];
    tree.set_id(id);
    tree.set_volume(volume);
    tree.set_sequence(3);
    tree.set_path("/srv/b/" + volume + ".point-3");
    tree.set_writable(writable);
    tree.set_state("ready");
    tree.set_made_at_nanoseconds(1'700'000'000'000'000'000);
  }
  // What was asked for since the last call; empty: nothing.
  std::string TakeAsked() {
    const absl::MutexLock lock(&mutex_);
    return std::exchange(asked_, "");
  }

  grpc::Status ListPoints(grpc::ServerContext*, const v1::ListPointsRequest*,
                          v1::ListPointsResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    *response = states_;
    return grpc::Status::OK;
  }
  grpc::Status LabelPoint(grpc::ServerContext*, const v1::LabelPointRequest* request,
                          v1::LabelPointResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    response->set_sequence(request->newest() ? states_.newest().sequence() : request->sequence());
    asked_ = "label " + request->label() + " " + std::to_string(response->sequence());
    return grpc::Status::OK;
  }
  grpc::Status RewindReplica(grpc::ServerContext*, const v1::RewindReplicaRequest* request,
                             grpc::ServerWriter<v1::RewindReplicaResponse>* writer) override {
    const absl::MutexLock lock(&mutex_);
    asked_ = "rewind " + std::to_string(request->sequence());
    v1::RewindReplicaResponse response;
    response.set_done(true);
    writer->Write(response);
    return grpc::Status::OK;
  }
  grpc::Status ReleaseReplica(grpc::ServerContext*, const v1::ReleaseReplicaRequest* request,
                              v1::ReleaseReplicaResponse*) override {
    const absl::MutexLock lock(&mutex_);
    asked_ = "release " + request->volume();
    return grpc::Status::OK;
  }
  // One for each page.
  grpc::Status ListTrees(grpc::ServerContext*, const v1::ListTreesRequest* request,
                         v1::ListTreesResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    const auto next = trees_.upper_bound(request->after_id());
    if (next == trees_.end()) return grpc::Status::OK;
    *response->add_trees() = next->second;
    response->set_more(std::next(next) != trees_.end());
    return grpc::Status::OK;
  }
  grpc::Status RemoveTree(grpc::ServerContext*, const v1::RemoveTreeRequest* request,
                          v1::RemoveTreeResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    *response->mutable_tree() = trees_.at(request->id());
    trees_.erase(request->id());
    asked_ = "remove " + request->id();
    return grpc::Status::OK;
  }

 private:
  absl::Mutex mutex_;
  v1::ListPointsResponse states_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, v1::PointTree> trees_ ABSL_GUARDED_BY(mutex_);
  std::string asked_ ABSL_GUARDED_BY(mutex_);
};

// Promotes what it is asked to: "refused" is refused by a hook.
class FakeStandby : public v1::Standby::Service {
 public:
  grpc::Status Promote(grpc::ServerContext*, const v1::PromoteRequest* request,
                       grpc::ServerWriter<v1::StandbyProgress>* writer) override {
    Note("promote " + request->volume() + (request->allow_incomplete() ? " incomplete" : ""));
    v1::StandbyProgress progress;
    progress.set_step("pre-promote hooks");
    writer->Write(progress);
    progress.Clear();
    progress.mutable_hook()->set_phase("pre-promote");
    progress.mutable_hook()->set_name("10-check");
    progress.mutable_hook()->set_ok(request->volume() != "refused");
    if (request->volume() == "refused") progress.mutable_hook()->set_problem("exit code 1");
    progress.mutable_hook()->set_output("the witness\nsays \x1b no\n");
    writer->Write(progress);
    if (request->volume() == "refused") return {grpc::StatusCode::ABORTED, "hook pre-promote/10-check: exit code 1"};
    writer->Write(Done(request->volume(), "active", 4));
    return grpc::Status::OK;
  }
  grpc::Status Demote(grpc::ServerContext*, const v1::DemoteRequest* request,
                      grpc::ServerWriter<v1::StandbyProgress>* writer) override {
    Note("demote " + request->volume());
    writer->Write(Done(request->volume(), "standby", 4));
    return grpc::Status::OK;
  }
  // What was asked for since the last call; empty: nothing.
  std::string TakeAsked() {
    const absl::MutexLock lock(&mutex_);
    return std::exchange(asked_, "");
  }

 private:
  void Note(const std::string& asked) {
    const absl::MutexLock lock(&mutex_);
    asked_ = asked;
  }
  static v1::StandbyProgress Done(const std::string& volume, const std::string& state, uint64_t epoch) {
    v1::StandbyProgress progress;
    progress.set_done(true);
    v1::ReplicaState& replica = *progress.mutable_replica();
    replica.set_volume(volume);
    replica.set_replica_id("id");
    replica.set_state(state);
    replica.set_epoch(epoch);
    replica.set_root("/srv/b/" + volume);
    return progress;
  }
  absl::Mutex mutex_;
  std::string asked_ ABSL_GUARDED_BY(mutex_);
};

struct Result {
  int code;
  std::string out;
  std::string err;
};

Result RunTool(std::vector<std::string> arguments, bool terminal = false, std::istream* in = nullptr) {
  std::ostringstream out;
  std::ostringstream err;
  const int code = RunDrctl(std::move(arguments), {.out = out, .err = err, .err_is_terminal = terminal, .in = in});
  return {code, out.str(), err.str()};
}

class DrctlTest : public ::testing::Test {
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

  void SetUp() override {
    auto primary =
        net::RpcServer::Start("127.0.0.1:0", Files("primary"), net::Role::kPrimary, {&primary_, &primary_exports_});
    auto dr = net::RpcServer::Start("127.0.0.1:0", Files("dr"), net::Role::kDr,
                                    {&replica_, &standby_, &dr_exports_, &points_});
    ASSERT_TRUE(primary.ok() && dr.ok()) << primary.status() << dr.status();
    primary_server_ = *std::move(primary);
    dr_server_ = *std::move(dr);
    WriteConfig("pairs: [" + Pair("local") + "]\n");
  }

  std::string Pair(const std::string& name) const {
    return "{name: " + name + ", primary: '127.0.0.1:" + std::to_string(primary_server_->port()) +
           "', dr: '127.0.0.1:" + std::to_string(dr_server_->port()) + "'}";
  }
  void WriteConfig(const std::string& rest, const std::string& certificate = "control") const {
    std::ofstream(folder_.File("control.yaml"))
        << "tls: {ca: " << pki_->File("ca.crt") << ", cert: " << pki_->File(certificate + ".crt")
        << ", key: " << pki_->File(certificate + ".key") << "}\n"
        << rest;
  }
  Result Drctl(std::vector<std::string> arguments, bool terminal = false, std::istream* in = nullptr) const {
    arguments.insert(arguments.begin(), {"--config", folder_.File("control.yaml")});
    return RunTool(std::move(arguments), terminal, in);
  }

  static tests::TempDir* pki_;
  tests::TempDir folder_;
  FakePrimary primary_;
  FakeReplica replica_;
  FakeExports primary_exports_;
  FakeExports dr_exports_;
  FakeStandby standby_;
  FakePoints points_;
  std::unique_ptr<net::RpcServer> primary_server_;
  std::unique_ptr<net::RpcServer> dr_server_;
};
tests::TempDir* DrctlTest::pki_ = nullptr;

TEST_F(DrctlTest, ExportsAreListedOfBothSites) {
  primary_exports_.Add("web");
  dr_exports_.Add("db", "none");
  dr_exports_.Add("web");
  ASSERT_EQ(Drctl({"exports", "set", "web", "ro"}).code, 0);
  const Result result = Drctl({"exports", "list", "-o", "json"});
  EXPECT_EQ(result.code, 0) << result.err;
  const json exports = json::parse(result.out).at("exports");
  ASSERT_EQ(exports.size(), 3u);
  EXPECT_EQ(exports[0], json::parse(R"({"volume": "web", "pair": "local", "site": "primary", "path": "/srv/web",
      "backend": "knfsd", "desired": "none", "actual": null, "problem": null, "since": null})"));
  EXPECT_EQ(exports[2], json::parse(R"({"volume": "web", "pair": "local", "site": "dr", "path": "/srv/web",
      "backend": "knfsd", "desired": "ro", "actual": "ro", "problem": null, "since": "2023-11-14T22:13:20+00:00"})"));
  EXPECT_EQ(json::parse(Drctl({"exports", "list", "--site", "dr", "-o", "json"}).out).at("exports").size(), 2u);
  EXPECT_THAT(Drctl({"exports", "list", "--pair", "local"}).out, HasSubstr("VOLUME"));
  EXPECT_EQ(Drctl({"exports", "list", "--pair", "nobody"}).code, 2);
  primary_server_->Shutdown(absl::ZeroDuration());
  const Result half = Drctl({"exports", "list"});
  EXPECT_EQ(half.code, 4);
  EXPECT_THAT(half.out, HasSubstr("db"));
}

TEST_F(DrctlTest, AnExportIsSetAtTheSiteThatIsNamed) {
  primary_exports_.Add("web");
  dr_exports_.Add("web", "none");
  const Result fenced = Drctl({"exports", "set", "web", "ro", "--site", "primary"});
  EXPECT_EQ(fenced.code, 0) << fenced.err;
  EXPECT_EQ(fenced.out, "volume web: the NFS server at primary exports it ro\n");
  const Result by_hand = Drctl({"exports", "set", "web", "ro"});
  EXPECT_EQ(by_hand.code, 0) << by_hand.err;
  EXPECT_THAT(by_hand.out, HasSubstr("is up to you"));
  EXPECT_EQ(json::parse(Drctl({"exports", "set", "web", "none", "--site", "primary", "-o", "json"}).out).at("actual"),
            "none");
}

TEST_F(DrctlTest, AnExportThatIsntSetSaysWhy) {
  dr_exports_.Add("standby");
  dr_exports_.Add("stuck");
  const Result refused = Drctl({"exports", "set", "standby", "rw"});
  EXPECT_EQ(refused.code, 5);
  EXPECT_THAT(refused.err, HasSubstr("promote the volume first"));
  const Result stuck = Drctl({"exports", "set", "stuck", "ro"});
  EXPECT_EQ(stuck.code, 1);
  EXPECT_THAT(stuck.err, HasSubstr("exportfs didn't end"));
  EXPECT_EQ(Drctl({"exports", "set", "nobody", "ro"}).code, 2);
  EXPECT_EQ(Drctl({"exports", "set", "stuck", "wr"}).code, 2);
  EXPECT_EQ(Drctl({"exports", "set", "stuck", "ro", "--site", "elsewhere"}).code, 2);
  WriteConfig("pairs: [" + Pair("one") + ", " + Pair("two") + "]\n");
  const Result ambiguous = Drctl({"exports", "set", "standby", "ro"});
  EXPECT_EQ(ambiguous.code, 2);
  EXPECT_THAT(ambiguous.err, HasSubstr("--pair"));
  EXPECT_EQ(Drctl({"exports", "set", "standby", "ro", "--pair", "two"}).code, 0);
}

TEST_F(DrctlTest, StatusHasTheDocumentedShape) {
  primary_.Add("web");
  replica_.Add("web");
  const Result result = Drctl({"status", "-o", "json"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, IsEmpty());
  const json document = json::parse(result.out);
  const json& pair = document.at("pairs").at(0);
  EXPECT_EQ(pair.at("name"), "local");
  EXPECT_EQ(pair.at("primary").at("reachable"), true);
  EXPECT_EQ(pair.at("primary").at("peer_connected"), true);
  EXPECT_EQ(pair.at("dr").at("error"), nullptr);
  const json& volume = document.at("volumes").at(0);
  EXPECT_EQ(volume.at("name"), "web");
  EXPECT_EQ(volume.at("pair"), "local");
  EXPECT_EQ(volume.at("state"), "idle");
  EXPECT_EQ(volume.at("lag_seconds"), 0.25);
  EXPECT_EQ(volume.at("sequence"), 41);
  EXPECT_EQ(volume.at("epoch"), 3);
  EXPECT_EQ(volume.at("strategy"), "rsync");
  EXPECT_EQ(volume.at("last_acknowledged"), "2023-11-14T22:13:20.5+00:00");
  EXPECT_EQ(volume.at("replica").at("state"), "standby");
  EXPECT_EQ(document.at("sync"), nullptr);
}

TEST_F(DrctlTest, StatusTellsOfTheScheduledSyncAndMakesNoState) {
  WriteConfig("pairs: [" + Pair("local") + "]\nclusters: {primary: {kubeconfig: nowhere}}\nstate_dir: state\n");
  const json sync = json::parse(Drctl({"status", "-o", "json"}).out).at("sync");
  EXPECT_EQ(sync.at("cron"), "0 * * * *");
  EXPECT_EQ(sync.at("last_run"), nullptr);
  EXPECT_THAT(Drctl({"status"}).out, HasSubstr("scheduled sync: no run yet"));
  EXPECT_EQ(json::parse(Drctl({"sync", "list", "-o", "json"}).out).at("runs").size(), 0u);
  EXPECT_EQ(Drctl({"sync", "report"}).code, 2);
  EXPECT_FALSE(std::filesystem::exists(folder_.File("state")));
}

// A run that reaches no cluster has a report all the same, and whoever is to hear of problems gets it.
TEST_F(DrctlTest, SyncRunMailsItsReport) {
  const auto mail = tests::MailServer::Start(folder_.File("mail"));
  ASSERT_TRUE(mail.ok()) << mail.status();
  std::ofstream(folder_.File("kubeconfig"))
      << "{current-context: c, clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}],\n"
         " users: [{name: u, user: {token: t}}], contexts: [{name: c, context: {cluster: c, user: u}}]}\n";
  WriteConfig("pairs: [" + Pair("local") +
              "]\nclusters: {primary: {kubeconfig: kubeconfig}, dr: {kubeconfig: kubeconfig}}\nstate_dir: state\n"
              "notify: {email: {smtp_url: '" +
              (*mail)->Url() + "', starttls: 'off', from: dr@example.com, to: [ops@example.com]}}\n");
  const Result run = Drctl({"sync", "run", "-o", "json"});
  EXPECT_EQ(run.code, 4) << run.out << run.err;
  const json report = json::parse(run.out, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(report.is_object()) << run.out << run.err;
  EXPECT_THAT((*mail)->Mail(0), AllOf(HasSubstr("X-Test-From: dr@example.com"), HasSubstr("X-Test-To: ops@example.com"),
                                      HasSubstr("Subject: [understudy] sync unreachable")));
}

TEST_F(DrctlTest, ACronExpressionIsCheckedWithTheConfiguration) {
  WriteConfig("pairs: [" + Pair("local") + "]\nschedule: {cron: '61 * * * *'}\n");
  const Result result = RunTool({"config", "check", folder_.File("control.yaml")});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("schedule: minute: '61'"));
}

TEST_F(DrctlTest, StatusAsATable) {
  primary_.Add("web");
  const Result result = Drctl({"status"});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("PAIR"), HasSubstr("connected to dr"), HasSubstr("web"), Not(HasSubstr("\033"))));
}

TEST_F(DrctlTest, StatusSaysWhatItKnowsWhenThePrimaryIsGone) {
  replica_.Add("web");
  primary_server_.reset();
  // The pair's line in the configuration still holds the port that nobody listens on now.
  const Result result = Drctl({"status", "-o", "json"});
  EXPECT_EQ(result.code, 4);
  EXPECT_THAT(result.err, AllOf(HasSubstr("can't reach understudy-primary"), HasSubstr("check that it runs")));
  const json document = json::parse(result.out);
  EXPECT_EQ(document.at("pairs").at(0).at("primary").at("reachable"), false);
  EXPECT_EQ(document.at("pairs").at(0).at("dr").at("reachable"), true);
  const json& volume = document.at("volumes").at(0);
  EXPECT_EQ(volume.at("state"), "unreachable");
  EXPECT_EQ(volume.at("sequence"), 41);
  EXPECT_EQ(volume.at("lag_seconds"), nullptr);
}

TEST_F(DrctlTest, VolumesListAndShow) {
  primary_.Add("db");
  primary_.Add("web");
  const json list = json::parse(Drctl({"-o", "json", "volumes", "list"}).out);
  EXPECT_EQ(list.at("volumes").size(), 2u);
  EXPECT_EQ(list.at("volumes").at(0).at("name"), "db");
  const Result show = Drctl({"volumes", "show", "web"});
  EXPECT_THAT(show.out, HasSubstr("WHY NOT A BETTER ONE"));
  EXPECT_THAT(show.out, HasSubstr("its 60000 extents are so short"));
  EXPECT_EQ(show.code, 0);
  EXPECT_THAT(show.out, AllOf(HasSubstr("replica_path"), HasSubstr("/srv/b/web")));
  EXPECT_EQ(json::parse(Drctl({"volumes", "show", "web", "-o", "json"}).out).at("path"), "/srv/a/web");
}

TEST_F(DrctlTest, AFileIsShownWithWhyItIsCapturedAsItIs) {
  primary_.Add("web");
  const json file = json::parse(Drctl({"volumes", "show", "web", "disk\x1b.img", "-o", "json"}).out);
  EXPECT_EQ(file.at("volume"), "web");
  EXPECT_EQ(file.at("path"), "disk\\x1b.img");
  EXPECT_EQ(file.at("kind"), "file");
  EXPECT_EQ(file.at("size"), 4'294'967'296);
  EXPECT_EQ(file.at("extents"), 60'000);
  EXPECT_EQ(file.at("rung"), "blocks");
  EXPECT_THAT(std::string(file.at("reason")), HasSubstr("so short on average"));
  EXPECT_EQ(file.at("captured_at"), "2023-11-14T22:13:20.5+00:00");
  EXPECT_EQ(file.at("base").at("size"), 4'294'967'295);
  EXPECT_EQ(file.at("base").at("extents"), nullptr);
  EXPECT_EQ(file.at("rests_until"), nullptr);
  EXPECT_EQ(file.at("dirty"), true);
  EXPECT_EQ(file.at("damage"), nullptr);
  EXPECT_THAT(Drctl({"volumes", "show", "web", "disk\x1b.img"}).out, HasSubstr("base.made_at"));
  const json volume = json::parse(Drctl({"volumes", "show", "web", "-o", "json"}).out);
  EXPECT_EQ(volume.at("large_files").at(0).at("rung"), "blocks");
  const Result missing = Drctl({"volumes", "show", "web", "nowhere"});
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.err, HasSubstr("there is no such file"));
}

TEST_F(DrctlTest, AnUnknownVolumeIsAMistakeOfTheCaller) {
  primary_.Add("web");
  for (const char* const command : {"show", "sync"}) {
    const Result result = Drctl({"volumes", command, "wbe"});
    EXPECT_EQ(result.code, 2);
    EXPECT_THAT(result.err, HasSubstr("no volume wbe"));
    EXPECT_THAT(result.out, IsEmpty());
  }
}

const std::string kOldId = std::string(31, '0') + "a";
const std::string kYoungId = std::string(31, '0') + "b";

TEST_F(DrctlTest, TrashListHasTheDocumentedShape) {
  replica_.AddTrashed(kOldId, "web", absl::FromUnixSeconds(1'700'000'060));
  replica_.AddTrashed(kYoungId, "db", absl::InfiniteFuture());
  const Result result = Drctl({"trash", "list", "-o", "json"});
  EXPECT_EQ(result.code, 0) << result.err;
  const json trash = json::parse(result.out).at("trash");
  ASSERT_EQ(trash.size(), 2u);
  EXPECT_EQ(trash.at(0), json::parse(R"({"id": ")" + kOldId + R"(", "volume": "web", "pair": "local",
      "state": "trashed", "replica_path": "/srv/b/web", "reason": "deleted at the primary",
      "deleted_at": "2023-11-14T22:13:20+00:00", "expires_at": "2023-11-14T22:14:20+00:00",
      "size_bytes": null, "entries": null})"));
  EXPECT_THAT(Drctl({"trash", "list"}).out, AllOf(HasSubstr("VOLUME"), HasSubstr(kYoungId)));
  EXPECT_EQ(Drctl({"trash", "list", "--pair", "nobody"}).code, 2);
  dr_server_.reset();
  EXPECT_EQ(Drctl({"trash", "list"}).code, 4);
}

TEST_F(DrctlTest, TrashRestoreSaysWhereTheVolumeIsAgain) {
  replica_.AddTrashed(kOldId, "web", absl::InfiniteFuture());
  replica_.AddTrashed(kYoungId, "taken", absl::InfiniteFuture());
  const Result result = Drctl({"trash", "restore", kOldId, "-o", "json"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(json::parse(result.out).at("replica_path"), "/srv/b/web");
  EXPECT_EQ(Drctl({"trash", "restore", kOldId}).code, 2) << "it isn't there any more";
  EXPECT_EQ(Drctl({"trash", "restore", "../web"}).code, 2);
  const Result refused = Drctl({"trash", "restore", kYoungId});
  EXPECT_EQ(refused.code, 5);
  EXPECT_THAT(refused.err, HasSubstr("there is a replica of that name"));
}

TEST_F(DrctlTest, TrashPurgeNeedsYes) {
  replica_.AddTrashed(kOldId, "web", absl::FromUnixSeconds(1'700'000'060));
  replica_.AddTrashed(kYoungId, "db", absl::InfiniteFuture());
  for (const char* const what : {kOldId.c_str(), "--all"}) {
    const Result refused = Drctl({"trash", "purge", what});
    EXPECT_EQ(refused.code, 5);
    EXPECT_THAT(refused.out, HasSubstr(kOldId));
    EXPECT_THAT(refused.err, HasSubstr("--yes"));
    EXPECT_EQ(replica_.Trashed().size(), 2u);
  }
  EXPECT_EQ(Drctl({"trash", "purge"}).code, 2);
  EXPECT_EQ(Drctl({"trash", "purge", kOldId, "--all", "--yes"}).code, 2);
  EXPECT_EQ(Drctl({"trash", "purge", std::string(32, 'f'), "--yes"}).code, 2);
  EXPECT_EQ(Drctl({"trash", "purge", "../web", "--yes"}).code, 2);
  EXPECT_EQ(replica_.Trashed().size(), 2u);
  const Result purged = Drctl({"trash", "purge", kOldId, "--yes", "-o", "json"});
  EXPECT_EQ(purged.code, 0) << purged.err;
  EXPECT_EQ(json::parse(purged.out).at("trash").at(0).at("state"), "purging");
  EXPECT_EQ(replica_.Trashed(), std::vector<std::string>{kYoungId});
  EXPECT_EQ(Drctl({"trash", "purge", "--all", "--yes"}).code, 0);
  EXPECT_TRUE(replica_.Trashed().empty());
}

TEST_F(DrctlTest, APurgeThatDoesPartOfItSaysSo) {
  replica_.AddTrashed(kOldId, "web", absl::InfiniteFuture());
  replica_.AddTrashed(kYoungId, "taken", absl::InfiniteFuture());
  const Result result = Drctl({"trash", "purge", "--all", "--yes"});
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr(kYoungId));
  EXPECT_EQ(Drctl({"trash", "purge", kYoungId, "--yes"}).code, 5);
}

TEST_F(DrctlTest, TrashCommandsHaveYamlAndHelpWithAnExample) {
  replica_.AddTrashed(kOldId, "web", absl::InfiniteFuture());
  EXPECT_THAT(Drctl({"trash", "list", "-o", "yaml"}).out, HasSubstr("volume: \"web\""));
  for (const char* const command : {"list", "restore", "purge"}) {
    EXPECT_THAT(Drctl({"trash", command, "--help"}).out, HasSubstr(std::string("drctl trash ") + command));
  }
}

constexpr int64_t kNight = 1'700'000'000'000'000'000;  // 2023-11-14T22:13:20Z

// The rows of a table, without its header.
std::vector<std::vector<std::string>> RowsOf(const std::string& table) {
  std::vector<std::vector<std::string>> rows;
  for (const absl::string_view line : absl::StrSplit(table, '\n', absl::SkipEmpty())) {
    rows.push_back(absl::StrSplit(line, ' ', absl::SkipEmpty()));
  }
  if (!rows.empty()) rows.erase(rows.begin());
  return rows;
}

// As after a rewind: the replica shows a state that is older than some, and the records aren't in the order of time.
TEST_F(DrctlTest, PointsAreListedByTimeAndEachShownTimeNamesItsState) {
  replica_.Add("web");
  points_.SetStates(FakePoints::State(2, kNight + 2'123'456'789),
                    {FakePoints::State(4, kNight + 4'999'999'999), FakePoints::State(3, kNight + 2'123'999'999),
                     FakePoints::State(5, kNight + 5'000'000'000), FakePoints::State(1, kNight + 1'000'000'001)});
  const std::vector<std::vector<std::string>> rows = RowsOf(Drctl({"points", "list", "web"}).out);
  ASSERT_EQ(rows.size(), 5u);
  std::vector<std::string> sequences;
  for (const std::vector<std::string>& row : rows) sequences.push_back(row.at(0));
  // 4 and 5 are in one millisecond after rounding, as are 2 and 3: there the time names the newer one.
  EXPECT_THAT(sequences, ::testing::ElementsAre("5", "4", "3", "2", "1"));
  EXPECT_EQ(rows[3].back(), "now");
  EXPECT_EQ(rows[2].at(1), "2023-11-14T22:13:22.124Z");
  EXPECT_EQ(rows[4].at(1), "2023-11-14T22:13:21.001Z");
  for (const size_t i : {0, 2, 4}) {
    EXPECT_EQ(Drctl({"points", "rewind", "web", rows[i].at(1), "--yes"}).code, 0);
    EXPECT_EQ(points_.TakeAsked(), "rewind " + rows[i].at(0)) << rows[i].at(1);
  }
  const json listed = json::parse(Drctl({"points", "list", "web", "-o", "json"}).out);
  EXPECT_EQ(listed.at("newest").at("sequence"), 2);
  EXPECT_EQ(listed.at("points").at(0).at("sequence"), 5);
  EXPECT_EQ(listed.at("points").at(3).at("sequence"), 1);
  // In full, each is its own.
  for (const json& point : listed.at("points")) {
    EXPECT_EQ(Drctl({"points", "rewind", "web", point.at("captured_at"), "--yes"}).code, 0);
    EXPECT_EQ(points_.TakeAsked(), "rewind " + point.at("sequence").dump());
  }
}

TEST_F(DrctlTest, ATimeOfAStateNeedsItsZone) {
  replica_.Add("web");
  v1::Point labelled = FakePoints::State(2, kNight + 2'000'000'000);
  labelled.set_label("2023-11-15");
  points_.SetStates(labelled, {FakePoints::State(1, kNight)});
  const auto rewind = [&](const std::string& state) { return Drctl({"points", "rewind", "web", state, "--yes"}); };
  for (const auto& [time, hint] : std::vector<std::pair<std::string, std::string>>{
           {"2023-11-14T22:13:30", "say the time zone: 2023-11-14T22:13:30Z"},
           {"2023-11-14", "say the time zone: 2023-11-14T00:00:00Z"},
           {"2023-11-14 22:13:30Z", "is no time with a time zone, as 2026"},
           {"22:13", "is no time with a time zone, as 2026"}}) {
    const Result refused = rewind(time);
    EXPECT_EQ(refused.code, 2);
    EXPECT_THAT(refused.err, HasSubstr(hint));
  }
  EXPECT_EQ(points_.TakeAsked(), "");
  EXPECT_EQ(rewind("2023-11-15").code, 0);
  EXPECT_EQ(points_.TakeAsked(), "rewind 2") << "a label";
  EXPECT_EQ(rewind("2023-11-14T23:13:21+01:00").code, 0);
  EXPECT_EQ(points_.TakeAsked(), "rewind 1");
  EXPECT_THAT(rewind("nowhere").err, HasSubstr("no state nowhere is kept"));
}

TEST_F(DrctlTest, PointsCreateOfAHeldVolumeIsRefusedInsteadOfWaitingForEver) {
  primary_.Add("endless");
  replica_.Add("endless");
  replica_.Hold("endless");
  points_.SetStates(FakePoints::State(2, kNight), {});
  const Result refused = Drctl({"points", "create", "endless", "--label", "here"});
  EXPECT_EQ(refused.code, 5);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("held"), HasSubstr("drctl volumes resume endless"), HasSubstr("--no-sync")));
  EXPECT_EQ(points_.TakeAsked(), "");
  EXPECT_EQ(Drctl({"points", "create", "endless", "--label", "here", "--no-sync"}).code, 0);
  EXPECT_EQ(points_.TakeAsked(), "label here 2");
}

TEST_F(DrctlTest, PointsCreateSaysWhatItsSyncWaitsForAndGivesUpAfterItsTimeout) {
  primary_.Add("endless");
  primary_.Fail("endless", "error", "DR's disk is full");
  const Result result = Drctl({"points", "create", "endless", "--label", "here", "--timeout", "1s"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("volume 'endless': still waiting: DR's disk is full\n"),
                                HasSubstr("no barrier within 1s: DR's disk is full"), HasSubstr("--no-sync")));
  EXPECT_EQ(points_.TakeAsked(), "");
  EXPECT_EQ(Drctl({"points", "create", "endless", "--label", "here", "--timeout", "soon"}).code, 2);
  primary_.Add("web");
  points_.SetStates(FakePoints::State(2, kNight), {});
  const Result done = Drctl({"points", "create", "web", "--label", "here"}, true);
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_THAT(done.err, HasSubstr("7 changed paths to go"));
  EXPECT_EQ(points_.TakeAsked(), "label here 2");
}

TEST_F(DrctlTest, PointsListWithoutAVolumeListsAllTreesAlsoOfVolumesThatAreGone) {
  points_.AddTree(kOldId, "gone", true);
  points_.AddTree(kYoungId, "web", false);
  const Result result = Drctl({"points", "list", "-o", "json"});
  EXPECT_EQ(result.code, 0) << result.err;
  const json trees = json::parse(result.out).at("trees");
  ASSERT_EQ(trees.size(), 2u);
  EXPECT_EQ(trees.at(0), json::parse(R"({"id": ")" + kOldId + R"(", "volume": "gone", "sequence": 3,
      "path": "/srv/b/gone.point-3", "writable": true, "state": "ready", "made_at": "2023-11-14T22:13:20+00:00",
      "pair": "local"})"));
  EXPECT_THAT(Drctl({"points", "list"}).out, AllOf(HasSubstr("VOLUME"), HasSubstr("gone"), HasSubstr(kYoungId)));
  EXPECT_EQ(Drctl({"points", "list", "gone"}).code, 2);
  EXPECT_EQ(Drctl({"points", "list", "--pair", "nobody"}).code, 2);
  WriteConfig("pairs: [" + Pair("local") + ", {name: away, primary: '127.0.0.1:1', dr: '127.0.0.1:1'}]\n");
  const Result some = Drctl({"points", "list"});
  EXPECT_EQ(some.code, 4);
  EXPECT_THAT(some.out, HasSubstr(kOldId));
  EXPECT_THAT(some.err, HasSubstr("pair away"));
  EXPECT_EQ(Drctl({"points", "remove", std::string(32, 'f'), "--yes"}).code, 4) << "the other pair may have it";
}

TEST_F(DrctlTest, PointsRemoveAsksFirst) {
  points_.AddTree(kOldId, "gone", true);
  const Result shown = Drctl({"points", "remove", kOldId});
  EXPECT_EQ(shown.code, 5);
  EXPECT_THAT(shown.err, AllOf(HasSubstr("/srv/b/gone.point-3"), HasSubstr("what clients wrote"), HasSubstr("--yes")));
  std::istringstream no("no\n");
  EXPECT_EQ(Drctl({"points", "remove", kOldId}, true, &no).code, 5);
  EXPECT_EQ(points_.TakeAsked(), "");
  std::istringstream yes("yes\n");
  EXPECT_EQ(Drctl({"points", "remove", kOldId}, true, &yes).code, 0);
  EXPECT_EQ(points_.TakeAsked(), "remove " + kOldId);
  points_.AddTree(kYoungId, "web", false);
  EXPECT_EQ(Drctl({"points", "remove", kYoungId, "--yes"}).code, 0);
  EXPECT_EQ(points_.TakeAsked(), "remove " + kYoungId);
  EXPECT_EQ(Drctl({"points", "remove", kYoungId, "--yes"}).code, 2);
}

TEST_F(DrctlTest, ResumeEndsAHoldAtDrAlsoWhenThePrimaryIsAway) {
  primary_.Add("web");
  replica_.Add("web");
  replica_.Hold("web");
  EXPECT_EQ(Drctl({"volumes", "resume", "web"}).code, 0);
  EXPECT_EQ(points_.TakeAsked(), "release web");
  primary_server_.reset();
  const Result partly = Drctl({"volumes", "resume", "web", "-o", "json"});
  EXPECT_EQ(partly.code, 3);
  EXPECT_EQ(points_.TakeAsked(), "release web");
  EXPECT_TRUE(json::parse(partly.out).at("state").is_null());
  EXPECT_THAT(partly.err, AllOf(HasSubstr("can't reach understudy-primary"), HasSubstr("drctl volumes resume web")));
  replica_.Add("db");
  EXPECT_EQ(Drctl({"volumes", "resume", "db"}).code, 4) << "nothing of it was done";
  EXPECT_EQ(points_.TakeAsked(), "");
}

TEST_F(DrctlTest, SyncEndsAtTheBarrier) {
  primary_.Add("web");
  const Result result = Drctl({"volumes", "sync", "web", "-o", "json"});
  EXPECT_EQ(result.code, 0) << result.err;
  const json volume = json::parse(result.out).at("volumes").at(0);
  EXPECT_EQ(volume.at("result"), "synced");
  EXPECT_EQ(volume.at("sequence"), 42);
  EXPECT_FALSE(primary_.AskedForPublished());
  EXPECT_EQ(Drctl({"volumes", "sync", "web", "--published"}).code, 0);
  EXPECT_TRUE(primary_.AskedForPublished());
}

TEST_F(DrctlTest, VerifyListsDifferencesAndEndsWithSix) {
  for (const char* const volume : {"broken", "stuck", "web", "cut"}) primary_.Add(volume);
  const Result broken = Drctl({"volumes", "verify", "broken", "--depth", "digests", "-o", "json"});
  EXPECT_EQ(broken.code, 6) << broken.err;
  const json volume = json::parse(broken.out).at("volumes").at(0);
  EXPECT_EQ(volume.at("result"), "different");
  EXPECT_EQ(volume.at("entries"), 10);
  EXPECT_EQ(volume.at("differences_found"), 2);
  EXPECT_EQ(volume.at("differences").size(), 1u);
  EXPECT_EQ(volume.at("differences").at(0).at("path"), "d/f\\x1b");
  EXPECT_EQ(volume.at("differences").at(0).at("kind"), "content");
  EXPECT_THAT(broken.err, HasSubstr("1 of 2 differences are listed"));
  EXPECT_THAT(broken.err, HasSubstr("3 entries changed all the time"));
  const Result table = Drctl({"volumes", "verify", "broken"});
  EXPECT_THAT(table.out, HasSubstr("metadata"));
  EXPECT_THAT(table.out, HasSubstr("mtime"));

  EXPECT_EQ(Drctl({"volumes", "verify", "web"}).code, 0);
  EXPECT_EQ(Drctl({"volumes", "verify", "stuck"}).code, 4);
  EXPECT_EQ(Drctl({"volumes", "verify", "cut"}).code, 1);  // no result is no success
  EXPECT_EQ(Drctl({"volumes", "verify", "--all"}).code, 6);
  EXPECT_EQ(Drctl({"volumes", "verify"}).code, 2);
  EXPECT_EQ(Drctl({"volumes", "verify", "web", "--depth", "deep"}).code, 2);
  EXPECT_EQ(Drctl({"volumes", "verify", "nowhere"}).code, 2);
  EXPECT_THAT(Drctl({"volumes", "verify", "web"}, true).err, HasSubstr("10 entries"));
}

TEST_F(DrctlTest, VerifyIsPartialWhereNotEverythingWasCompared) {
  for (const char* const volume : {"busy", "web"}) primary_.Add(volume);
  const Result busy = Drctl({"volumes", "verify", "busy", "-o", "json"});
  EXPECT_EQ(busy.code, 3);
  EXPECT_EQ(json::parse(busy.out).at("volumes").at(0).at("result"), "partial");
  EXPECT_THAT(busy.err, HasSubstr("3 entries changed all the time"));
  EXPECT_EQ(Drctl({"volumes", "verify", "--all"}).code, 3);
  primary_.Add("stuck");
  EXPECT_EQ(Drctl({"volumes", "verify", "stuck"}).code, 4) << "what failed counts more";
}

TEST_F(DrctlTest, VerifyAllIsPartialWhereSomeCannotBeVerified) {
  primary_.Add("web");
  primary_.Add("stuck");
  const Result result = Drctl({"volumes", "verify", "--all", "-o", "json"});
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, HasSubstr("volume 'stuck': "));
}

TEST_F(DrctlTest, ProgressIsForTerminalsAlone) {
  primary_.Add("web");
  EXPECT_THAT(Drctl({"volumes", "sync", "web"}).err, IsEmpty());
  EXPECT_THAT(Drctl({"volumes", "sync", "web"}, true).err, HasSubstr("7 changed paths to go"));
}

TEST_F(DrctlTest, SyncAllSaysWhichFailed) {
  primary_.Add("db");
  primary_.Add("stuck");
  const Result result = Drctl({"volumes", "sync", "--all", "-o", "json"});
  EXPECT_EQ(result.code, 3);
  const json volumes = json::parse(result.out).at("volumes");
  EXPECT_EQ(volumes.at(0).at("result"), "synced");
  EXPECT_EQ(volumes.at(1).at("result"), "failed");
  EXPECT_THAT(volumes.at(1).at("error").get<std::string>(), HasSubstr("no space at DR"));
  EXPECT_THAT(result.err, HasSubstr("volume 'stuck': "));
  EXPECT_EQ(Drctl({"volumes", "sync", "stuck"}).code, 1);
}

TEST_F(DrctlTest, SyncAllIsPartialWhenAPrimaryCannotBeAsked) {
  primary_.Add("db");
  WriteConfig("pairs: [" + Pair("local") + ", {name: away, primary: '127.0.0.1:1', dr: '127.0.0.1:1'}]\n");
  const Result result = Drctl({"volumes", "sync", "--all"});
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, HasSubstr("pair away"));
  EXPECT_EQ(Drctl({"volumes", "sync", "--all", "--pair", "local"}).code, 0);
  EXPECT_EQ(Drctl({"volumes", "sync", "--all", "--pair", "away"}).code, 4);
  EXPECT_EQ(Drctl({"volumes", "sync", "--all", "--pair", "nobody"}).code, 2);
}

TEST_F(DrctlTest, ANameThatTwoPairsHaveNeedsThePair) {
  primary_.Add("web");
  WriteConfig("pairs: [" + Pair("one") + ", " + Pair("two") + "]\n");
  const Result result = Drctl({"volumes", "sync", "web"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("--pair"));
  EXPECT_EQ(Drctl({"volumes", "sync", "web", "--pair", "two"}).code, 0);
}

TEST_F(DrctlTest, SyncGivesUpAfterItsTimeout) {
  primary_.Add("endless");
  const Result result = Drctl({"volumes", "sync", "endless", "--timeout", "500ms"});
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.err,
            "drctl: volume 'endless': no barrier within 0.5s: it is replicating, with 7 changed paths to go\n");
  EXPECT_EQ(Drctl({"volumes", "sync", "endless", "--timeout", "soon"}).code, 2);
}

TEST_F(DrctlTest, SyncOfAVolumeInErrorSaysWhyOnceAndFailsWhenTheTimeIsOver) {
  primary_.Add("endless");
  primary_.Fail("endless", "error", "DR's disk is full");
  const Result result = Drctl({"volumes", "sync", "endless", "--timeout", "1s", "-o", "json"});
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.err,
            "drctl: volume 'endless': still waiting: DR's disk is full\n"
            "drctl: volume 'endless': no barrier within 1s: DR's disk is full\n");
  EXPECT_EQ(json::parse(result.out).at("volumes").at(0).at("error"), "no barrier within 1s: DR's disk is full");
}

TEST_F(DrctlTest, AnErrorWhileSyncingStartsItsOwnLineOnATerminal) {
  primary_.Add("web");
  primary_.Fail("web", "error", "DR's disk is full");
  const Result result = Drctl({"volumes", "sync", "web"}, true);
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("still waiting: DR's disk is full\n"), HasSubstr("7 changed paths to go")));
}

TEST_F(DrctlTest, SyncOfAVolumeWhosePrimaryCannotReachDrNamesThat) {
  primary_.Add("endless");
  primary_.Fail("endless", "connecting", "can't reach understudy-dr");
  const Result result = Drctl({"volumes", "sync", "endless", "--timeout", "500ms"});
  EXPECT_EQ(result.code, 4);
  EXPECT_THAT(result.err, HasSubstr("volume 'endless': no barrier within 0.5s: can't reach understudy-dr\n"));
  EXPECT_THAT(result.err, Not(HasSubstr("didn't answer")));
}

TEST_F(DrctlTest, SyncWithAPrimaryThatDoesNotAnswerIsUnreachable) {
  primary_.Add("silent");
  const Result result = Drctl({"volumes", "sync", "silent", "--timeout", "500ms"});
  EXPECT_EQ(result.code, 4);
  EXPECT_THAT(result.err, HasSubstr("understudy-primary"));
  EXPECT_THAT(result.err, HasSubstr("didn't answer in time"));
}

PrimaryVolume ReportOf(const std::string& state, const std::string& error, uint64_t sequence) {
  PrimaryVolume report;
  report.state = state;
  report.error = error;
  report.sequence = sequence;
  return report;
}

// What Explain makes of a sync whose timeout of 60 s is over.
absl::Status AfterItsTime(const SyncWatch& watch) {
  return watch.Explain(absl::DeadlineExceededError("didn't answer"), absl::Seconds(60), absl::Seconds(60));
}

TEST(SyncWatchTest, AnErrorStaysWhileThePrimaryTriesAgainAndIsToldOnce) {
  SyncWatch watch;
  EXPECT_EQ(watch.OnReport(ReportOf("error", "full", 7), absl::Seconds(57)), "full");
  EXPECT_EQ(watch.OnReport(ReportOf("replicating", "", 7), absl::Seconds(58)), std::nullopt);
  EXPECT_EQ(AfterItsTime(watch), absl::AbortedError("no barrier within 60s: full"));
  EXPECT_EQ(watch.OnReport(ReportOf("error", "full", 7), absl::Seconds(58)), std::nullopt);
  EXPECT_EQ(watch.OnReport(ReportOf("error", "immutable", 7), absl::Seconds(59)), "immutable");
  EXPECT_EQ(AfterItsTime(watch), absl::AbortedError("no barrier within 60s: immutable"));
}

TEST(SyncWatchTest, AnErrorIsOverOnceDrAcknowledgesOrIsReachedAgain) {
  for (const auto& [state, sequence] : {std::pair("error", 8), std::pair("connecting", 7)}) {
    SyncWatch watch;
    watch.OnReport(ReportOf(state, "trouble", 7), absl::Seconds(58));
    watch.OnReport(ReportOf("replicating", "", static_cast<uint64_t>(sequence)), absl::Seconds(59));
    EXPECT_EQ(AfterItsTime(watch),
              absl::AbortedError("no barrier within 60s: it is replicating, with 0 changed paths to go"));
  }
}

TEST(SyncWatchTest, APrimaryThatFellSilentDidNotAnswer) {
  SyncWatch watch;
  watch.OnReport(ReportOf("error", "full", 7), absl::Seconds(60) - kLongestSilence);
  EXPECT_TRUE(absl::IsDeadlineExceeded(AfterItsTime(watch)));
}

TEST(SyncWatchTest, OtherEndsKeepTheirReason) {
  SyncWatch watch;
  watch.OnReport(ReportOf("error", "full", 7), absl::Seconds(59));
  const absl::Status refused = absl::FailedPreconditionError("held back");
  EXPECT_EQ(watch.Explain(refused, absl::Seconds(60), absl::Seconds(60)), refused);
}

TEST_F(DrctlTest, GuardListSaysWhatIsHeldBack) {
  primary_.Add("db");
  primary_.Add("web");
  EXPECT_EQ(json::parse(Drctl({"guard", "list", "-o", "json"}).out).at("guards").size(), 0u);
  primary_.Guard("web", 600, 1000);
  const Result list = Drctl({"guard", "list", "-o", "json"});
  EXPECT_EQ(list.code, 0);
  const json guards = json::parse(list.out).at("guards");
  ASSERT_EQ(guards.size(), 1u);
  EXPECT_EQ(guards.at(0), json({{"name", "web"},
                                {"pair", "local"},
                                {"kind", "deletion"},
                                {"reason", "too much would go"},
                                {"entries_gone", 600},
                                {"entries_before", 1000},
                                {"since", "2023-11-14T22:13:20.5+00:00"}}));
  EXPECT_THAT(Drctl({"guard", "list"}).out, AllOf(HasSubstr("600 of 1000"), HasSubstr("too much would go")));
  EXPECT_THAT(Drctl({"status"}).out, AllOf(HasSubstr("guarded"), HasSubstr("web is held back: too much would go")));
  const json volumes = json::parse(Drctl({"status", "-o", "json"}).out).at("volumes");
  EXPECT_EQ(volumes.at(0).at("guard"), nullptr);
  EXPECT_EQ(volumes.at(1).at("guard").at("entries_gone"), 600);
  EXPECT_THAT(Drctl({"volumes", "show", "web"}).out, HasSubstr("guard.entries_gone"));
}

TEST_F(DrctlTest, EventsTailShowsWhatBecameOfEachEvent) {
  const Result list = Drctl({"events", "tail", "-o", "json"});
  EXPECT_EQ(list.code, 0) << list.err;
  const json events = json::parse(list.out).at("events");
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events.at(0), json({{"event_id", "e1"},
                                {"pair", "local"},
                                {"observed_at", "2023-11-14T22:13:20.5+00:00"},
                                {"type", "ADDED"},
                                {"kind", "PersistentVolume"},
                                {"namespace", nullptr},
                                {"name", "pv1"},
                                {"source", "webhook"},
                                {"rule", "forward,volumes"},
                                {"outcome", "done"},
                                {"detail", nullptr},
                                {"forwarding", "failed"},
                                {"forwarding_detail", "eda: 400"}}));
  EXPECT_EQ(events.at(1).at("rule"), nullptr);
  EXPECT_EQ(events.at(1).at("detail"), "DR is away");
  EXPECT_EQ(json::parse(Drctl({"events", "tail", "--limit", "1", "-o", "json"}).out).at("events").size(), 1u);
  const std::string table = Drctl({"events", "tail"}).out;
  EXPECT_THAT(table, AllOf(HasSubstr("PersistentVolume pv1"), HasSubstr("done; forwarding failed: eda: 400"),
                           HasSubstr("shop/db\\x1b[2J"), HasSubstr("pending: DR is away")));
  EXPECT_EQ(Drctl({"events", "tail", "--limit", "0"}).code, 5);
  EXPECT_EQ(Drctl({"events", "tail", "--pair", "none"}).code, 2);
}

TEST_F(DrctlTest, EventsTailFollowsUntilTheAgentEndsAndSaysSo) {
  const Result result = Drctl({"events", "tail", "--follow", "-o", "json"});
  EXPECT_EQ(result.code, 4);
  EXPECT_THAT(result.err, HasSubstr("its agent was stopped"));
  std::istringstream lines(result.out);
  std::vector<std::string> outcomes;
  for (std::string line; std::getline(lines, line);) outcomes.push_back(json::parse(line).at("outcome"));
  EXPECT_EQ(outcomes, (std::vector<std::string>{"done", "pending", "done"}));
}

TEST_F(DrctlTest, EventsOfAPairThatCanBeAskedAreShownBesideOneThatCannot) {
  WriteConfig("pairs: [" + Pair("local") + ", {name: away, primary: '127.0.0.1:1', dr: '127.0.0.1:1'}]\n");
  const Result result = Drctl({"events", "tail", "-o", "json"});
  EXPECT_EQ(result.code, 4);
  EXPECT_THAT(result.err, HasSubstr("pair away"));
  EXPECT_EQ(json::parse(result.out).at("events").size(), 2u);
}

TEST_F(DrctlTest, GuardApproveApprovesWhatWasShown) {
  primary_.Add("web");
  primary_.Guard("web", 600, 1000);
  std::istringstream no("no\n");
  const Result refused = Drctl({"guard", "approve", "web"}, true, &no);
  EXPECT_EQ(refused.code, 5);
  EXPECT_THAT(refused.err, HasSubstr("too much would go"));
  EXPECT_THAT(primary_.Approved(), IsEmpty());
  std::istringstream yes("yes\n");
  EXPECT_EQ(Drctl({"guard", "approve", "web"}, true, &yes).code, 0);
  EXPECT_EQ(primary_.Approved(), "web deletion 600");
  primary_.Guard("web", 700, 1000);
  const Result unasked = Drctl({"guard", "approve", "web", "--yes", "-o", "json"});
  EXPECT_EQ(unasked.code, 0) << unasked.err;
  EXPECT_EQ(json::parse(unasked.out).at("approved").at("entries_gone"), 700);
  EXPECT_EQ(primary_.Approved(), "web deletion 700");
}

TEST_F(DrctlTest, AGuardOnStorageObjectsIsShownAndApprovedByItsKind) {
  primary_.Add("web");
  primary_.GuardObjects("objects:PersistentVolume", 6, 8);
  primary_.GuardObjects("cluster", 0, 0);
  const json guards = json::parse(Drctl({"guard", "list", "-o", "json"}).out).at("guards");
  ASSERT_EQ(guards.size(), 2u);
  EXPECT_EQ(guards.at(0).at("name"), "objects:PersistentVolume");
  EXPECT_EQ(guards.at(0).at("entries_gone"), 6);
  EXPECT_EQ(guards.at(1).at("name"), "cluster");
  EXPECT_THAT(Drctl({"status"}).out, AllOf(HasSubstr("pair local: nearly all would go"),
                                           HasSubstr("can't be followed: PersistentVolume: forbidden")));
  const json primary = json::parse(Drctl({"status", "-o", "json"}).out).at("pairs").at(0).at("primary");
  EXPECT_EQ(primary.at("object_guards").at(0).at("entries_before"), 8);
  EXPECT_EQ(primary.at("objects").at("pending"), 2);
  EXPECT_EQ(Drctl({"guard", "approve", "objects:PersistentVolume"}).code, 5);
  EXPECT_EQ(Drctl({"guard", "approve", "objects:PersistentVolumeClaim", "--yes"}).code, 5);
  EXPECT_THAT(primary_.Approved(), IsEmpty());
  EXPECT_EQ(Drctl({"guard", "approve", "objects:PersistentVolume", "--yes"}).code, 0);
  EXPECT_EQ(primary_.Approved(), " objects:PersistentVolume 6");
  EXPECT_EQ(Drctl({"guard", "approve", "cluster", "--yes"}).code, 0);
  EXPECT_EQ(primary_.Approved(), " cluster 0");
}

TEST_F(DrctlTest, TheMidstOfACaptureIsNotCalledWhatThePrimaryHad) {
  primary_.Add("web");
  replica_.Add("web");
  replica_.LeaveInMidstOfCapture("web", 38);
  const Result script = Drctl({"volumes", "promote", "web"});
  EXPECT_THAT(script.err, AllOf(HasSubstr("commit 41, the midst of a capture: NOT a state that the primary ever had"),
                                HasSubstr("`drctl points rewind web 38`"), HasSubstr("2020-09-13"),
                                Not(HasSubstr("as the primary had it"))));
  const json shown = json::parse(Drctl({"volumes", "show", "web", "-o", "json"}).out);
  EXPECT_EQ(shown.at("replica").at("midst_of_capture"), true);
  EXPECT_EQ(shown.at("replica").at("whole_sequence"), 38);
}

TEST_F(DrctlTest, PromoteNeedsTheNameTypedOrYes) {
  primary_.Add("web");
  replica_.Add("web");
  const Result script = Drctl({"volumes", "promote", "web"});
  EXPECT_EQ(script.code, 5);
  EXPECT_THAT(script.err,
              AllOf(HasSubstr("epoch: 3 becomes 4"), HasSubstr("commit 41, as the primary had it at 2023-11"),
                    HasSubstr("0.2 s of changes aren't at DR"), HasSubstr("add --yes")));
  EXPECT_EQ(standby_.TakeAsked(), "");
  std::istringstream no("yes\n");
  EXPECT_EQ(Drctl({"volumes", "promote", "web"}, true, &no).code, 5) << "it is the name that is to be typed";
  EXPECT_EQ(standby_.TakeAsked(), "");
  std::istringstream yes("web\n");
  const Result promoted = Drctl({"volumes", "promote", "web"}, true, &yes);
  EXPECT_EQ(promoted.code, 0) << promoted.err;
  EXPECT_EQ(promoted.out, "volume web is active at DR (epoch 4), in /srv/b/web\n");
  EXPECT_EQ(standby_.TakeAsked(), "promote web");
  const Result as_json = Drctl({"volumes", "promote", "web", "--yes", "--incomplete", "-o", "json"});
  EXPECT_EQ(as_json.code, 0) << as_json.err;
  EXPECT_EQ(standby_.TakeAsked(), "promote web incomplete");
  const json result = json::parse(as_json.out);
  EXPECT_EQ(result.at("state"), "active");
  EXPECT_EQ(result.at("epoch"), 4);
  EXPECT_EQ(result.at("hooks").at(0).at("name"), "10-check");
  EXPECT_TRUE(result.at("hooks").at(0).at("ok"));
  EXPECT_EQ(Drctl({"volumes", "promote", "nobody", "--yes"}).code, 2);
}

TEST_F(DrctlTest, AHookThatSaysNoIsShownWithItsReason) {
  primary_.Add("refused");
  replica_.Add("refused");
  const Result refused = Drctl({"volumes", "promote", "refused", "--yes"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("hook pre-promote/10-check: exit code 1"), HasSubstr("| the witness\n"),
                                 HasSubstr("| says \\x1b no\n")));
  EXPECT_THAT(refused.out, IsEmpty());
}

TEST_F(DrctlTest, PromotionWorksWithoutThePrimaryAndSaysWhatIsLost) {
  replica_.Add("web");
  primary_server_.reset();
  const Result shown = Drctl({"volumes", "promote", "web"});
  EXPECT_EQ(shown.code, 5);
  EXPECT_THAT(shown.err, HasSubstr("primary: can't be reached"));
  EXPECT_EQ(Drctl({"volumes", "promote", "web", "--yes"}).code, 0);
  dr_server_.reset();
  EXPECT_EQ(Drctl({"volumes", "promote", "web", "--yes"}).code, 4);
}

TEST_F(DrctlTest, WhatWasBegunGoesOnWithoutAsking) {
  primary_.Add("web");
  replica_.Add("web");
  replica_.Set("web", "promoting", false);
  EXPECT_THAT(Drctl({"status"}).out, HasSubstr("web is promoting at DR (epoch 3), which isn't finished: `drctl volumes "
                                               "promote web` goes on"));
  EXPECT_EQ(Drctl({"volumes", "promote", "web"}).code, 0);
  EXPECT_EQ(standby_.TakeAsked(), "promote web");
  replica_.Set("web", "active", true);
  EXPECT_THAT(Drctl({"status"}).out, HasSubstr("not all post-promote hooks have run"));
}

TEST_F(DrctlTest, DemoteSaysWhatGoes) {
  primary_.Add("web");
  replica_.Add("web");
  replica_.Set("web", "active", false);
  const Result shown = Drctl({"volumes", "demote", "web"});
  EXPECT_EQ(shown.code, 5);
  EXPECT_THAT(shown.err, HasSubstr("what was written at DR since 2023-11-14"));
  EXPECT_EQ(standby_.TakeAsked(), "");
  EXPECT_EQ(Drctl({"volumes", "demote", "web", "--yes"}).code, 0);
  EXPECT_EQ(standby_.TakeAsked(), "demote web");
}

TEST_F(DrctlTest, DemoteOfAPromotionThatIsUnderWayAsksToo) {
  primary_.Add("web");
  replica_.Add("web");
  replica_.Set("web", "promoting", false);
  EXPECT_EQ(Drctl({"volumes", "demote", "web"}).code, 5) << "clients may write already";
  EXPECT_EQ(standby_.TakeAsked(), "");
  EXPECT_EQ(Drctl({"volumes", "demote", "web", "--yes"}).code, 0);
  EXPECT_EQ(standby_.TakeAsked(), "demote web");
}

TEST_F(DrctlTest, StatusOfAVolumeThatWasPromotedAtDr) {
  primary_.Add("web");
  replica_.Add("web");
  replica_.Set("web", "active", false);
  EXPECT_THAT(Drctl({"status"}).out, HasSubstr("web is promoted at DR (epoch 3): the copy there is the live one"))
      << "while the primary doesn't know it yet";
  primary_.Set("web", "promoted", "was promoted at DR (epoch 3): demote it");
  const Result status = Drctl({"status"});
  EXPECT_EQ(status.code, 0);
  EXPECT_THAT(status.out, HasSubstr("web: was promoted at DR (epoch 3): demote it\n"));
  EXPECT_THAT(status.out, Not(HasSubstr("0.2 s"))) << "there is no replica to lag behind";
  EXPECT_THAT(status.out, Not(HasSubstr("web is promoted"))) << "once is enough";
  const json volume = json::parse(Drctl({"status", "-o", "json"}).out).at("volumes").at(0);
  EXPECT_TRUE(volume.at("lag_seconds").is_null());
  EXPECT_EQ(volume.at("replica").at("state_since"), "2023-11-14T22:14:20+00:00");
}

TEST_F(DrctlTest, WhatDrHasBegunIsToldWhateverThePrimaryThinks) {
  primary_.Add("web");
  primary_.Set("web", "promoted", "was promoted at DR (epoch 3): demote it");
  replica_.Add("web");
  const auto told = [&](const std::string& state, bool hooks_due) {
    replica_.Set("web", state, hooks_due);
    return Drctl({"status"}).out;
  };
  EXPECT_THAT(told("promoting", false),
              AllOf(HasSubstr("`drctl volumes promote web` goes on"), Not(HasSubstr("demote it"))));
  EXPECT_THAT(told("demoting", false),
              AllOf(HasSubstr("`drctl volumes demote web` goes on"), Not(HasSubstr("demote it"))));
  EXPECT_THAT(told("active", true), HasSubstr("not all post-promote hooks have run"));
  EXPECT_THAT(told("standby", true), HasSubstr("not all post-demote hooks have run"));
  EXPECT_THAT(told("standby", false), HasSubstr("web: was promoted at DR (epoch 3): demote it\n"))
      << "another primary's, perhaps";
  replica_.Hold("web");
  EXPECT_THAT(told("standby", false), AllOf(HasSubstr("`drctl volumes resume web`"), Not(HasSubstr("demote it"))));
}

TEST_F(DrctlTest, PauseAndResume) {
  primary_.Add("web");
  const Result paused = Drctl({"volumes", "pause", "web", "-o", "json"});
  EXPECT_EQ(paused.code, 0) << paused.err;
  EXPECT_EQ(json::parse(paused.out).at("state"), "paused");
  EXPECT_THAT(Drctl({"status"}).out, HasSubstr("volume 'web' is paused: drctl volumes resume web\n"));
  const json volume = json::parse(Drctl({"status", "-o", "json"}).out).at("volumes").at(0);
  EXPECT_EQ(volume.at("paused_since"), "2023-11-14T22:13:20.5+00:00");
  EXPECT_EQ(Drctl({"volumes", "resume", "web"}).out, "volume web is replicated again\n");
  EXPECT_EQ(Drctl({"volumes", "pause", "nobody"}).code, 2);
  primary_server_.reset();
  replica_.Add("web");
  EXPECT_EQ(Drctl({"volumes", "pause", "web"}).code, 4);
}

TEST_F(DrctlTest, GuardApproveInAScriptNeedsYes) {
  primary_.Add("web");
  primary_.Guard("web", 600, 1000);
  const Result shown = Drctl({"guard", "approve", "web"});
  EXPECT_EQ(shown.code, 5);
  EXPECT_THAT(shown.out, AllOf(HasSubstr("600 of 1000"), HasSubstr("too much would go")));
  EXPECT_THAT(shown.err, HasSubstr("add --yes to approve it"));
  const Result as_json = Drctl({"guard", "approve", "web", "-o", "json"});
  EXPECT_EQ(as_json.code, 5);
  EXPECT_EQ(json::parse(as_json.out).at("guards").at(0).at("entries_gone"), 600);
  EXPECT_THAT(primary_.Approved(), IsEmpty());
}

TEST_F(DrctlTest, GuardApproveIsRefusedWhereNothingOrMoreIsHeldBack) {
  primary_.Add("web");
  primary_.Add("worse");
  primary_.Guard("worse", 600, 1000);
  EXPECT_EQ(Drctl({"guard", "approve", "web", "--yes"}).code, 5);
  EXPECT_EQ(Drctl({"guard", "approve", "nobody", "--yes"}).code, 2);
  const Result worse = Drctl({"guard", "approve", "worse", "--yes"});
  EXPECT_EQ(worse.code, 5);
  EXPECT_THAT(worse.err, HasSubstr("more would go meanwhile"));
  EXPECT_THAT(primary_.Approved(), IsEmpty());
}

TEST_F(DrctlTest, SyncOfAGuardedVolumeExitsWithFive) {
  primary_.Add("web");
  primary_.Guard("web", 600, 1000);
  const Result result = Drctl({"volumes", "sync", "web"});
  EXPECT_EQ(result.code, 5);
  EXPECT_THAT(result.err, HasSubstr("too much would go"));
}

TEST_F(DrctlTest, AnUnreachableAgentIsOneLineAndExitCodeFour) {
  primary_server_.reset();
  const Result result = Drctl({"volumes", "sync", "web"});
  EXPECT_EQ(result.code, 4);
  EXPECT_THAT(result.err, AllOf(HasSubstr("can't reach understudy-primary"), HasSubstr("check that")));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
}

TEST_F(DrctlTest, ACertificateWithAnotherRoleIsRefused) {
  WriteConfig("pairs: [" + Pair("local") + "]\n", "dr");
  const Result result = Drctl({"status"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("doesn't carry the role 'control'"));
}

TEST_F(DrctlTest, MistakesInTheConfigurationAreOneLine) {
  WriteConfig("pears: []\n");
  const Result result = Drctl({"status"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("control.yaml:2: pears: there is no such setting"));
  EXPECT_EQ(RunTool({"--config", "/nonexistent.yaml", "status"}).code, 2);
}

TEST_F(DrctlTest, ServeNeedsACluster) {
  const Result result = Drctl({"serve"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("clusters: {dr:"));
}

TEST(DrctlCommandLineTest, MistakesExitWithTwo) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {}, {"frob"}, {"volumes"}, {"status", "-o", "xml"}, {"status", "--frob"}}) {
    const Result result = RunTool(arguments);
    EXPECT_EQ(result.code, 2);
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err, Not(IsEmpty()));
  }
}

TEST(DrctlCommandLineTest, AnUnknownCommandIsNamed) {
  EXPECT_THAT(RunTool({"frob"}).err, HasSubstr("there is no command frob"));
  EXPECT_THAT(RunTool({"volumes", "frob"}).err, HasSubstr("there is no command frob"));
}

TEST(DrctlCommandLineTest, EveryHelpHasAnExample) {
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{{},
                                                                                       {"status"},
                                                                                       {"volumes"},
                                                                                       {"volumes", "list"},
                                                                                       {"volumes", "show"},
                                                                                       {"volumes", "sync"},
                                                                                       {"volumes", "pause"},
                                                                                       {"volumes", "resume"},
                                                                                       {"volumes", "promote"},
                                                                                       {"volumes", "demote"},
                                                                                       {"points"},
                                                                                       {"points", "list"},
                                                                                       {"points", "create"},
                                                                                       {"points", "forget"},
                                                                                       {"points", "rewind"},
                                                                                       {"points", "materialise"},
                                                                                       {"points", "remove"},
                                                                                       {"trash"},
                                                                                       {"trash", "list"},
                                                                                       {"trash", "restore"},
                                                                                       {"trash", "purge"},
                                                                                       {"guard"},
                                                                                       {"guard", "list"},
                                                                                       {"guard", "approve"},
                                                                                       {"events"},
                                                                                       {"events", "tail"},
                                                                                       {"serve"},
                                                                                       {"pki"},
                                                                                       {"pki", "init"},
                                                                                       {"pki", "issue"},
                                                                                       {"config"},
                                                                                       {"config", "check"},
                                                                                       {"config", "reference"}}) {
    std::vector<std::string> arguments = command;
    arguments.emplace_back("--help");
    const Result result = RunTool(arguments);
    EXPECT_EQ(result.code, 0);
    EXPECT_THAT(result.out, HasSubstr("Example:\n  drctl "));
  }
  EXPECT_THAT(RunTool({"--version"}).out, HasSubstr("drctl "));
}

TEST(DrctlCommandLineTest, PkiMakesWhatTheAgentsTake) {
  const tests::TempDir folder;
  const std::string pki = folder.File("pki");
  EXPECT_EQ(RunTool({"pki", "init", "--dir", pki}).code, 0);
  const Result issued = RunTool({"pki", "issue", "--dir", pki, "--role", "primary", "--role", "dr", "--host",
                                 "127.0.0.1", "--host", "nfs1.example.com", "-o", "json"});
  EXPECT_EQ(issued.code, 0) << issued.err;
  EXPECT_EQ(json::parse(issued.out).at("certificate"), pki + "/primary.crt");
  for (const net::Role role : {net::Role::kPrimary, net::Role::kDr}) {
    EXPECT_TRUE(net::CheckTlsFiles({pki + "/ca.crt", pki + "/primary.crt", pki + "/primary.key"}, role).ok());
  }
  EXPECT_EQ(RunTool({"pki", "issue", "--dir", pki, "--role", "king"}).code, 2);
  EXPECT_NE(RunTool({"pki", "init", "--dir", pki}).code, 0) << "an authority isn't replaced by accident";
}

TEST(DrctlCommandLineTest, ConfigCheckTellsTheKindFromTheName) {
  const tests::TempDir folder;
  const std::string file = folder.File("dr.yaml");
  std::ofstream(file) << "tls: {ca: a, cert: b, key: c}\nexports: [{path: b}]\n";
  EXPECT_EQ(RunTool({"config", "check", file}).code, 0);
  const Result as_primary = RunTool({"config", "check", "--kind", "primary", file});
  EXPECT_EQ(as_primary.code, 2);
  EXPECT_THAT(as_primary.err, HasSubstr("dr.yaml:1: peer: is missing"));
  std::ofstream(folder.File("x.yaml")) << "";
  EXPECT_EQ(RunTool({"config", "check", folder.File("x.yaml")}).code, 2);
  EXPECT_EQ(RunTool({"config", "check"}).code, 2);
  std::ofstream(folder.File("rules.yaml")) << "rules:\n- name: all\n  do: [ignore]\n";
  EXPECT_EQ(RunTool({"config", "check", "--rules", folder.File("rules.yaml")}).code, 0);
  std::ofstream(folder.File("rules.yaml")) << "rules:\n- name: all\n  do: [ignroe]\n";
  const Result bad_rules = RunTool({"config", "check", "--rules", folder.File("rules.yaml")});
  EXPECT_EQ(bad_rules.code, 2);
  EXPECT_THAT(bad_rules.err, HasSubstr("rules.yaml:3: rules[0].do[0]: 'ignroe'"));
}

}  // namespace
}  // namespace understudy::control
