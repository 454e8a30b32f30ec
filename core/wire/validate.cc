#include "core/wire/validate.h"

#include <fmt/format.h>

#include <limits>
#include <map>
#include <set>
#include <utility>
#include <variant>

#include "core/base/log.h"
#include "core/model/path.h"
#include "core/wire/limits.h"

namespace understudy::wire {
namespace {

template <typename... Arguments>
absl::Status Invalid(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  return absl::InvalidArgumentError(fmt::format(format, std::forward<Arguments>(arguments)...));
}

// A path of an operation: valid, and not the root.
absl::Status ValidateEntryPath(std::string_view path) {
  if (path.empty()) return absl::InvalidArgumentError("the volume's root stands where an entry's path is needed");
  return model::ValidatePath(path);
}

absl::Status ValidateXattr(const model::Xattr& xattr) {
  if (xattr.name.empty() || xattr.name.size() > kMaxXattrNameBytes) {
    return Invalid("xattr name of {} bytes: 1 to {} are allowed", xattr.name.size(), kMaxXattrNameBytes);
  }
  if (xattr.name.find('\0') != std::string::npos) return Invalid("xattr '{}' has a NUL byte", Printable(xattr.name));
  if (xattr.value.size() > kMaxXattrValueBytes) {
    return Invalid("xattr '{}' of {} bytes: at most {} are allowed", Printable(xattr.name), xattr.value.size(),
                   kMaxXattrValueBytes);
  }
  return absl::OkStatus();
}

absl::Status ValidateSymlinkTarget(std::string_view target) {
  if (target.empty() || target.size() > kMaxSymlinkTargetBytes) {
    return Invalid("symlink target of {} bytes: 1 to {} are allowed", target.size(), kMaxSymlinkTargetBytes);
  }
  if (target.find('\0') != std::string_view::npos) return Invalid("symlink target with a NUL byte");
  return absl::OkStatus();
}

bool IsNode(model::FileKind kind) {
  return kind == model::FileKind::kFifo || kind == model::FileKind::kSocket ||
         kind == model::FileKind::kCharacterDevice || kind == model::FileKind::kBlockDevice;
}

bool IsDevice(model::FileKind kind) {
  return kind == model::FileKind::kCharacterDevice || kind == model::FileKind::kBlockDevice;
}

// How often the operations so far named a slot, by what they do with it.
struct SlotUse {
  int detached = 0;
  int attached = 0;
  int staged = 0;
};

// One visit for each operation; gathers how slots are used.
class OperationValidator {
 public:
  absl::Status operator()(const model::Remove& op) { return ValidateEntryPath(op.path); }
  absl::Status operator()(const model::Detach& op) {
    RETURN_IF_ERROR(ValidateSlot(op.slot));
    ++slots_[op.slot].detached;
    return ValidateEntryPath(op.path);
  }
  absl::Status operator()(const model::Attach& op) {
    RETURN_IF_ERROR(ValidateSlot(op.slot));
    ++slots_[op.slot].attached;
    return ValidateEntryPath(op.path);
  }
  absl::Status operator()(const model::MakeDirectory& op) {
    RETURN_IF_ERROR(ValidateEntryPath(op.path));
    return ValidateMetadata(op.metadata);
  }
  absl::Status operator()(const model::Put& op) {
    RETURN_IF_ERROR(ValidateEntryPath(op.path));
    if (op.size > kMaxFileBytes) return Invalid("content of {} bytes is too large", op.size);
    if (const auto* content = std::get_if<std::string>(&op.content)) {
      if (content->size() > kMaxInlineBytes) {
        return Invalid("inline content of {} bytes: at most {} are allowed", content->size(), kMaxInlineBytes);
      }
      if (content->size() != op.size) {
        return Invalid("inline content of {} bytes where {} are announced", content->size(), op.size);
      }
    } else {
      const model::Slot slot = std::get<model::Slot>(op.content);
      RETURN_IF_ERROR(ValidateSlot(slot));
      ++slots_[slot].staged;
    }
    return ValidateMetadata(op.metadata);
  }
  absl::Status operator()(const model::MakeSymlink& op) {
    RETURN_IF_ERROR(ValidateEntryPath(op.path));
    RETURN_IF_ERROR(ValidateSymlinkTarget(op.target));
    return ValidateMetadata(op.metadata);
  }
  absl::Status operator()(const model::MakeNode& op) {
    RETURN_IF_ERROR(ValidateEntryPath(op.path));
    if (!IsNode(op.kind)) return Invalid("a node that is neither fifo, socket nor device");
    if (!IsDevice(op.kind) && op.device != 0) return Invalid("a device number for what is no device");
    return ValidateMetadata(op.metadata);
  }
  absl::Status operator()(const model::Link& op) {
    RETURN_IF_ERROR(ValidateEntryPath(op.path));
    RETURN_IF_ERROR(ValidateEntryPath(op.target));
    link_paths_.insert(op.path);
    link_targets_.insert(op.target);
    return absl::OkStatus();
  }
  absl::Status operator()(const model::Patch& op) {
    RETURN_IF_ERROR(ValidateEntryPath(op.path));
    if (op.size > kMaxFileBytes) return Invalid("content of {} bytes is too large", op.size);
    RETURN_IF_ERROR(ValidateSlot(op.slot));
    ++slots_[op.slot].staged;
    return ValidateMetadata(op.metadata);
  }
  absl::Status operator()(const model::SetMetadata& op) {
    RETURN_IF_ERROR(model::ValidatePath(op.path));
    if (op.path.empty() && op.kind != model::FileKind::kDirectory) return Invalid("the volume's root is a folder");
    return ValidateMetadata(op.metadata);
  }

  [[nodiscard]] absl::Status ValidateSlots() const {
    for (const auto& [slot, use] : slots_) {
      const bool moved = use.detached == 1 && use.attached == 1 && use.staged == 0;
      const bool staged = use.detached == 0 && use.attached == 0 && use.staged == 1;
      if (!moved && !staged) {
        return Invalid("slot {} must be detached once and attached once, or hold the content of one file", slot);
      }
    }
    return absl::OkStatus();
  }

  // Were a target another link's path, the order would say what it means.
  [[nodiscard]] absl::Status ValidateLinks() const {
    for (const std::string_view target : link_targets_) {
      if (link_paths_.contains(target)) {
        return Invalid("'{}' is to be a name of a file and another link's target", Printable(target.substr(0, 512)));
      }
    }
    return absl::OkStatus();
  }

 private:
  std::map<model::Slot, SlotUse> slots_;
  std::set<std::string_view> link_paths_;
  std::set<std::string_view> link_targets_;
};

std::string_view PathOf(const model::Operation& operation) {
  return std::visit([](const auto& op) -> std::string_view { return op.path; }, operation);
}

absl::Status ValidateName(std::string_view what, std::string_view name) {
  if (name.empty()) return Invalid("{} is missing", what);
  return ValidateText(what, name, kMaxObjectNameBytes);
}

}  // namespace

absl::Status ValidateText(std::string_view what, std::string_view text, size_t limit) {
  if (text.size() > limit) return Invalid("{} of {} bytes: at most {} are allowed", what, text.size(), limit);
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return Invalid("{} has a control character", what);
  }
  return absl::OkStatus();
}

absl::Status ValidateMetadata(const model::Metadata& metadata) {
  if (metadata.mode > kMaxModeBits) return Invalid("mode {:o} has bits that no mode has", metadata.mode);
  // chown(2) reads (uid_t)-1 as "leave it": no file has it.
  constexpr uint32_t kNoOwner = 0xffffffff;
  if (metadata.uid == kNoOwner || metadata.gid == kNoOwner) return Invalid("owner 4294967295 is none");
  if (metadata.mtime_nanoseconds > kMaxNanoseconds) return Invalid("{} nanoseconds", metadata.mtime_nanoseconds);
  if (metadata.xattrs.size() > kMaxXattrs) {
    return Invalid("{} xattrs: at most {} are allowed", metadata.xattrs.size(), kMaxXattrs);
  }
  const model::Xattr* previous = nullptr;
  for (const model::Xattr& xattr : metadata.xattrs) {
    RETURN_IF_ERROR(ValidateXattr(xattr));
    if (previous != nullptr && previous->name >= xattr.name) {
      return Invalid("xattr '{}' stands in the wrong order, or twice", Printable(xattr.name));
    }
    previous = &xattr;
  }
  return absl::OkStatus();
}

absl::Status ValidateReplicaRoot(std::string_view root) {
  if (root.size() < 2 || root[0] != '/' || root.size() > kMaxReplicaRootBytes) {
    return Invalid("replica folder '{}': an absolute path of at most {} bytes is needed",
                   Printable(root.substr(0, 512)), kMaxReplicaRootBytes);
  }
  return model::ValidatePath(root.substr(1));
}

absl::Status ValidateSlot(model::Slot slot) {
  return slot < kMaxSlots ? absl::OkStatus() : Invalid("slot {}: slots are below {}", slot, kMaxSlots);
}

absl::Status ValidateRange(uint64_t offset, uint64_t length) {
  if (length == 0) return Invalid("an empty range");
  if (offset > kMaxFileBytes || length > kMaxFileBytes - offset) {
    return Invalid("range of {} bytes at {} lies past the largest file", length, offset);
  }
  return absl::OkStatus();
}

absl::Status ValidateVolumeSpec(const model::VolumeSpec& spec) {
  RETURN_IF_ERROR(model::ValidateVolumeName(spec.name));
  if (spec.epoch > kMaxEpoch) return Invalid("epoch {} is too large", spec.epoch);
  return ValidateReplicaRoot(spec.replica_root);
}

absl::Status ValidateLiveEpoch(model::Epoch epoch) {
  return epoch >= 1 && epoch <= kMaxEpoch ? absl::OkStatus() : Invalid("epoch {} is no live copy's", epoch);
}

absl::Status ValidateStageBegin(model::Slot slot, std::string_view path, uint64_t size, std::string_view base_path) {
  RETURN_IF_ERROR(ValidateSlot(slot));
  RETURN_IF_ERROR(ValidateEntryPath(path));
  if (size > kMaxFileBytes) return Invalid("content of {} bytes is too large", size);
  return model::ValidatePath(base_path);
}

absl::Status ValidateStageData(model::Slot slot, uint64_t offset, std::string_view data) {
  RETURN_IF_ERROR(ValidateSlot(slot));
  if (data.size() > kMaxStageBytes) {
    return Invalid("{} bytes of staged data: at most {} are allowed", data.size(), kMaxStageBytes);
  }
  return ValidateRange(offset, data.size());
}

absl::Status ValidateStageHole(model::Slot slot, uint64_t offset, uint64_t length) {
  RETURN_IF_ERROR(ValidateSlot(slot));
  return ValidateRange(offset, length);
}

absl::Status ValidateStagedBatch(const model::StagedBatch& batch) {
  if (batch.files.size() > kMaxStagedEntries || batch.folders.size() > kMaxStagedEntries) {
    return Invalid("{} files and {} folders staged at once: at most {} are allowed", batch.files.size(),
                   batch.folders.size(), kMaxStagedEntries);
  }
  for (const std::string& folder : batch.folders) RETURN_IF_ERROR(ValidateEntryPath(folder));
  size_t bytes = 0;
  for (const model::StagedFile& file : batch.files) {
    RETURN_IF_ERROR(ValidateSlot(file.slot));
    RETURN_IF_ERROR(ValidateEntryPath(file.path));
    RETURN_IF_ERROR(ValidateMetadata(file.metadata));
    bytes += file.content.size();
  }
  if (bytes > kMaxStagedFilesBytes) {
    return Invalid("{} bytes of small files at once: at most {} are allowed", bytes, kMaxStagedFilesBytes);
  }
  return absl::OkStatus();
}

absl::Status ValidateStageDelta(model::Slot slot, const model::SegmentDelta& delta) {
  RETURN_IF_ERROR(ValidateSlot(slot));
  if (delta.length > kMaxDeltaRangeBytes) {
    return Invalid("delta over a range of {} bytes: at most {} are allowed", delta.length, kMaxDeltaRangeBytes);
  }
  if (delta.offset % kMaxDeltaRangeBytes != 0) {
    return Invalid("delta at {}, which is no multiple of {}", delta.offset, kMaxDeltaRangeBytes);
  }
  if (delta.delta.empty() || delta.delta.size() > kMaxDeltaBytes) {
    return Invalid("delta of {} bytes: 1 to {} are allowed", delta.delta.size(), kMaxDeltaBytes);
  }
  if (delta.base_length > kMaxDeltaBaseBytes) {
    return Invalid("delta against {} bytes: at most {} are allowed", delta.base_length, kMaxDeltaBaseBytes);
  }
  RETURN_IF_ERROR(ValidateRange(delta.base_offset, delta.base_length));
  return ValidateRange(delta.offset, delta.length);
}

absl::Status ValidateCommitId(std::string_view id) {
  return id.empty() ? absl::OkStatus() : ValidateText("the commit's id", id, kMaxCommitIdBytes);
}

absl::Status ValidateCommit(const model::Commit& commit) {
  RETURN_IF_ERROR(model::ValidateVolumeName(commit.volume));
  if (commit.operations.size() > kMaxCommitOperations) {
    return Invalid("{} operations in a commit: at most {} are allowed", commit.operations.size(), kMaxCommitOperations);
  }
  // The stores keep sequences as signed 64-bit integers.
  constexpr uint64_t kMaxSequence = std::numeric_limits<int64_t>::max();
  if (commit.base_sequence >= kMaxSequence || commit.sequence != commit.base_sequence + 1) {
    return Invalid("commit {} on top of {}: sequences rise by one", commit.sequence, commit.base_sequence);
  }
  if (commit.epoch > kMaxSequence) return Invalid("epoch {} is too large", commit.epoch);
  RETURN_IF_ERROR(ValidateCommitId(commit.id));
  OperationValidator validator;
  for (const model::Operation& operation : commit.operations) {
    const absl::Status valid = std::visit(validator, operation);
    if (!valid.ok())
      return Annotate(valid, fmt::format("operation on '{}'", Printable(PathOf(operation).substr(0, 512))));
  }
  RETURN_IF_ERROR(validator.ValidateSlots());
  RETURN_IF_ERROR(validator.ValidateLinks());
  return model::ValidateOrder(commit);
}

absl::Status ValidateInventoryEntry(const model::InventoryEntry& entry) {
  RETURN_IF_ERROR(ValidateEntryPath(entry.path));
  if (entry.size > kMaxFileBytes) return Invalid("'{}' of {} bytes", Printable(entry.path), entry.size);
  const bool link = entry.kind == model::FileKind::kSymlink;
  if (link) RETURN_IF_ERROR(ValidateSymlinkTarget(entry.symlink_target));
  if (!link && !entry.symlink_target.empty()) return Invalid("a target for '{}', no symlink", Printable(entry.path));
  if (entry.link_id != 0 && entry.kind == model::FileKind::kDirectory) {
    return Invalid("several names for '{}', a folder", Printable(entry.path));
  }
  if (entry.digest.has_value() && entry.kind != model::FileKind::kRegular) {
    return Invalid("a content digest for '{}', no regular file", Printable(entry.path));
  }
  if (!entry.segments.empty() && !entry.digest.has_value()) {
    return Invalid("segments of '{}' without its digest", Printable(entry.path));
  }
  for (size_t i = 0; i < entry.segments.size(); ++i) {
    const uint64_t number = entry.segments[i].number;
    const bool inside = number < (entry.size + kMaxDeltaRangeBytes - 1) / kMaxDeltaRangeBytes;
    if (inside && (i == 0 || number > entry.segments[i - 1].number)) continue;
    return Invalid("segment {} of '{}' stands in the wrong order, or lies past its end", number, Printable(entry.path));
  }
  return ValidateMetadata(entry.metadata);
}

absl::Status ValidateObjectKey(const model::ObjectKey& key) {
  RETURN_IF_ERROR(ValidateName("the object's name", key.name));
  const bool namespaced =
      key.kind == model::ObjectKind::kPersistentVolumeClaim || key.kind == model::ObjectKind::kVolumeSnapshot;
  if (namespaced) return ValidateName("the object's namespace", key.namespace_name);
  if (!key.namespace_name.empty()) return Invalid("a {} has no namespace", model::ToString(key.kind));
  return absl::OkStatus();
}

absl::Status ValidateCatalogEntry(const model::CatalogEntry& entry) {
  RETURN_IF_ERROR(ValidateObjectKey(entry.key));
  RETURN_IF_ERROR(ValidateText("the object's uid", entry.uid, kMaxObjectUidBytes));
  if (entry.resource.empty() || entry.resource.size() > kMaxResourceBytes) {
    return Invalid("{}: resource of {} bytes: 1 to {} are allowed", model::ToString(entry.key), entry.resource.size(),
                   kMaxResourceBytes);
  }
  if (!entry.volume.empty()) RETURN_IF_ERROR(model::ValidateVolumeName(entry.volume));
  if (!entry.replica_path.empty()) RETURN_IF_ERROR(ValidateReplicaRoot(entry.replica_path));
  return ValidateText("the NFS server's name", entry.server, kMaxServerBytes);
}

}  // namespace understudy::wire
