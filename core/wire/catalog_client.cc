#include "core/wire/catalog_client.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/time/clock.h"
#include "core/net/grpc_status.h"
#include "core/net/limits.h"
#include "core/wire/catalog_codec.h"
#include "core/wire/limits.h"
#include "understudy/v1/catalog.grpc.pb.h"

namespace understudy::wire {

struct CatalogClient::Stub {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Catalog::Stub> catalog;
};

namespace {

static_assert(net::kMaxMessageBytes == kMaxMessageBytes);

void SetDeadline(grpc::ClientContext& context, absl::Duration deadline) {
  context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
}

// In a process that only calls, gRPC reads the sockets of a connection that is being made only while somebody waits. A
// call doesn't wait once one attempt has failed; so without this a handshake may never be finished within its time.
void GiveTimeToConnect(grpc::Channel& channel, const std::stop_token& stop) {
  constexpr absl::Duration kSlice = absl::Milliseconds(200);  // how soon a stop request is seen
  for (absl::Duration waited; waited < net::kConnectTimeout && !stop.stop_requested(); waited += kSlice) {
    if (channel.WaitForConnected(absl::ToChronoTime(absl::Now() + kSlice))) return;
  }
}

// What a server of our own would never send.
absl::Status BrokenAnswer(const absl::Status& status) {
  return absl::InternalError(fmt::format("the catalog's answer breaks the wire's bounds: {}", MessageOf(status)));
}

}  // namespace

CatalogClient::CatalogClient(std::shared_ptr<grpc::Channel> channel, CatalogClientOptions options)
    : stub_(std::make_unique<Stub>(Stub{channel, v1::Catalog::NewStub(channel)})), options_(std::move(options)) {}
CatalogClient::~CatalogClient() = default;

absl::Status CatalogClient::Put(const model::CatalogEntry& entry) {
  grpc::ClientContext context;
  SetDeadline(context, options_.deadline);
  v1::PutObjectRequest request;
  *request.mutable_entry() = ToProto(entry);
  v1::PutObjectResponse response;
  return Annotate(net::FromGrpcStatus(stub_->catalog->PutObject(&context, request, &response)),
                  fmt::format("put {} into the catalog", ToString(entry.key)));
}

absl::Status CatalogClient::Delete(const model::ObjectKey& key, const std::string& uid) {
  grpc::ClientContext context;
  SetDeadline(context, options_.deadline);
  v1::DeleteObjectRequest request;
  *request.mutable_key() = ToProto(key);
  request.set_uid(uid);
  v1::DeleteObjectResponse response;
  return Annotate(net::FromGrpcStatus(stub_->catalog->DeleteObject(&context, request, &response)),
                  fmt::format("delete {} from the catalog", ToString(key)));
}

absl::StatusOr<std::vector<model::CatalogEntry>> CatalogClient::List(model::ObjectKind kind) {
  std::vector<model::CatalogEntry> entries;
  v1::ListObjectsRequest request;
  request.set_kind(std::string(model::ToString(kind)));
  while (true) {
    grpc::ClientContext context;
    SetDeadline(context, options_.deadline);
    const std::stop_callback cancel(options_.stop, [&context] { context.TryCancel(); });
    v1::ListObjectsResponse response;
    const grpc::Status called = stub_->catalog->ListObjects(&context, request, &response);
    if (!called.ok()) return Annotate(net::FromGrpcStatus(called), "list the catalog");
    absl::StatusOr<CatalogPage> page = Parse(response);
    if (!page.ok()) return BrokenAnswer(page.status());
    for (model::CatalogEntry& entry : page->entries) {
      request.set_after_revision(entry.revision);
      entries.push_back(std::move(entry));
    }
    if (!page->more) return entries;
  }
}

absl::Status CatalogClient::Watch(uint64_t after_revision, std::stop_token stop,
                                  const std::function<void(std::optional<model::CatalogEntry>)>& on_entry) {
  grpc::ClientContext context;
  v1::WatchObjectsRequest request;
  request.set_after_revision(after_revision);
  GiveTimeToConnect(*stub_->channel, stop);
  const std::unique_ptr<grpc::ClientReader<v1::WatchObjectsResponse>> reader =
      stub_->catalog->WatchObjects(&context, request);
  const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
  v1::WatchObjectsResponse response;
  absl::Status broken;
  while (broken.ok() && reader->Read(&response)) {
    if (!response.has_entry()) {
      on_entry(std::nullopt);
      continue;
    }
    absl::StatusOr<model::CatalogEntry> entry = Parse(response.entry());
    if (entry.ok()) {
      on_entry(*std::move(entry));
    } else {
      broken = BrokenAnswer(entry.status());
      context.TryCancel();
    }
  }
  const grpc::Status finished = reader->Finish();
  if (!broken.ok()) return broken;
  if (stop.stop_requested()) return absl::OkStatus();
  // A server that ends the stream in good order is one that shuts down.
  if (finished.ok()) return absl::UnavailableError("the catalog's server ended the watch");
  return Annotate(net::FromGrpcStatus(finished), "watch the catalog");
}

}  // namespace understudy::wire
