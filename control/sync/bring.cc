#include "control/sync/bring.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/cord.h"
#include "control/apply/diff.h"
#include "control/apply/ownership.h"
#include "control/sync/release.h"
#include "core/base/backoff.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::FieldAt;
using kube::IsTerminating;
using kube::TextAt;
using kube::UidOf;
using model::ObjectKey;
using model::ObjectKind;
using nlohmann::json;

// Nothing is to be done for an object, for the reason in the message. Told apart from a failure by this.
constexpr const char* kSkipPayload = "understudy.io/skip";

absl::Status Skip(std::string_view why) {
  absl::Status status = absl::FailedPreconditionError(absl::string_view(why.data(), why.size()));
  status.SetPayload(kSkipPayload, absl::Cord());
  return status;
}

bool IsSkip(const absl::Status& status) {
  return status.GetPayload(kSkipPayload).has_value();
}

absl::Status SkipDeleted(const SiteNames& names) {
  absl::Status status = absl::NotFoundError(fmt::format("was deleted at {} meanwhile", names.source));
  status.SetPayload(kSkipPayload, absl::Cord());
  return status;
}

bool IsSkippedAsDeleted(const absl::Status& status) {
  return IsSkip(status) && absl::IsNotFound(status);
}

// The volume or content that a claim or snapshot is bound to. A skip: it isn't (yet), or is on its way out.
absl::StatusOr<ObjectKey> BoundTo(const ObjectKey& key, const json& object, const SiteNames& names) {
  if (IsTerminating(object)) return Skip(fmt::format("is being deleted at {}", names.source));
  if (key.kind == ObjectKind::kPersistentVolumeClaim) {
    const std::string name = TextAt(object, {"spec", "volumeName"});
    if (name.empty()) return Skip("isn't bound to a PersistentVolume");
    return ObjectKey{ObjectKind::kPersistentVolume, "", name};
  }
  const json& status = FieldAt(object, {"status"});
  const std::string name = TextAt(status, {"boundVolumeSnapshotContentName"});
  if (FieldAt(status, {"readyToUse"}) != true || name.empty()) return Skip("isn't ready to use");
  return ObjectKey{ObjectKind::kVolumeSnapshotContent, "", name};
}

// Whether the volume or content says itself that it belongs to `owner`.
bool BelongsTo(const json& bound, const ObjectKey& owner) {
  const char* const field = owner.kind == ObjectKind::kPersistentVolumeClaim ? "claimRef" : "volumeSnapshotRef";
  const json& reference = FieldAt(bound, {"spec", field});
  return TextAt(reference, {"namespace"}) == owner.namespace_name && TextAt(reference, {"name"}) == owner.name;
}

bool MayHold(const PairAgents& pair, const std::string& server) {
  const std::vector<std::string>& names = pair.server_names();
  return names.empty() || std::find(names.begin(), names.end(), server) != names.end();
}

}  // namespace

std::vector<ObjectResult> Bringer::Bring(const ObjectKey& key, std::stop_token stop) {
  const absl::Duration began = parts_.clock.Monotonic();
  std::vector<ObjectResult> results = key.kind == ObjectKind::kPersistentVolumeClaim
                                          ? BringClaim(key, std::move(stop))
                                          : BringSnapshot(key, std::move(stop));
  for (ObjectResult& result : results) result.took = parts_.clock.Monotonic() - began;
  return results;
}

std::vector<ObjectResult> Bringer::BringClaim(const ObjectKey& key, std::stop_token stop) {
  ObjectResult claim{.key = key};
  const absl::StatusOr<ObjectKey> volume_key = BoundTo(key, primary_.objects.at(key), names_);
  if (!volume_key.ok()) return Fail(claim, volume_key.status()), std::vector{claim};
  ObjectResult volume{.key = *volume_key, .volume = volume_key->name};
  claim.volume = volume_key->name;
  const auto found = primary_.objects.find(*volume_key);
  if (found == primary_.objects.end()) {
    Fail(claim,
         absl::NotFoundError(fmt::format("{} isn't in {}'s list", ToString(*volume_key), names_.source_cluster)));
    return {claim};
  }
  if (!BelongsTo(found->second, key)) {
    Fail(claim, Skip(fmt::format("{} is bound to another claim", ToString(*volume_key))));
    return {claim};
  }
  const std::optional<kube::NfsSource> source = kube::NfsSourceOf(found->second);
  if (!source) {
    Fail(volume, Skip("isn't on NFS"));
    Fail(claim, Skip("isn't on NFS"));
    return {volume, claim};
  }
  BringWithData(*source, volume, claim, std::move(stop));
  return {volume, claim};
}

std::vector<ObjectResult> Bringer::BringSnapshot(const ObjectKey& key, std::stop_token stop) {
  ObjectResult snapshot{.key = key};
  const absl::StatusOr<ObjectKey> content_key = BoundTo(key, primary_.objects.at(key), names_);
  if (!content_key.ok()) return Fail(snapshot, content_key.status()), std::vector{snapshot};
  const auto found = primary_.objects.find(*content_key);
  if (found == primary_.objects.end()) {
    Fail(snapshot,
         absl::NotFoundError(fmt::format("{} isn't in {}'s list", ToString(*content_key), names_.source_cluster)));
    return {snapshot};
  }
  if (!BelongsTo(found->second, key)) {
    Fail(snapshot, Skip(fmt::format("{} belongs to another snapshot", ToString(*content_key))));
    return {snapshot};
  }
  ObjectResult content{.key = *content_key, .volume = content_key->name};
  snapshot.volume = content_key->name;
  // Its archive lies in a folder of its own, which is replicated as a volume is.
  const std::optional<kube::NfsSnapshot> archive = kube::NfsSnapshotOf(found->second);
  if (!archive) {
    Fail(content, Skip("has no snapshotHandle that names an archive on NFS"));
    Fail(snapshot, Skip(fmt::format("waits for {}", ToString(*content_key))));
    return {content, snapshot};
  }
  BringWithData(archive->folder, content, snapshot, std::move(stop));
  return {content, snapshot};
}

void Bringer::BringWithData(const kube::NfsSource& source, ObjectResult& bound, ObjectResult& owner,
                            std::stop_token stop) {
  const auto fail = [&](const absl::Status& status) {
    Fail(bound, status);
    Fail(owner, status);
  };
  if (const absl::Status standby = CheckNotLive(bound, source); !standby.ok()) {
    owner.pair = bound.pair;
    return fail(standby);
  }
  const absl::StatusOr<Place> place = PlaceOf(bound.key, source);
  if (!place.ok()) return fail(place.status());
  bound.pair = owner.pair = place->pair->name();
  bool data_is_new = options_.dry_run && place->replica_path.empty();
  if (!options_.dry_run) {
    const absl::StatusOr<ProtectedVolume> synced = place->pair->Sync(bound.volume, options_.volume_timeout, stop);
    if (!synced.ok()) return fail(synced.status());
    data_is_new = place->sequence != synced->sequence;
    bound.sequence = owner.sequence = synced->sequence;
  }
  BringObjects(*place, data_is_new, bound, owner, std::move(stop));
}

// Before anything is asked of the primary agent: it would give up what stands in the way of an object made anew.
absl::Status Bringer::CheckNotLive(ObjectResult& bound, const kube::NfsSource& source) const {
  for (const PairAgents* const pair : parts_.pairs) {
    if (!MayHold(*pair, source.server)) continue;
    const std::string why = live_.WhyLeftAlone(pair->name(), bound.volume);
    if (why.empty()) continue;
    bound.pair = pair->name();
    return Skip(why);
  }
  return absl::OkStatus();
}

absl::StatusOr<ProtectedVolume> Bringer::Protect(PairAgents& pair, const ObjectKey& key,
                                                 const kube::NfsSource& source) const {
  ASSIGN_OR_RETURN(const std::vector<OwedRelease> owed, parts_.owed.Owed());
  for (const OwedRelease& release : owed) {
    const bool in_the_way = release.pair == pair.name() && release.volume == key.name && release.source != source;
    if (in_the_way) RETURN_IF_ERROR(GiveUpEarlier(pair, release));
  }
  absl::StatusOr<ProtectedVolume> known = pair.Protect(key.name, source);
  if (!absl::IsAlreadyExists(known.status())) return known;
  const auto entries = pair.catalog().List(key.kind);
  if (!entries.ok()) return known;
  for (const model::CatalogEntry& entry : *entries) {
    const std::optional<kube::NfsSource> earlier = DataSourceOf(entry);
    if (entry.key != key || entry.uid == UidOf(primary_.objects.at(key)) || !earlier || *earlier == source) continue;
    spdlog::info("{} was made anew, with its data elsewhere: the earlier one at {}:{} goes first", ToString(key),
                 earlier->server, Printable(earlier->path));
    RETURN_IF_ERROR(GiveUpEarlier(
        pair, {.key = key, .source_uid = entry.uid, .pair = pair.name(), .volume = key.name, .source = *earlier}));
    return pair.Protect(key.name, source);
  }
  return known;
}

absl::Status Bringer::GiveUpEarlier(PairAgents& pair, const OwedRelease& release) const {
  ASSIGN_OR_RETURN(const ReleaseResult released, GiveUp(release, pair, parts_.owed, names_));
  if (released.settled) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("waits for the earlier one at {}:{} to go: {}", release.source.server,
                                            Printable(release.source.path), released.what));
}

bool Bringer::IsLeftOver(const PairAgents& pair, const std::string& volume) const {
  return parts_.direction == Direction::kToPrimary && !live_.carried.contains({pair.name(), volume});
}

absl::StatusOr<Bringer::Place> Bringer::PlaceOf(const ObjectKey& key, const kube::NfsSource& source) const {
  const std::string& volume = key.name;
  for (PairAgents* const pair : parts_.pairs) {
    if (!MayHold(*pair, source.server)) continue;
    Place place{.pair = pair, .volume = volume, .source = source};
    if (options_.dry_run) {
      ASSIGN_OR_RETURN(const std::optional<ProtectedVolume> known, pair->Find(volume));
      const bool named = !pair->server_names().empty() || parts_.pairs.size() == 1;
      if (!known && !named) continue;
      if (known) place.replica_path = known->replica_path;
      return place;
    }
    const absl::StatusOr<ProtectedVolume> known = Protect(*pair, key, source);
    if (absl::IsNotFound(known.status()) && parts_.pairs.size() > 1) continue;
    if (absl::IsNotFound(known.status()) && IsLeftOver(*pair, volume)) {
      return Skip(fmt::format("its data isn't at {} (it may be in the trash there): {}", names_.source,
                              MessageOf(known.status())));
    }
    RETURN_IF_ERROR(known.status());
    place.replica_path = known->replica_path;
    place.sequence = known->sequence;
    return place;
  }
  return Skip(fmt::format("no pair holds {}:{}", source.server, Printable(source.path)));
}

void Bringer::BringObjects(const Place& place, bool data_is_new, ObjectResult& bound, ObjectResult& owner,
                           std::stop_token stop) {
  if (options_.dry_run && place.replica_path.empty()) {
    bound.outcome = owner.outcome = Outcome::kWouldSync;
    bound.reason = "isn't replicated yet: a run begins it";
    return;
  }
  const absl::StatusOr<Outcome> first = BringObject(bound.key, place, stop);
  if (!first.ok()) {
    Fail(bound, first.status());
    if (IsSkippedAsDeleted(first.status())) GiveUpData(place, bound);
    const std::string why = fmt::format("waits for {}", ToString(bound.key));
    Fail(owner, IsSkip(first.status()) ? Skip(why) : absl::AbortedError(why));
    return;
  }
  bound.outcome = *first == Outcome::kUnchanged && data_is_new ? Outcome::kSynced : *first;
  const absl::StatusOr<Outcome> second = BringObject(owner.key, place, std::move(stop));
  if (!second.ok()) return Fail(owner, second.status());
  owner.outcome = *second;
}

// The object as it is now: what the list said may be hours old, and what was deleted since mustn't come back.
absl::Status Bringer::Refresh(const ObjectKey& key, json& object) const {
  const std::string listed = UidOf(primary_.objects.at(key));
  absl::StatusOr<json> present = parts_.primary.Get(key);
  if (absl::IsNotFound(present.status())) return SkipDeleted(names_);
  RETURN_IF_ERROR(present.status());
  if (UidOf(*present) != listed)
    return Skip(fmt::format("was made anew at {} meanwhile: the next run brings it", names_.source));
  if (IsTerminating(*present)) return Skip(fmt::format("is being deleted at {}", names_.source));
  object = *std::move(present);
  if (object["metadata"].is_object()) object["metadata"].erase("managedFields");
  return absl::OkStatus();
}

absl::StatusOr<Outcome> Bringer::BringObject(const ObjectKey& key, const Place& place, std::stop_token stop) const {
  json object;
  RETURN_IF_ERROR(Refresh(key, object));
  model::CatalogEntry entry{.key = key,
                            .uid = UidOf(object),
                            .resource = object.dump(),
                            .volume = place.volume,
                            .replica_path = place.replica_path,
                            .server = place.source.server,
                            .observed_at = parts_.clock.Now()};
  TransformOptions transform = parts_.transform;
  transform.pair = place.pair->name();
  transform.dr_server = place.pair->dr_server();
  const absl::StatusOr<json> manifest = Transform(entry, transform);
  if (absl::IsFailedPrecondition(manifest.status())) return Skip(MessageOf(manifest.status()));
  RETURN_IF_ERROR(manifest.status());
  const auto at_dr = dr_.objects.find(key);
  const bool is_so = at_dr != dr_.objects.end() && (Holds(at_dr->second, *manifest) ||
                                                    (!IsOurs(at_dr->second) && IsOriginOf(at_dr->second, *manifest)));
  if (options_.dry_run) return is_so ? Outcome::kUnchanged : Outcome::kWouldSync;
  const absl::Status put = place.pair->catalog().Put(entry);
  if (absl::IsFailedPrecondition(put)) return Skip(MessageOf(put));
  RETURN_IF_ERROR(put);
  if (key.kind == ObjectKind::kVolumeSnapshotContent) RETURN_IF_ERROR(place.pair->snapshots().Check(entry));
  RETURN_IF_ERROR(Apply(*manifest, std::move(stop)));
  return is_so ? Outcome::kUnchanged : Outcome::kSynced;
}

absl::Status Bringer::Apply(const json& manifest, std::stop_token stop) const {
  Backoff backoff(options_.retry_first, options_.retry_longest);
  absl::Status applied;
  for (int i = 0; i < options_.attempts; ++i) {
    applied = parts_.applier.Apply(manifest);
    if (!PassesSoon(applied) || !WaitUnlessStopped(stop, backoff.Next())) break;
  }
  return applied;
}

void Bringer::GiveUpData(const Place& place, ObjectResult& bound) const {
  const auto at_dr = dr_.objects.find(bound.key);
  // Else the next run finds it there alone, and cleans it up.
  if (options_.dry_run || (at_dr != dr_.objects.end() && !MadeFrom(at_dr->second).empty())) return;
  const OwedRelease release{.key = bound.key,
                            .source_uid = UidOf(primary_.objects.at(bound.key)),
                            .pair = place.pair->name(),
                            .volume = place.volume,
                            .source = place.source};
  const absl::StatusOr<ReleaseResult> released = GiveUp(release, *place.pair, parts_.owed, names_);
  bound.reason += "; " + (released.ok() ? released->what : std::string(MessageOf(released.status())));
}

void Bringer::Fail(ObjectResult& result, const absl::Status& status) {
  result.outcome = IsSkip(status) ? Outcome::kSkipped : Outcome::kFailed;
  result.reason = std::string(MessageOf(status));
  if (!IsSkip(status) && ExitCodeFor(status) == ExitCode::kUnreachable) unreachable_ = true;
}

}  // namespace understudy::control
