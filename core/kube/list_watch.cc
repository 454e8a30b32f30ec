#include "core/kube/list_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/base/wait.h"

namespace understudy::kube {
namespace {

using nlohmann::json;

// A watch that ends at once, again and again, isn't working even if each ends in good order.
constexpr absl::Duration kShortestGoodWatch = absl::Seconds(1);
constexpr absl::Duration kLongestPause = absl::Minutes(5);  // whatever a server asks for

std::string MetadataText(const json& object, const char* key) {
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return {};
  const auto value = metadata->find(key);
  return value != metadata->end() && value->is_string() ? value->get<std::string>() : std::string();
}

model::ObjectKey KeyOf(model::ObjectKind kind, const json& object) {
  return {.kind = kind, .namespace_name = MetadataText(object, "namespace"), .name = MetadataText(object, "name")};
}

}  // namespace

ListWatch::ListWatch(const Client& client, model::ObjectKind kind, ListWatchCallbacks callbacks,
                     ListWatchOptions options, Clock& clock)
    : client_(client),
      kind_(kind),
      resource_(ResourceOf(kind)),
      callbacks_(std::move(callbacks)),
      options_(options),
      clock_(clock),
      backoff_(options.retry_first, options.retry_longest) {}

void ListWatch::Run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    const bool listing = resource_version_.empty();
    const absl::Duration begin = clock_.Monotonic();
    const absl::Status status = listing ? Relist(stop) : WatchOn(stop);
    if (stop.stop_requested()) return;
    if (status.ok() && listing) continue;
    const bool doubted = callbacks_.is_doubted && callbacks_.is_doubted();
    if (status.ok() && clock_.Monotonic() - begin >= kShortestGoodWatch) {
      backoff_.Reset();
      if (!heard_ || doubted) resource_version_.clear();
      continue;
    }
    if (doubted) resource_version_.clear();
    WaitUnlessStopped(stop, std::min(PauseAfter(status), kLongestPause));
  }
}

absl::Duration ListWatch::PauseAfter(const absl::Status& status) {
  const absl::Duration pause = std::max(backoff_.Next(), RetryAfter(status).value_or(absl::ZeroDuration()));
  if (absl::IsOutOfRange(status)) {
    resource_version_.clear();
  } else if (absl::IsNotFound(status) && !resource_.group.empty()) {
    // 404 on a collection: no such kind here (its CRD isn't installed, or was removed). What every cluster has is
    // missing only where something else answers in its place.
    NoteState({.kind = WatchState::Kind::kNotServed, .error = status});
    resource_version_.clear();
    return options_.not_served_retry;
  } else if (!status.ok()) {
    NoteState({.kind = WatchState::Kind::kFailing, .error = status});
  }
  return pause;
}

absl::Status ListWatch::Relist(std::stop_token stop) {
  ASSIGN_OR_RETURN(ListResult list, client_.List(resource_, "", stop));
  std::set<model::ObjectKey> present;
  for (const json& item : list.items) present.insert(KeyOf(kind_, item));
  std::erase_if(known_, [&](const auto& entry) {
    if (present.contains(entry.first)) return false;
    Emit(model::EventType::kDeleted, entry.first, entry.second, /*concluded=*/true);
    return true;
  });
  for (json& item : list.items) Saw(model::EventType::kModified, std::move(item), /*listed=*/true);
  resource_version_ = list.resource_version;
  just_listed_ = true;
  callbacks_.on_synced(present);
  NoteState({.kind = WatchState::Kind::kSynced, .error = absl::OkStatus()});
  return absl::OkStatus();
}

absl::Status ListWatch::WatchOn(std::stop_token stop) {
  const auto synced = [this] { NoteState({.kind = WatchState::Kind::kSynced, .error = absl::OkStatus()}); };
  const bool is_short = std::exchange(just_listed_, false) && callbacks_.is_doubted;
  heard_ = is_short;
  return client_.Watch(
      resource_, "", resource_version_, stop, [this](WatchEvent event) { OnWatchEvent(std::move(event)); }, synced,
      is_short ? options_.doubt_retry : absl::InfiniteDuration());
}

void ListWatch::OnWatchEvent(WatchEvent event) {
  backoff_.Reset();
  heard_ = true;
  std::string version = MetadataText(event.object, "resourceVersion");
  if (event.type == "DELETED") {
    Saw(model::EventType::kDeleted, std::move(event.object), /*listed=*/false);
  } else if (event.type == "ADDED" || event.type == "MODIFIED") {
    Saw(model::EventType::kModified, std::move(event.object), /*listed=*/false);
  }
  if (!version.empty()) resource_version_ = std::move(version);
}

// Turns a state that was seen into events, by what was known of the object before.
void ListWatch::Saw(model::EventType type, json object, bool listed) {
  if (const auto metadata = object.find("metadata"); metadata != object.end()) metadata->erase("managedFields");
  const model::ObjectKey key = KeyOf(kind_, object);
  if (key.name.empty()) return;
  Known seen{.uid = MetadataText(object, "uid"),
             .resource_version = MetadataText(object, "resourceVersion"),
             .resource = object.dump(-1, ' ', false, json::error_handler_t::replace)};
  const auto known = known_.find(key);
  if (type == model::EventType::kDeleted) {
    if (known != known_.end()) known_.erase(known);
    Emit(model::EventType::kDeleted, key, seen);
    return;
  }
  if (known == known_.end()) {
    Emit(model::EventType::kAdded, key, seen);
  } else if (known->second.uid != seen.uid) {
    Emit(model::EventType::kDeleted, key, known->second, listed);
    Emit(model::EventType::kAdded, key, seen);
  } else if (known->second.resource_version != seen.resource_version) {
    Emit(model::EventType::kModified, key, seen);
  }
  known_.insert_or_assign(key, std::move(seen));
}

void ListWatch::Emit(model::EventType type, const model::ObjectKey& key, const Known& known, bool concluded) {
  // Made from what identifies the change, so that an event that is delivered again (after a restart) has the same id.
  callbacks_.on_event({.type = type,
                       .key = key,
                       .resource = known.resource,
                       .event_id = fmt::format("{}-{}-{}", model::ToString(type), known.uid, known.resource_version),
                       .observed_at = clock_.Now(),
                       .concluded = concluded});
}

void ListWatch::NoteState(const WatchState& state) {
  if (state_ && state_->kind == state.kind && state_->error == state.error) return;
  state_ = state;
  callbacks_.on_state(state);
}

}  // namespace understudy::kube
