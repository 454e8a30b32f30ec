#include "core/wire/status_path.h"

#include "absl/strings/cord.h"

namespace understudy::wire {
namespace {
constexpr char kPathPayload[] = "understudy.v1/path";
}  // namespace

absl::Status WithPath(absl::Status status, std::string_view path) {
  status.SetPayload(kPathPayload, absl::Cord(absl::string_view(path.data(), path.size())));
  return status;
}

std::string PathOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kPathPayload);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace understudy::wire
