#include "agent-primary/intake/cluster_intake.h"

#include <fmt/format.h>

#include <array>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "core/base/log.h"
#include "nlohmann/json.hpp"

namespace understudy::primary {
namespace {

using nlohmann::json;

constexpr std::array kKinds = {model::ObjectKind::kPersistentVolume, model::ObjectKind::kPersistentVolumeClaim,
                               model::ObjectKind::kVolumeSnapshot, model::ObjectKind::kVolumeSnapshotContent};

// The namespace of spec.`reference` of a cluster-wide object; empty when it refers to nothing.
std::string ReferredNamespace(const std::string& resource, const char* reference) {
  const json object = json::parse(resource, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return {};
  const json::json_pointer pointer(fmt::format("/spec/{}/namespace", reference));
  if (!object.contains(pointer) || !object[pointer].is_string()) return {};
  return object[pointer].get<std::string>();
}

}  // namespace

std::vector<std::string> WatchedNamespaces(const std::vector<std::string>& configured, const char* environment) {
  if (!configured.empty() || environment == nullptr) return configured;
  std::vector<std::string> names;
  for (const absl::string_view part : absl::StrSplit(environment, ',')) {
    const std::string name(absl::StripAsciiWhitespace(part));
    if (!name.empty()) names.push_back(name);
  }
  return names;
}

bool BelongsTo(const std::set<std::string>& namespaces, const model::ObjectEvent& event) {
  if (namespaces.empty()) return true;
  switch (event.key.kind) {
    case model::ObjectKind::kPersistentVolumeClaim:
    case model::ObjectKind::kVolumeSnapshot:
      return namespaces.contains(event.key.namespace_name);
    case model::ObjectKind::kPersistentVolume:
      return event.type == model::EventType::kDeleted ||
             namespaces.contains(ReferredNamespace(event.resource, "claimRef"));
    case model::ObjectKind::kVolumeSnapshotContent:
      return event.type == model::EventType::kDeleted ||
             namespaces.contains(ReferredNamespace(event.resource, "volumeSnapshotRef"));
  }
  AbortOnBrokenInvariant("known ObjectKind", __FILE__, __LINE__);
}

ClusterIntake::ClusterIntake(const kube::Client& client, const std::vector<std::string>& namespaces, EventSink& sink,
                             kube::ListWatchOptions options, Doubts doubts)
    : client_(client),
      namespaces_(namespaces.begin(), namespaces.end()),
      sink_(sink),
      options_(options),
      doubts_(std::move(doubts)) {
  for (const model::ObjectKind kind : kKinds) status_[kind] = {.kind = kind};
}

void ClusterIntake::Run(std::stop_token stop) {
  std::vector<std::jthread> threads;
  for (const model::ObjectKind kind : kKinds) {
    threads.emplace_back([this, kind, stop] { Follow(kind, stop); });
  }
}

std::vector<KindStatus> ClusterIntake::Status() const {
  absl::MutexLock lock(&mutex_);
  std::vector<KindStatus> all;
  for (const auto& [kind, status] : status_) all.push_back(status);
  return all;
}

void ClusterIntake::Follow(model::ObjectKind kind, std::stop_token stop) {
  kube::ListWatchCallbacks callbacks{
      .on_event = [this](const model::ObjectEvent& event) { HandOn(event); },
      .on_synced = [this, kind](const std::set<model::ObjectKey>& keys) { sink_.OnSynced(kind, keys); },
      .on_state = [this, kind](const kube::WatchState& state) { NoteState(kind, state); },
  };
  if (doubts_) callbacks.is_doubted = [this, kind] { return doubts_(kind); };
  kube::ListWatch(client_, kind, std::move(callbacks), options_).Run(stop);
}

void ClusterIntake::HandOn(const model::ObjectEvent& event) {
  const bool belongs = BelongsTo(namespaces_, event);
  const bool related = event.key.kind == model::ObjectKind::kPersistentVolume ||
                       event.key.kind == model::ObjectKind::kPersistentVolumeClaim;
  if (namespaces_.empty() || !related) {
    if (belongs) sink_.OnEvent(event);
    return;
  }
  absl::MutexLock lock(&related_mutex_);
  if (event.key.kind == model::ObjectKind::kPersistentVolume) {
    if (unclaimed_.TakesVolume(event, belongs)) sink_.OnEvent(event);
    return;
  }
  if (!belongs) return;
  if (const std::optional<model::ObjectEvent> volume = unclaimed_.VolumeOfClaim(event)) sink_.OnEvent(*volume);
  sink_.OnEvent(event);
}

void ClusterIntake::NoteState(model::ObjectKind kind, const kube::WatchState& state) {
  absl::MutexLock lock(&mutex_);
  KindStatus& status = status_.at(kind);
  const std::string error(MessageOf(state.error));
  switch (state.kind) {
    case kube::WatchState::Kind::kSynced:
      status = {.kind = kind, .synced = true};
      spdlog::info("following {} of {}", ToString(kind), client_.access().server);
      return;
    case kube::WatchState::Kind::kFailing:
      status = {.kind = kind, .error = error};
      spdlog::warn("can't follow {}, will be tried again: {}", ToString(kind), error);
      return;
    case kube::WatchState::Kind::kNotServed:
      status = {.kind = kind, .served = false};
      spdlog::info("{} isn't known to {}: its CRD isn't installed; looked for again every minute", ToString(kind),
                   client_.access().server);
      return;
  }
}

}  // namespace understudy::primary
