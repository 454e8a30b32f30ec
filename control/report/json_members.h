// json_members.h: how the reports of this folder are written as JSON and read back. Only for its sources.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

using Json = nlohmann::ordered_json;

[[nodiscard]] Json TextOrNull(const std::string& text);
// RFC 3339, UTC.
[[nodiscard]] Json TimeOrNull(const std::optional<absl::Time>& time);
template <class Value>
[[nodiscard]] Json ValueOrNull(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}
[[nodiscard]] Json SecondsOrNull(const std::optional<absl::Duration>& duration);
// The texts among the elements.
[[nodiscard]] std::vector<std::string> TextsOf(const Json& array);

// Reads members of one JSON object, which must outlive it; the first that doesn't fit is remembered.
class JsonMembers {
 public:
  explicit JsonMembers(const Json& object) : object_(object) {}

  // Empty when it is null or isn't there.
  std::string Text(const char* key);
  bool Truth(const char* key);
  uint64_t Number(const char* key);
  double Seconds(const char* key);
  absl::Time Time(const char* key);
  std::optional<absl::Time> OptionalTime(const char* key);
  // An empty one when it isn't there.
  const Json& Array(const char* key);
  const Json& Object(const char* key);
  // Null when it isn't there.
  const Json& Any(const char* key);
  // `value` when it was read, else its default.
  template <class Value>
  Value Known(const absl::StatusOr<Value>& value) {
    if (value.ok()) return *value;
    status_.Update(value.status());
    return Value{};
  }
  [[nodiscard]] const absl::Status& status() const { return status_; }

 private:
  [[nodiscard]] const Json* Find(const char* key) const;
  void Unfit(const char* key);

  const Json& object_;
  absl::Status status_;
};

}  // namespace understudy::control
