#include "control/commands/verify_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/time/time.h"
#include "control/commands/agents_client.h"
#include "core/net/channel.h"
#include "core/net/grpc_status.h"
#include "core/net/stoppable_call.h"
#include "core/wire/verify_codec.h"
#include "understudy/v1/primary.grpc.pb.h"
#include "understudy/v1/verify.grpc.pb.h"

namespace understudy::control {
namespace {

constexpr char kPrimaryProgram[] = "understudy-primary";
constexpr char kDrProgram[] = "understudy-dr";

absl::StatusOr<VerifyOutcome> Follow(grpc::ClientContext& context, grpc::ClientReader<v1::VerifyUpdate>& reader,
                                     const char* program, const std::string& address,
                                     const std::function<void(const model::VerifyCounts&)>& on_progress) {
  VerifyOutcome outcome;
  bool done = false;
  absl::Status status;
  v1::VerifyUpdate message;
  while (status.ok() && reader.Read(&message)) {
    absl::StatusOr<wire::VerifyUpdate> update = wire::Parse(message);
    status = update.status();
    if (!status.ok()) break;
    outcome.counts = update->counts;
    done = update->done;
    for (model::Difference& difference : update->differences) {
      if (outcome.differences.size() == model::kMaxListedDifferences) break;
      outcome.differences.push_back(std::move(difference));
    }
    on_progress(outcome.counts);
  }
  if (!status.ok()) context.TryCancel();
  const grpc::Status finished = reader.Finish();
  RETURN_IF_ERROR(status);
  if (!finished.ok()) return net::CallError(finished, program, address);
  if (!done) return absl::InternalError("the verification ended without a result");
  std::sort(outcome.differences.begin(), outcome.differences.end(),
            [](const model::Difference& a, const model::Difference& b) {
              return std::pair(a.path, a.kind) < std::pair(b.path, b.kind);
            });
  return outcome;
}

}  // namespace

absl::StatusOr<VerifyOutcome> AskToVerify(const std::string& address, const net::TlsFiles& tls,
                                          const std::string& volume, model::VerifyDepth depth,
                                          const std::function<void(const model::VerifyCounts&)>& on_progress,
                                          std::stop_token stop) {
  const bool at_dr = depth == model::VerifyDepth::kExists || depth == model::VerifyDepth::kKept;
  ASSIGN_OR_RETURN(const auto channel,
                   net::MakeChannel({address, tls, net::Role::kControl, at_dr ? net::Role::kDr : net::Role::kPrimary}));
  net::StoppableCall call(stop);
  if (at_dr) {
    v1::VerifyReplicaRequest request;
    request.set_volume(volume);
    request.set_depth(std::string(model::ToString(depth)));
    const auto stub = v1::Verify::NewStub(channel);
    const auto reader = stub->VerifyReplica(&call.context(), request);
    return Follow(call.context(), *reader, kDrProgram, address, on_progress);
  }
  v1::VerifyVolumeRequest request;
  request.set_volume(volume);
  request.set_depth(std::string(model::ToString(depth)));
  const auto stub = v1::Primary::NewStub(channel);
  const auto reader = stub->VerifyVolume(&call.context(), request);
  return Follow(call.context(), *reader, kPrimaryProgram, address, on_progress);
}

absl::StatusOr<std::vector<DamagedReplicaView>> ListDamage(const std::string& dr_address, const net::TlsFiles& tls) {
  ASSIGN_OR_RETURN(const auto channel, net::MakeChannel({dr_address, tls, net::Role::kControl, net::Role::kDr}));
  const auto stub = v1::Verify::NewStub(channel);
  net::StoppableCall call({}, kQueryTimeout);
  v1::ListDamageResponse response;
  const grpc::Status status = stub->ListDamage(&call.context(), {}, &response);
  if (!status.ok()) return net::CallError(status, kDrProgram, dr_address);
  std::vector<DamagedReplicaView> replicas;
  for (const v1::DamagedReplica& replica : response.replicas()) {
    DamagedReplicaView& view = replicas.emplace_back();
    view.volume = replica.volume();
    view.files = replica.files();
    for (const v1::DamagedFileStatus& file : replica.first()) {
      view.first.push_back({file.path(), file.why(), absl::FromUnixNanos(file.found_nanoseconds())});
    }
  }
  return replicas;
}

}  // namespace understudy::control
