#include "core/wire/replication_codec.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "core/model/path.h"
#include "core/wire/limits.h"
#include "core/wire/parse_parts.h"
#include "core/wire/status_fence.h"
#include "core/wire/status_path.h"
#include "core/wire/validate.h"
#include "understudy/v1/replica.pb.h"
#include "understudy/v1/replication.pb.h"

namespace understudy::wire {
namespace {

template <typename Message>
absl::StatusOr<Handshake> HandshakeFrom(const Message& message) {
  RETURN_IF_ERROR(ValidateText("the software version", message.software_version(), kMaxSoftwareVersionBytes));
  RETURN_IF_ERROR(ValidateText("the host name", message.host(), kMaxHostBytes));
  return Handshake{message.protocol_version(), message.software_version(), message.host()};
}

template <typename Message>
Message HandshakeTo(const Handshake& handshake) {
  Message message;
  message.set_protocol_version(handshake.protocol_version);
  message.set_software_version(handshake.software_version);
  message.set_host(handshake.host);
  return message;
}

template <typename Value, typename Message>
absl::StatusOr<Value> VolumeAndSequenceFrom(const Message& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  return Value{message.volume(), message.sequence()};
}

}  // namespace

absl::StatusOr<Handshake> Parse(const v1::HandshakeRequest& message) {
  return HandshakeFrom(message);
}
absl::StatusOr<Handshake> Parse(const v1::HandshakeResponse& message) {
  return HandshakeFrom(message);
}

absl::StatusOr<model::Epoch> ParseEpoch(const v1::ReplicateRequest& message) {
  // 0 means "whatever DR has", which is for openings alone: anything else has to say whose right it claims.
  if (message.epoch() == 0) return absl::InvalidArgumentError("a message of a stream without its epoch");
  if (message.epoch() > std::numeric_limits<int64_t>::max()) {
    return absl::InvalidArgumentError(fmt::format("epoch {} is too large", message.epoch()));
  }
  if (message.has_commit() && message.commit().epoch() != message.epoch()) {
    return absl::InvalidArgumentError(
        fmt::format("a commit of epoch {} in a message of epoch {}", message.commit().epoch(), message.epoch()));
  }
  return message.epoch();
}

absl::StatusOr<model::VolumeSpec> Parse(const v1::OpenVolume& message) {
  model::VolumeSpec spec{message.volume(), message.root(), message.epoch()};
  RETURN_IF_ERROR(ValidateVolumeSpec(spec));
  return spec;
}

absl::StatusOr<model::ReplicaState> Parse(const v1::ReplicaState& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(ValidateText("the replica id", message.replica_id(), kMaxReplicaIdBytes));
  RETURN_IF_ERROR(ValidateReplicaRoot(message.root()));
  RETURN_IF_ERROR(ValidateCommitId(message.commit_id()));
  if (message.published_sequence() > message.sequence()) {
    return absl::InvalidArgumentError(fmt::format("replica '{}' shows commit {} but has only {}", message.volume(),
                                                  message.published_sequence(), message.sequence()));
  }
  model::ReplicaState state;
  state.volume = message.volume();
  state.replica_id = message.replica_id();
  state.epoch = message.epoch();
  state.sequence = message.sequence();
  state.published_sequence = message.published_sequence();
  state.commit_id = message.commit_id();
  ASSIGN_OR_RETURN(state.state, model::ParseVolumeState(message.state()));
  state.root = message.root();
  state.complete = message.complete();
  state.captured_at_nanoseconds = message.captured_at_nanoseconds();
  state.state_since_nanoseconds = message.state_since_nanoseconds();
  state.midst_of_capture = message.complete() && message.midst_of_capture();
  if (state.midst_of_capture && message.whole_sequence() != 0) {
    state.newest_whole = {message.whole_sequence(), message.whole_captured_at_nanoseconds(),
                          model::ConsistencyOf(message.whole_consistency())};
  }
  state.consistency = model::ConsistencyOf(message.consistency());
  state.awaits_primary = message.awaits_primary();
  state.demoted_whole = message.awaits_primary() && message.demoted_whole();
  state.hooks_due = message.hooks_due();
  state.held = message.held();
  state.reprotected = message.reprotected();
  state.adopted_epoch = message.adopted_epoch();
  return state;
}

absl::StatusOr<model::ReplicaState> Parse(const v1::VolumeOpened& message) {
  if (static_cast<size_t>(message.leftovers_size()) > kMaxLeftovers) {
    return absl::InvalidArgumentError(
        fmt::format("{} leftovers: at most {} are allowed", message.leftovers_size(), kMaxLeftovers));
  }
  ASSIGN_OR_RETURN(model::ReplicaState state, Parse(message.replica()));
  for (const std::string& path : message.leftovers()) {
    RETURN_IF_ERROR(model::ValidatePath(path));
    state.leftovers.push_back(path);
  }
  return state;
}

absl::StatusOr<model::Metadata> Parse(const v1::Metadata& message) {
  model::Metadata metadata = MetadataFrom(message);
  RETURN_IF_ERROR(ValidateMetadata(metadata));
  return metadata;
}

absl::StatusOr<Acknowledgement> Parse(const v1::Acknowledgement& message) {
  return VolumeAndSequenceFrom<Acknowledgement>(message);
}

absl::StatusOr<Published> Parse(const v1::Published& message) {
  return VolumeAndSequenceFrom<Published>(message);
}

absl::StatusOr<Refusal> Parse(const v1::Refusal& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(model::ValidatePath(message.path()));
  const std::string text = ToText(message.message(), kMaxErrorMessageBytes);
  constexpr uint32_t kLastCode = static_cast<uint32_t>(absl::StatusCode::kUnauthenticated);
  const bool known = message.code() > 0 && message.code() <= kLastCode;
  const auto code = known ? static_cast<absl::StatusCode>(message.code()) : absl::StatusCode::kUnknown;
  absl::Status status(code, text);
  if (!message.path().empty()) status = WithPath(std::move(status), message.path());
  if (message.fenced_by_epoch() != 0) status = WithFence(std::move(status), message.fenced_by_epoch());
  return Refusal{message.volume(), std::move(status), message.path()};
}

absl::StatusOr<InventoryRequest> Parse(const v1::InventoryRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  return InventoryRequest{message.volume(), message.with_digests()};
}

absl::StatusOr<model::InventoryEntry> Parse(const v1::InventoryEntry& message) {
  model::InventoryEntry entry;
  entry.path = message.path();
  ASSIGN_OR_RETURN(entry.kind, KindFrom(message.kind()));
  entry.size = message.size();
  entry.device = message.device();
  entry.symlink_target = message.symlink_target();
  entry.metadata = MetadataFrom(message.metadata());
  entry.link_id = message.link_id();
  if (!message.digest().empty()) {
    ASSIGN_OR_RETURN(entry.digest, DigestFrom(message.digest()));
  }
  if (static_cast<size_t>(message.segments_size()) > kMaxInventorySegments) {
    return absl::InvalidArgumentError(fmt::format("{} segments of a file in an inventory", message.segments_size()));
  }
  entry.segments.reserve(static_cast<size_t>(message.segments_size()));
  for (const v1::SegmentDigest& segment : message.segments()) {
    ASSIGN_OR_RETURN(const model::Digest digest, DigestFrom(segment.digest()));
    entry.segments.push_back({segment.number(), digest});
  }
  RETURN_IF_ERROR(ValidateInventoryEntry(entry));
  return entry;
}

absl::StatusOr<SegmentPlace> Parse(const v1::SegmentSignatureRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  if (message.path().empty()) return absl::InvalidArgumentError("a segment of the volume's root");
  RETURN_IF_ERROR(model::ValidatePath(message.path()));
  if (message.number() > kMaxFileBytes / kMaxDeltaRangeBytes) {
    return absl::InvalidArgumentError(fmt::format("segment {} lies past the largest file", message.number()));
  }
  return SegmentPlace{message.volume(), message.path(), message.number()};
}

absl::StatusOr<std::string> Parse(const v1::SegmentSignatureResponse& message) {
  if (message.signature().empty() || message.signature().size() > kMaxSignatureBytes) {
    return absl::InvalidArgumentError(fmt::format("a signature of {} bytes", message.signature().size()));
  }
  return message.signature();
}

absl::StatusOr<std::vector<model::InventoryEntry>> Parse(const v1::InventoryResponse& message) {
  if (static_cast<size_t>(message.entries_size()) > kMaxPageEntries) {
    return absl::InvalidArgumentError(fmt::format("an inventory page of {} entries", message.entries_size()));
  }
  std::vector<model::InventoryEntry> entries;
  entries.reserve(static_cast<size_t>(message.entries_size()));
  for (const v1::InventoryEntry& entry : message.entries()) {
    ASSIGN_OR_RETURN(model::InventoryEntry parsed, Parse(entry));
    entries.push_back(std::move(parsed));
  }
  return entries;
}

absl::StatusOr<std::string> Parse(const v1::ListReplicasRequest& message) {
  if (!message.volume().empty()) RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  return message.volume();
}

absl::StatusOr<EntryPlace> Parse(const v1::StatEntryRequest& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  RETURN_IF_ERROR(model::ValidatePath(message.path()));
  return EntryPlace{message.volume(), message.path()};
}

absl::StatusOr<std::vector<model::ReplicaState>> Parse(const v1::ListReplicasResponse& message) {
  std::vector<model::ReplicaState> states;
  states.reserve(static_cast<size_t>(message.replicas_size()));
  for (const v1::ReplicaState& replica : message.replicas()) {
    ASSIGN_OR_RETURN(model::ReplicaState parsed, Parse(replica));
    states.push_back(std::move(parsed));
  }
  return states;
}

v1::HandshakeRequest ToRequest(const Handshake& handshake) {
  return HandshakeTo<v1::HandshakeRequest>(handshake);
}
v1::HandshakeResponse ToResponse(const Handshake& handshake) {
  return HandshakeTo<v1::HandshakeResponse>(handshake);
}

v1::OpenVolume ToProto(const model::VolumeSpec& spec) {
  v1::OpenVolume message;
  message.set_volume(spec.name);
  message.set_root(spec.replica_root);
  message.set_epoch(spec.epoch);
  return message;
}

v1::ReplicaState ToProto(const model::ReplicaState& state) {
  v1::ReplicaState message;
  message.set_volume(state.volume);
  message.set_replica_id(state.replica_id);
  message.set_epoch(state.epoch);
  message.set_sequence(state.sequence);
  message.set_published_sequence(state.published_sequence);
  message.set_commit_id(state.commit_id);
  message.set_state(std::string(model::ToString(state.state)));
  message.set_root(state.root);
  message.set_complete(state.complete);
  message.set_captured_at_nanoseconds(state.captured_at_nanoseconds);
  message.set_state_since_nanoseconds(state.state_since_nanoseconds);
  message.set_midst_of_capture(state.midst_of_capture);
  if (state.newest_whole) {
    message.set_whole_sequence(state.newest_whole->sequence);
    message.set_whole_captured_at_nanoseconds(state.newest_whole->captured_at_nanoseconds);
    message.set_whole_consistency(ConsistencyToProto(state.newest_whole->consistency));
  }
  message.set_consistency(ConsistencyToProto(state.consistency));
  message.set_awaits_primary(state.awaits_primary);
  message.set_demoted_whole(state.demoted_whole);
  message.set_hooks_due(state.hooks_due);
  message.set_held(state.held);
  message.set_reprotected(state.reprotected);
  message.set_adopted_epoch(state.adopted_epoch);
  return message;
}

v1::VolumeOpened ToOpened(const model::ReplicaState& state) {
  v1::VolumeOpened message;
  *message.mutable_replica() = ToProto(state);
  for (const std::string& path : state.leftovers) message.add_leftovers(path);
  return message;
}

v1::Metadata ToProto(const model::Metadata& metadata) {
  v1::Metadata message;
  message.set_mode(metadata.mode);
  message.set_uid(metadata.uid);
  message.set_gid(metadata.gid);
  message.set_mtime_seconds(metadata.mtime_seconds);
  message.set_mtime_nanoseconds(metadata.mtime_nanoseconds);
  for (const model::Xattr& xattr : metadata.xattrs) {
    v1::Xattr& added = *message.add_xattrs();
    added.set_name(xattr.name);
    added.set_value(xattr.value);
  }
  return message;
}

v1::Acknowledgement ToProto(const Acknowledgement& acknowledgement) {
  v1::Acknowledgement message;
  message.set_volume(acknowledgement.volume);
  message.set_sequence(acknowledgement.sequence);
  return message;
}

v1::Published ToProto(const Published& published) {
  v1::Published message;
  message.set_volume(published.volume);
  message.set_sequence(published.sequence);
  return message;
}

v1::Refusal ToProto(const Refusal& refusal) {
  v1::Refusal message;
  message.set_volume(refusal.volume);
  message.set_code(static_cast<uint32_t>(refusal.status.code()));
  message.set_message(ToText(MessageOf(refusal.status), kMaxErrorMessageBytes));
  message.set_path(refusal.path);
  message.set_fenced_by_epoch(FenceOf(refusal.status).value_or(0));
  return message;
}

v1::InventoryEntry ToProto(const model::InventoryEntry& entry) {
  v1::InventoryEntry message;
  message.set_path(entry.path);
  message.set_kind(KindToProto(entry.kind));
  message.set_size(entry.size);
  message.set_device(entry.device);
  message.set_symlink_target(entry.symlink_target);
  *message.mutable_metadata() = ToProto(entry.metadata);
  if (entry.digest.has_value()) message.set_digest(entry.digest->data(), entry.digest->size());
  message.set_link_id(entry.link_id);
  for (const model::SegmentDigest& segment : entry.segments) {
    v1::SegmentDigest& added = *message.add_segments();
    added.set_number(segment.number);
    added.set_digest(segment.digest.data(), segment.digest.size());
  }
  return message;
}

v1::SegmentSignatureRequest ToProto(const SegmentPlace& place) {
  v1::SegmentSignatureRequest message;
  message.set_volume(place.volume);
  message.set_path(place.path);
  message.set_number(place.number);
  return message;
}

absl::Status CheckVersions(const Handshake& ours, std::string_view self, const Handshake& theirs,
                           std::string_view peer) {
  if (ours.protocol_version == theirs.protocol_version) return absl::OkStatus();
  const bool we_are_older = ours.protocol_version < theirs.protocol_version;
  return absl::FailedPreconditionError(fmt::format(
      "{} (version {}) speaks protocol {}, {} (version {}) speaks protocol {}: upgrade {}", self, ours.software_version,
      ours.protocol_version, peer, theirs.software_version, theirs.protocol_version, we_are_older ? self : peer));
}

}  // namespace understudy::wire
