#include "tests/support/health_probe.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/net/grpc_status.h"

namespace understudy::tests {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);
constexpr char kServing = 1;

}  // namespace

// Debian has no generated code for the health service, so it is spoken by hand: field 1 of the request is the service,
// field 1 of the answer the status.
absl::StatusOr<bool> CheckHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  std::string request_bytes;
  if (!service.empty()) request_bytes = std::string("\x0a") + static_cast<char>(service.size()) + service;
  const grpc::Slice slice(request_bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kTimeout));
  grpc::CompletionQueue queue;
  grpc::Status status;
  grpc::GenericStub stub(channel);
  const auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool finished = false;
  if (!queue.Next(&tag, &finished) || !finished) return absl::InternalError("the call never ended");
  if (!status.ok()) return net::FromGrpcStatus(status);
  grpc::Slice answer;
  if (!response.DumpToSingleSlice(&answer).ok()) return absl::InternalError("the answer can't be read");
  return answer.size() == 2 && answer.begin()[1] == kServing;
}

}  // namespace understudy::tests
