// verify_codec.h: the messages of verify.proto, and the one about damaged files of replication.proto, to domain values
// and back.
//
// Parse() and ToProto() as in replication_codec.h. Pure; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/verify.h"
#include "core/model/volume.h"

namespace understudy::v1 {
class Damaged;
class ListDamageRequest;
class ListEntriesRequest;
class ListEntriesResponse;
class ListedEntry;
class VerifyReplicaRequest;
class VerifyUpdate;
class VerifyVolumeRequest;
}  // namespace understudy::v1

namespace understudy::wire {

struct VerifyRequest {
  model::VolumeName volume;
  model::VerifyDepth depth = model::VerifyDepth::kExists;
};

struct ListEntriesRequest {
  model::VolumeName volume;
  bool with_digests = false;
  std::vector<std::string> paths;
};

struct VerifyUpdate {
  model::VerifyCounts counts;
  std::vector<model::Difference> differences;
  bool done = false;
};

struct Damaged {
  model::VolumeName volume;
  model::DamagedFile file;
};

[[nodiscard]] absl::StatusOr<VerifyRequest> Parse(const v1::VerifyReplicaRequest& message);  // kExists or kKept
[[nodiscard]] absl::StatusOr<VerifyRequest> Parse(const v1::VerifyVolumeRequest& message);   // the other two
[[nodiscard]] absl::StatusOr<VerifyUpdate> Parse(const v1::VerifyUpdate& message);
[[nodiscard]] absl::StatusOr<ListEntriesRequest> Parse(const v1::ListEntriesRequest& message);
[[nodiscard]] absl::StatusOr<std::vector<model::ListedEntry>> Parse(const v1::ListEntriesResponse& message);
[[nodiscard]] absl::StatusOr<std::string> Parse(const v1::ListDamageRequest& message);  // the volume; empty: all
[[nodiscard]] absl::StatusOr<Damaged> Parse(const v1::Damaged& message);

[[nodiscard]] v1::VerifyUpdate ToProto(const VerifyUpdate& update);  // cuts overlong details
[[nodiscard]] v1::ListEntriesRequest ToProto(const ListEntriesRequest& request);
[[nodiscard]] v1::ListedEntry ToProto(const model::ListedEntry& entry);
// Without segments where there are too many of them for a message.
[[nodiscard]] v1::Damaged ToProto(const Damaged& damaged);

}  // namespace understudy::wire
