#include "agent-dr/service/catalog_service.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <utility>

#include "core/base/log.h"
#include "core/net/grpc_status.h"
#include "core/wire/catalog_codec.h"
#include "understudy/v1/catalog.grpc.pb.h"

namespace understudy::dr {
namespace {

// How soon a watch notices that its caller hung up while nothing changes.
constexpr absl::Duration kHangUpInterval = absl::Milliseconds(200);

// What a promoted volume holds back is the caller's to tell: it comes again and again.
grpc::Status Failed(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status) && !absl::IsFailedPrecondition(status))
    spdlog::error("catalog: {}", MessageOf(status));
  return net::ToGrpcStatus(status);
}

class CatalogService final : public v1::Catalog::Service {
 public:
  explicit CatalogService(CatalogStore& catalog) : catalog_(catalog) {}

  grpc::Status PutObject(grpc::ServerContext*, const v1::PutObjectRequest* request,
                         v1::PutObjectResponse* response) override {
    const absl::StatusOr<model::CatalogEntry> entry = wire::Parse(*request);
    if (!entry.ok()) return Failed(entry.status());
    const absl::StatusOr<uint64_t> revision = catalog_.Put(*entry);
    if (!revision.ok()) return Failed(revision.status());
    response->set_revision(*revision);
    return grpc::Status::OK;
  }

  grpc::Status DeleteObject(grpc::ServerContext*, const v1::DeleteObjectRequest* request,
                            v1::DeleteObjectResponse* response) override {
    const absl::StatusOr<wire::CatalogDelete> parsed = wire::Parse(*request);
    if (!parsed.ok()) return Failed(parsed.status());
    const absl::StatusOr<uint64_t> revision = catalog_.Delete(parsed->key, parsed->uid);
    if (!revision.ok()) return Failed(revision.status());
    response->set_revision(*revision);
    return grpc::Status::OK;
  }

  grpc::Status ListObjects(grpc::ServerContext*, const v1::ListObjectsRequest* request,
                           v1::ListObjectsResponse* response) override {
    const absl::StatusOr<wire::CatalogListRequest> parsed = wire::Parse(*request);
    if (!parsed.ok()) return Failed(parsed.status());
    CatalogStore::Filter filter{.kind = std::nullopt, .include_deleted = parsed->include_deleted};
    if (!parsed->kind.empty()) filter.kind = *model::ParseObjectKind(parsed->kind);
    const absl::StatusOr<CatalogStore::Page> page = catalog_.List(filter, parsed->after_revision);
    if (!page.ok()) return Failed(page.status());
    for (const model::CatalogEntry& entry : page->entries) *response->add_entries() = wire::ToProto(entry);
    response->set_more(page->more);
    return grpc::Status::OK;
  }

  grpc::Status WatchObjects(grpc::ServerContext* context, const v1::WatchObjectsRequest* request,
                            grpc::ServerWriter<v1::WatchObjectsResponse>* writer) override {
    if (++watches_ > kMaxCatalogWatches) {
      --watches_;
      return Failed(
          absl::ResourceExhaustedError(fmt::format("more than {} watches of the catalog", kMaxCatalogWatches)));
    }
    const absl::Status watched = Watch(*context, request->after_revision(), *writer);
    --watches_;
    return watched.ok() ? grpc::Status::OK : Failed(watched);
  }

 private:
  // Until the caller hangs up.
  absl::Status Watch(const grpc::ServerContext& context, uint64_t revision,
                     grpc::ServerWriter<v1::WatchObjectsResponse>& writer) {
    bool caught_up = false;
    while (!context.IsCancelled()) {
      ASSIGN_OR_RETURN(const CatalogStore::Page page,
                       catalog_.List({.kind = std::nullopt, .include_deleted = true}, revision));
      for (const model::CatalogEntry& entry : page.entries) {
        v1::WatchObjectsResponse response;
        *response.mutable_entry() = wire::ToProto(entry);
        if (!writer.Write(response)) return absl::OkStatus();
        revision = entry.revision;
      }
      if (page.more) continue;
      if (!std::exchange(caught_up, true) && !writer.Write(v1::WatchObjectsResponse())) return absl::OkStatus();
      while (!catalog_.WaitForChange(revision, kHangUpInterval) && !context.IsCancelled()) continue;
    }
    return absl::OkStatus();
  }

  CatalogStore& catalog_;
  std::atomic<int> watches_{0};
};

}  // namespace

std::unique_ptr<grpc::Service> MakeCatalogService(CatalogStore& catalog) {
  return std::make_unique<CatalogService>(catalog);
}

}  // namespace understudy::dr
