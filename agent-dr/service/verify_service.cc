#include "agent-dr/service/verify_service.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <utility>

#include "agent-dr/verify/replica_verifier.h"
#include "core/base/log.h"
#include "core/net/grpc_status.h"
#include "core/wire/limits.h"
#include "core/wire/verify_codec.h"
#include "understudy/v1/verify.grpc.pb.h"

namespace understudy::dr {
namespace {

constexpr absl::Duration kUpdateInterval = absl::Seconds(1);
constexpr size_t kDifferencesAtOnce = 100;

// Sends differences in batches, at most kMaxListedDifferences, and the counts once a second.
class UpdateWriter {
 public:
  UpdateWriter(const grpc::ServerContext& context, grpc::ServerWriter<v1::VerifyUpdate>& writer)
      : context_(context), writer_(writer) {}

  absl::Status OnProgress(const model::VerifyCounts& counts) {
    if (context_.IsCancelled()) return HungUp();
    const absl::Duration now = Clock::System().Monotonic();
    if (now < next_ && update_.differences.size() < kDifferencesAtOnce) return absl::OkStatus();
    next_ = now + kUpdateInterval;
    return Send(counts, /*done=*/false);
  }
  void OnDifference(model::Difference difference) {
    if (listed_ == model::kMaxListedDifferences) return;
    ++listed_;
    update_.differences.push_back(std::move(difference));
  }
  absl::Status Send(const model::VerifyCounts& counts, bool done) {
    update_.counts = counts;
    update_.done = done;
    const bool sent = writer_.Write(wire::ToProto(update_));
    update_.differences.clear();
    return sent ? absl::OkStatus() : HungUp();
  }

 private:
  static absl::Status HungUp() { return absl::CancelledError("the caller hung up"); }

  const grpc::ServerContext& context_;
  grpc::ServerWriter<v1::VerifyUpdate>& writer_;
  wire::VerifyUpdate update_;
  size_t listed_ = 0;
  absl::Duration next_ = -absl::InfiniteDuration();
};

class VerifyService final : public v1::Verify::Service {
 public:
  VerifyService(CommitEngine& engine, DamageKeeper& damage) : engine_(engine), damage_(damage) {}

  grpc::Status VerifyReplica(grpc::ServerContext* context, const v1::VerifyReplicaRequest* request,
                             grpc::ServerWriter<v1::VerifyUpdate>* writer) override {
    const absl::StatusOr<wire::VerifyRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    return Bounded([&]() -> absl::Status {
      UpdateWriter updates(*context, *writer);
      ASSIGN_OR_RETURN(
          const model::VerifyCounts counts,
          dr::VerifyReplica(
              engine_, damage_, parsed->volume, parsed->depth,
              {.on_progress = [&](const model::VerifyCounts& so_far) { return updates.OnProgress(so_far); },
               .on_difference = [&](model::Difference difference) { updates.OnDifference(std::move(difference)); }}));
      spdlog::info("volume={} verified depth={} entries={} bytes={} differences={}", parsed->volume,
                   model::ToString(parsed->depth), counts.entries, counts.bytes_read, counts.differences);
      return updates.Send(counts, /*done=*/true);
    });
  }

  grpc::Status ListEntries(grpc::ServerContext* context, const v1::ListEntriesRequest* request,
                           grpc::ServerWriter<v1::ListEntriesResponse>* writer) override {
    absl::StatusOr<wire::ListEntriesRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return net::ToGrpcStatus(parsed.status());
    return Bounded([&]() -> absl::Status {
      v1::ListEntriesResponse page;
      size_t bytes = 0;
      absl::Duration sent_at = Clock::System().Monotonic();
      const auto flush = [&]() -> absl::Status {
        sent_at = Clock::System().Monotonic();
        bytes = 0;
        const bool sent = writer->Write(page);
        page.clear_entries();
        return sent ? absl::OkStatus() : absl::CancelledError("the caller hung up");
      };
      // Also without entries, so that the caller knows that there is somebody.
      const auto on_progress = [&]() -> absl::Status {
        if (context->IsCancelled()) return absl::CancelledError("the caller hung up");
        return Clock::System().Monotonic() < sent_at + kUpdateInterval ? absl::OkStatus() : flush();
      };
      const auto visit = [&](const model::ListedEntry& entry) -> absl::Status {
        v1::ListedEntry message = wire::ToProto(entry);
        bytes += message.ByteSizeLong();
        *page.add_entries() = std::move(message);
        const bool full =
            static_cast<size_t>(page.entries_size()) >= wire::kMaxPageEntries || bytes >= wire::kMaxPageBytes;
        return full ? flush() : on_progress();
      };
      RETURN_IF_ERROR(dr::ListEntries(engine_, {parsed->volume, parsed->with_digests, std::move(parsed->paths)}, visit,
                                      on_progress));
      return page.entries().empty() ? absl::OkStatus() : flush();
    });
  }

  grpc::Status ListDamage(grpc::ServerContext*, const v1::ListDamageRequest* request,
                          v1::ListDamageResponse* response) override {
    const absl::StatusOr<std::string> volume = wire::Parse(*request);
    if (!volume.ok()) return net::ToGrpcStatus(volume.status());
    for (const VolumeDamage& damaged : damage_.List()) {
      if (!volume->empty() && damaged.volume != *volume) continue;
      v1::DamagedReplica& replica = *response->add_replicas();
      replica.set_volume(damaged.volume);
      replica.set_files(damaged.files.size());
      for (const Damage& damage : damaged.files) {
        if (static_cast<size_t>(replica.first_size()) == wire::kMaxListedDamage) break;
        v1::DamagedFileStatus& file = *replica.add_first();
        file.set_path(damage.file.path);
        file.set_why(damage.why);
        file.set_found_nanoseconds(damage.found_nanoseconds);
      }
    }
    return grpc::Status::OK;
  }

 private:
  grpc::Status Bounded(const std::function<absl::Status()>& verify) {
    absl::Status status = absl::ResourceExhaustedError(
        fmt::format("{} verifications are under way already: wait for one of them", kMaxVerifications));
    if (++under_way_ <= kMaxVerifications) status = verify();
    --under_way_;
    return net::ToGrpcStatus(status);
  }

  CommitEngine& engine_;
  DamageKeeper& damage_;
  std::atomic<int> under_way_{0};
};

}  // namespace

std::unique_ptr<grpc::Service> MakeVerifyService(CommitEngine& engine, DamageKeeper& damage) {
  return std::make_unique<VerifyService>(engine, damage);
}

}  // namespace understudy::dr
