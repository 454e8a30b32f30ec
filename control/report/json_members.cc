#include "control/report/json_members.h"

#include <fmt/format.h>

#include "core/base/time_text.h"

namespace understudy::control {

Json TextOrNull(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json TimeOrNull(const std::optional<absl::Time>& time) {
  return time ? Json(Rfc3339(*time)) : Json(nullptr);
}

Json SecondsOrNull(const std::optional<absl::Duration>& duration) {
  return duration ? Json(absl::ToDoubleSeconds(*duration)) : Json(nullptr);
}

std::vector<std::string> TextsOf(const Json& array) {
  std::vector<std::string> texts;
  for (const Json& element : array) {
    if (element.is_string()) texts.push_back(element.get<std::string>());
  }
  return texts;
}

std::string JsonMembers::Text(const char* key) {
  const Json* const value = Find(key);
  if (value == nullptr || value->is_null()) return "";
  if (value->is_string()) return value->get<std::string>();
  return Unfit(key), "";
}

bool JsonMembers::Truth(const char* key) {
  const Json* const value = Find(key);
  if (value != nullptr && value->is_boolean()) return value->get<bool>();
  return Unfit(key), false;
}

uint64_t JsonMembers::Number(const char* key) {
  const Json* const value = Find(key);
  if (value != nullptr && value->is_number_unsigned()) return value->get<uint64_t>();
  return Unfit(key), 0;
}

double JsonMembers::Seconds(const char* key) {
  const Json* const value = Find(key);
  if (value != nullptr && value->is_number()) return value->get<double>();
  return Unfit(key), 0;
}

absl::Time JsonMembers::Time(const char* key) {
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, Text(key), &time, &error)) return time;
  return Unfit(key), absl::UnixEpoch();
}

std::optional<absl::Time> JsonMembers::OptionalTime(const char* key) {
  const Json* const value = Find(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  return Time(key);
}

const Json& JsonMembers::Array(const char* key) {
  static const Json kEmpty = Json::array();
  const Json* const value = Find(key);
  if (value != nullptr && value->is_array()) return *value;
  return Unfit(key), kEmpty;
}

const Json& JsonMembers::Object(const char* key) {
  static const Json kEmpty = Json::object();
  const Json* const value = Find(key);
  if (value != nullptr && value->is_object()) return *value;
  return Unfit(key), kEmpty;
}

const Json& JsonMembers::Any(const char* key) {
  static const Json kNull;
  const Json* const value = Find(key);
  return value != nullptr ? *value : kNull;
}

const Json* JsonMembers::Find(const char* key) const {
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(key);
  return found == object_.end() ? nullptr : &*found;
}

void JsonMembers::Unfit(const char* key) {
  status_.Update(absl::InvalidArgumentError(fmt::format("a report's member '{}' isn't as it should be", key)));
}

}  // namespace understudy::control
