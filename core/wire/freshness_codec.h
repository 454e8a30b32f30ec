// freshness_codec.h: the messages about how fresh replicas are (freshness.proto) to values and back, as in
// replication_codec.h. Pure; thread-safe.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/confirmation.h"

namespace understudy::v1 {
class ConfirmUpToDateRequest;
class ListConfirmationsRequest;
class ListConfirmationsResponse;
}  // namespace understudy::v1

namespace understudy::wire {

struct ConfirmationPage {
  std::vector<model::Confirmation> confirmations;  // ascending by volume
  bool more = false;                               // then not empty
};

[[nodiscard]] absl::StatusOr<std::vector<model::Confirmation>> Parse(const v1::ConfirmUpToDateRequest& message);
[[nodiscard]] absl::StatusOr<std::string> Parse(const v1::ListConfirmationsRequest& message);  // after this volume
[[nodiscard]] absl::StatusOr<ConfirmationPage> Parse(const v1::ListConfirmationsResponse& message);

// At most kMaxPageEntries.
[[nodiscard]] v1::ConfirmUpToDateRequest ToProto(std::span<const model::Confirmation> confirmations);
[[nodiscard]] v1::ListConfirmationsResponse ToProto(const ConfirmationPage& page);

}  // namespace understudy::wire
