#include "core/wire/status_fence.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace understudy::wire {
namespace {
constexpr char kFencePayload[] = "understudy.v1/fenced-by-epoch";
}  // namespace

absl::Status WithFence(absl::Status status, model::Epoch epoch) {
  status.SetPayload(kFencePayload, absl::Cord(absl::StrCat(epoch)));
  return status;
}

std::optional<model::Epoch> FenceOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kFencePayload);
  model::Epoch epoch = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &epoch)) return std::nullopt;
  return epoch;
}

}  // namespace understudy::wire
