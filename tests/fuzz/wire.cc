// Whatever bytes a peer sends as a message of the replication stream: it is refused, or it means the same after a trip
// through the domain types and back.
#include <cstddef>
#include <cstdint>

#include "core/base/status.h"
#include "core/wire/replication_codec.h"
#include "google/protobuf/stubs/logging.h"
#include "understudy/v1/replication.pb.h"

namespace understudy {
namespace {

void CheckCommit(const v1::Commit& message) {
  const absl::StatusOr<model::Commit> commit = wire::Parse(message);
  if (!commit.ok()) return;
  const v1::Commit again = wire::ToProto(*commit);
  const absl::StatusOr<model::Commit> second = wire::Parse(again);
  UNDERSTUDY_CHECK(second.ok());
  UNDERSTUDY_CHECK(wire::ToProto(*second).SerializeAsString() == again.SerializeAsString());
}

void ParseAnyOther(const v1::ReplicateRequest& request) {
  (void)wire::ParseEpoch(request);
  if (request.has_open()) (void)wire::Parse(request.open());
  if (request.has_stage_begin()) (void)wire::Parse(request.stage_begin());
  if (request.has_stage_data()) (void)wire::Parse(request.stage_data());
  if (request.has_stage_files()) (void)wire::Parse(request.stage_files());
  if (request.has_stage_resume()) (void)wire::Parse(request.stage_resume());
  if (request.has_stage_delta()) (void)wire::Parse(request.stage_delta());
  if (request.has_stage_end()) (void)wire::Parse(request.stage_end());
}

}  // namespace
}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // What it says of text that isn't UTF-8 would drown everything else.
  static const auto silenced = google::protobuf::SetLogHandler(nullptr);
  (void)silenced;
  understudy::v1::ReplicateRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  if (request.has_commit()) understudy::CheckCommit(request.commit());
  understudy::ParseAnyOther(request);
  return 0;
}
