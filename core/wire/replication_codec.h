// replication_codec.h: the messages of replication.proto, replica.proto and volume.proto to domain values and back.
//
// Parse() takes a message from a peer and gives a value that keeps to every bound and shape of limits.h and validate.h,
// or INVALID_ARGUMENT with what is wrong: it is the one validation of its message. ToProto() turns a value of our own
// into its message and checks nothing. Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/model/volume.h"
#include "core/wire/messages.h"

namespace understudy::v1 {
class Acknowledgement;
class Commit;
class HandshakeRequest;
class HandshakeResponse;
class InventoryEntry;
class InventoryRequest;
class InventoryResponse;
class ListReplicasRequest;
class ListReplicasResponse;
class Metadata;
class OpenVolume;
class Published;
class Refusal;
class ReplicaState;
class ReplicateRequest;
class SegmentSignatureRequest;
class SegmentSignatureResponse;
class StageBegin;
class StageData;
class StageFiles;
class StageDelta;
class StageEnd;
class StageResume;
class StageResumed;
class StatEntryRequest;
class VolumeOpened;
}  // namespace understudy::v1

namespace understudy::wire {

[[nodiscard]] absl::StatusOr<Handshake> Parse(const v1::HandshakeRequest& message);
[[nodiscard]] absl::StatusOr<Handshake> Parse(const v1::HandshakeResponse& message);
// The fencing token of any message but `open`.
[[nodiscard]] absl::StatusOr<model::Epoch> ParseEpoch(const v1::ReplicateRequest& message);
[[nodiscard]] absl::StatusOr<model::VolumeSpec> Parse(const v1::OpenVolume& message);
[[nodiscard]] absl::StatusOr<model::ReplicaState> Parse(const v1::ReplicaState& message);
[[nodiscard]] absl::StatusOr<model::ReplicaState> Parse(const v1::VolumeOpened& message);
[[nodiscard]] absl::StatusOr<StageBegin> Parse(const v1::StageBegin& message);
[[nodiscard]] absl::StatusOr<StageBegin> Parse(const v1::StageResume& message);
[[nodiscard]] absl::StatusOr<StageResumed> Parse(const v1::StageResumed& message);
[[nodiscard]] absl::StatusOr<StageData> Parse(const v1::StageData& message);  // `message` must outlive the result
[[nodiscard]] absl::StatusOr<StageFiles> Parse(const v1::StageFiles& message);
[[nodiscard]] absl::StatusOr<StageDelta> Parse(const v1::StageDelta& message);
[[nodiscard]] absl::StatusOr<StageEnd> Parse(const v1::StageEnd& message);
[[nodiscard]] absl::StatusOr<model::Commit> Parse(const v1::Commit& message);
[[nodiscard]] absl::StatusOr<model::Metadata> Parse(const v1::Metadata& message);
[[nodiscard]] absl::StatusOr<Acknowledgement> Parse(const v1::Acknowledgement& message);
[[nodiscard]] absl::StatusOr<Published> Parse(const v1::Published& message);
[[nodiscard]] absl::StatusOr<Refusal> Parse(const v1::Refusal& message);
[[nodiscard]] absl::StatusOr<InventoryRequest> Parse(const v1::InventoryRequest& message);
[[nodiscard]] absl::StatusOr<model::InventoryEntry> Parse(const v1::InventoryEntry& message);
[[nodiscard]] absl::StatusOr<std::vector<model::InventoryEntry>> Parse(const v1::InventoryResponse& message);
[[nodiscard]] absl::StatusOr<SegmentPlace> Parse(const v1::SegmentSignatureRequest& message);
[[nodiscard]] absl::StatusOr<std::string> Parse(const v1::SegmentSignatureResponse& message);
[[nodiscard]] absl::StatusOr<std::string> Parse(const v1::ListReplicasRequest& message);  // the volume; empty: all
[[nodiscard]] absl::StatusOr<std::vector<model::ReplicaState>> Parse(const v1::ListReplicasResponse& message);
[[nodiscard]] absl::StatusOr<EntryPlace> Parse(const v1::StatEntryRequest& message);

[[nodiscard]] v1::HandshakeRequest ToRequest(const Handshake& handshake);
[[nodiscard]] v1::HandshakeResponse ToResponse(const Handshake& handshake);
[[nodiscard]] v1::OpenVolume ToProto(const model::VolumeSpec& spec);
// Without leftovers, which VolumeOpened has.
[[nodiscard]] v1::ReplicaState ToProto(const model::ReplicaState& state);
[[nodiscard]] v1::VolumeOpened ToOpened(const model::ReplicaState& state);
[[nodiscard]] v1::StageBegin ToProto(const StageBegin& begin);
[[nodiscard]] v1::StageResume ToResume(const StageBegin& begin);
[[nodiscard]] v1::StageResumed ToProto(const StageResumed& resumed);
[[nodiscard]] v1::StageData ToProto(const StageData& data);
[[nodiscard]] v1::StageFiles ToProto(const model::VolumeName& volume, const model::StagedBatch& batch);
[[nodiscard]] v1::StageDelta ToProto(const StageDelta& delta);
[[nodiscard]] v1::StageEnd ToProto(const StageEnd& end);
[[nodiscard]] v1::Commit ToProto(const model::Commit& commit);
[[nodiscard]] v1::Metadata ToProto(const model::Metadata& metadata);
[[nodiscard]] v1::Acknowledgement ToProto(const Acknowledgement& acknowledgement);
[[nodiscard]] v1::Published ToProto(const Published& published);
[[nodiscard]] v1::Refusal ToProto(const Refusal& refusal);  // cuts an overlong message
[[nodiscard]] v1::InventoryEntry ToProto(const model::InventoryEntry& entry);
[[nodiscard]] v1::SegmentSignatureRequest ToProto(const SegmentPlace& place);

// OK when both sides speak the same protocol version; else FAILED_PRECONDITION that says which side to upgrade. `ours`
// is this program's, `self` and `peer` are names for the message ("understudy-dr on host b").
[[nodiscard]] absl::Status CheckVersions(const Handshake& ours, std::string_view self, const Handshake& theirs,
                                         std::string_view peer);

// A commit as bytes, for the receiver's own records; contents of Puts may have been moved out of it. The form is v1's
// Commit message.
[[nodiscard]] std::string SerializeCommit(const model::Commit& commit);
// DATA_LOSS when the bytes aren't such a record. Inline contents aren't compared with their sizes, and slots may be
// past kMaxSlots: the receiver gives inline contents slots of its own there.
[[nodiscard]] absl::StatusOr<model::Commit> DeserializeCommit(std::string_view bytes);

}  // namespace understudy::wire
