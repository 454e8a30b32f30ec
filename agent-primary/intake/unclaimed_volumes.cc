#include "agent-primary/intake/unclaimed_volumes.h"

#include <utility>

#include "nlohmann/json.hpp"

namespace understudy::primary {
namespace {

using nlohmann::json;

const json& SpecAt(const json& object, const char* key) {
  static const json kNothing;
  if (!object.is_object() || !object.contains("spec") || !object["spec"].is_object()) return kNothing;
  const auto value = object["spec"].find(key);
  return value == object["spec"].end() ? kNothing : *value;
}

json Parsed(const model::ObjectEvent& event) {
  return json::parse(event.resource, nullptr, /*allow_exceptions=*/false);
}

}  // namespace

bool UnclaimedVolumes::TakesVolume(const model::ObjectEvent& event, bool taken) {
  unclaimed_.erase(event.key.name);
  if (taken || event.type == model::EventType::kDeleted) return true;
  if (!SpecAt(Parsed(event), "claimRef").is_null()) return false;  // it is another namespace's
  if (named_.contains(event.key.name)) return true;
  unclaimed_[event.key.name] = event;
  return false;
}

std::optional<model::ObjectEvent> UnclaimedVolumes::VolumeOfClaim(const model::ObjectEvent& event) {
  if (const auto known = volume_of_.find(event.key); known != volume_of_.end()) {
    const auto named = named_.find(known->second);
    named->second.erase(event.key);
    if (named->second.empty()) named_.erase(named);
    volume_of_.erase(known);
  }
  if (event.type == model::EventType::kDeleted) return std::nullopt;
  const json claim = Parsed(event);
  const json& name = SpecAt(claim, "volumeName");
  if (!name.is_string() || name.get_ref<const std::string&>().empty()) return std::nullopt;
  const auto volume = name.get<std::string>();
  named_[volume].insert(event.key);
  volume_of_[event.key] = volume;
  const auto waiting = unclaimed_.find(volume);
  if (waiting == unclaimed_.end()) return std::nullopt;
  model::ObjectEvent found = std::move(waiting->second);
  unclaimed_.erase(waiting);
  return found;
}

}  // namespace understudy::primary
