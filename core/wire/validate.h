// validate.h: whether values from a peer keep to the bounds (limits.h) and shapes that the rest of the program relies
// on. Nothing from the wire is used before it passed here.
//
// Pure; thread-safe. Every function gives INVALID_ARGUMENT with what is wrong, or OK.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/model/object.h"
#include "core/model/replica_sink.h"
#include "core/model/volume.h"

namespace understudy::wire {

// At most `limit` bytes without control characters; `what` names it in the error.
// Empty is allowed: a commit that nobody claims.
[[nodiscard]] absl::Status ValidateCommitId(std::string_view id);
[[nodiscard]] absl::Status ValidateText(std::string_view what, std::string_view text, size_t limit);

// Mode bits, nanoseconds, and xattrs: bounded, named, ascending by name without a double.
[[nodiscard]] absl::Status ValidateMetadata(const model::Metadata& metadata);

// Absolute, not "/", without empty, "." or ".." names, bounded.
[[nodiscard]] absl::Status ValidateReplicaRoot(std::string_view root);

[[nodiscard]] absl::Status ValidateSlot(model::Slot slot);

// [offset, offset + length) isn't empty and ends at or before kMaxFileBytes.
[[nodiscard]] absl::Status ValidateRange(uint64_t offset, uint64_t length);

[[nodiscard]] absl::Status ValidateVolumeSpec(const model::VolumeSpec& spec);

// Of a live copy: 1 to kMaxEpoch.
[[nodiscard]] absl::Status ValidateLiveEpoch(model::Epoch epoch);

// `base_path` may be empty. Also of StageResume.
[[nodiscard]] absl::Status ValidateStageBegin(model::Slot slot, std::string_view path, uint64_t size,
                                              std::string_view base_path);
[[nodiscard]] absl::Status ValidateStageData(model::Slot slot, uint64_t offset, std::string_view data);
[[nodiscard]] absl::Status ValidateStageHole(model::Slot slot, uint64_t offset, uint64_t length);
[[nodiscard]] absl::Status ValidateStageDelta(model::Slot slot, const model::SegmentDelta& delta);

// Each file and folder by itself, and how many they are.
[[nodiscard]] absl::Status ValidateStagedBatch(const model::StagedBatch& batch);

// Each operation by itself; their order; sequence == base_sequence + 1; each slot used once, or once to detach and once
// to attach; a Link's target is no other Link's path. The root ("") is only ever the target of SetMetadata of a folder.
[[nodiscard]] absl::Status ValidateCommit(const model::Commit& commit);

[[nodiscard]] absl::Status ValidateInventoryEntry(const model::InventoryEntry& entry);

// Names as Kubernetes bounds them; a namespace exactly for the kinds that have one.
[[nodiscard]] absl::Status ValidateObjectKey(const model::ObjectKey& key);
[[nodiscard]] absl::Status ValidateCatalogEntry(const model::CatalogEntry& entry);

}  // namespace understudy::wire
