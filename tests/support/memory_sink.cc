#include "tests/support/memory_sink.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "core/delta/content_digest.h"
#include "core/delta/rsync_segment.h"
#include "core/model/path.h"
#include "core/wire/limits.h"
#include "core/wire/status_path.h"
#include "core/wire/validate.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using Entry = MemoryReplicas::Entry;
using Tree = MemoryReplicas::Tree;

absl::Status Mismatch(const std::string& path) {
  return wire::WithPath(absl::DataLossError(fmt::format("'{}' isn't what the primary takes it for", path)), path);
}

absl::Status ContentMismatch(const std::string& path) {
  return wire::WithPath(absl::DataLossError("the content isn't what was announced"), path);
}

// Takes `path` and all below it out of `tree`; what is returned is keyed by the paths below `path` ("" for itself).
Tree Cut(Tree& tree, const std::string& path) {
  Tree cut;
  for (auto entry = tree.begin(); entry != tree.end();) {
    const std::string at = model::PathOfKey(entry->first);
    if (model::IsWithin(at, path)) {
      cut[model::Key(at.substr(std::min(at.size(), path.size() + 1)))] = std::move(entry->second);
      entry = tree.erase(entry);
    } else {
      ++entry;
    }
  }
  return cut;
}

// What entries that come and go make of their folder's mtime.
constexpr int64_t kDisturbedMtimeSeconds = 12'345;

// Applies a valid commit to a tree, operation by operation, then Finish.
class Applier {
 public:
  // Of a slot, for the file at a path: its size and digest are compared.
  using StagedContent = std::function<absl::StatusOr<std::string>(model::Slot, const std::string& path, uint64_t size,
                                                                  const model::Digest& digest)>;
  Applier(Tree& tree, StagedContent content) : tree_(tree), content_(std::move(content)) {}

  absl::Status operator()(const model::Remove& op) {
    const Entry* entry = Find(op.path);
    if (entry == nullptr || entry->kind != op.kind) return Mismatch(op.path);
    Cut(tree_, op.path);
    DisturbFolderOf(op.path);
    return absl::OkStatus();
  }
  absl::Status operator()(const model::Detach& op) {
    if (Find(op.path) == nullptr) return Mismatch(op.path);
    DisturbFolderOf(op.path);
    detached_[op.slot] = Cut(tree_, op.path);
    return absl::OkStatus();
  }
  absl::Status operator()(const model::Attach& op) {
    Tree& moved = detached_.at(op.slot);
    const bool folder = moved.at("").kind == FileKind::kDirectory;
    const Entry* present = Find(op.path);
    if (present != nullptr && (folder || present->kind == FileKind::kDirectory)) return Mismatch(op.path);
    if (!HasFolderFor(op.path)) return Mismatch(op.path);
    for (auto& [key, entry] : moved) {
      const std::string below = model::PathOfKey(key);
      tree_[model::Key(below.empty() ? op.path : model::Join(op.path, below))] = std::move(entry);
    }
    DisturbFolderOf(op.path);
    return absl::OkStatus();
  }
  absl::Status operator()(const model::MakeDirectory& op) {
    const Entry* present = Find(op.path);
    if (present != nullptr && present->kind != FileKind::kDirectory) return Mismatch(op.path);
    made_[op.path] = op.metadata;
    return Place(op.path, {.kind = FileKind::kDirectory, .metadata = op.metadata}, true);
  }
  absl::Status operator()(const model::Put& op) {
    std::string content;
    if (const auto* inlined = std::get_if<std::string>(&op.content)) {
      content = *inlined;
      if (content.size() != op.size || delta::DigestOfContent(content) != op.digest) return ContentMismatch(op.path);
    } else {
      ASSIGN_OR_RETURN(content, content_(std::get<model::Slot>(op.content), op.path, op.size, op.digest));
    }
    return Place(op.path, {.content = std::move(content), .metadata = op.metadata}, false);
  }
  absl::Status operator()(const model::MakeSymlink& op) {
    return Place(op.path, {.kind = FileKind::kSymlink, .target = op.target, .metadata = op.metadata}, false);
  }
  absl::Status operator()(const model::MakeNode& op) {
    return Place(op.path, {.kind = op.kind, .device = op.device, .metadata = op.metadata}, false);
  }
  absl::Status operator()(const model::Link& op) {
    const auto target = tree_.find(model::Key(op.target));
    if (target == tree_.end() || target->second.kind == FileKind::kDirectory) return Mismatch(op.target);
    if (target->second.link_id == 0) target->second.link_id = FreeLinkId();
    return Place(op.path, target->second, false);
  }
  absl::Status operator()(const model::Patch& op) {
    const Entry* present = Find(op.path);
    if (present == nullptr || present->kind != FileKind::kRegular) return Mismatch(op.path);
    ASSIGN_OR_RETURN(const std::string content, content_(op.slot, op.path, op.size, op.digest));
    ForAllNames(op.path, [&](Entry& entry) {
      entry.content = content;
      entry.metadata = op.metadata;
    });
    return absl::OkStatus();
  }
  absl::Status operator()(const model::SetMetadata& op) {
    const Entry* present = Find(op.path);
    if (present == nullptr || present->kind != op.kind) return Mismatch(op.path);
    made_.erase(op.path);
    ForAllNames(op.path, [&](Entry& entry) { entry.metadata = op.metadata; });
    return absl::OkStatus();
  }
  // What was put into new folders changed their times.
  void Finish() {
    for (const auto& [path, metadata] : made_) tree_.at(model::Key(path)).metadata = metadata;
  }

 private:
  void DisturbFolderOf(const std::string& path) {
    const auto folder = tree_.find(model::Key(model::Parent(path)));
    if (folder != tree_.end()) folder->second.metadata.mtime_seconds = kDisturbedMtimeSeconds;
  }
  void ForAllNames(const std::string& path, const std::function<void(Entry&)>& change) {
    Entry& named = tree_.at(model::Key(path));
    const uint64_t link_id = named.link_id;
    if (link_id == 0) return change(named);
    for (auto& [key, entry] : tree_) {
      if (entry.link_id == link_id) change(entry);
    }
  }
  uint64_t FreeLinkId() const {
    uint64_t highest = 0;
    for (const auto& [key, entry] : tree_) highest = std::max(highest, entry.link_id);
    return highest + 1;
  }
  const Entry* Find(const std::string& path) const {
    const auto found = tree_.find(model::Key(path));
    return found == tree_.end() ? nullptr : &found->second;
  }
  bool HasFolderFor(const std::string& path) const {
    const Entry* parent = Find(std::string(model::Parent(path)));
    return parent != nullptr && parent->kind == FileKind::kDirectory;
  }
  absl::Status Place(const std::string& path, Entry entry, bool over_folder) {
    const Entry* present = Find(path);
    if (present != nullptr && present->kind == FileKind::kDirectory && !over_folder) return Mismatch(path);
    if (!HasFolderFor(path)) return Mismatch(path);
    tree_[model::Key(path)] = std::move(entry);
    DisturbFolderOf(path);
    return absl::OkStatus();
  }

  Tree& tree_;
  StagedContent content_;
  std::map<model::Slot, Tree> detached_;
  std::map<std::string, model::Metadata> made_;  // folders that no SetMetadata came for
};

// Runs of blocks in which two ranges differ.
uint64_t RunsOf(std::string_view before, std::string_view now) {
  uint64_t runs = 0;
  bool in_run = false;
  for (size_t at = 0; at < now.size(); at += delta::kBlockBytes) {
    const bool differs = before.substr(at, delta::kBlockBytes) != now.substr(at, delta::kBlockBytes);
    if (differs && !in_run) ++runs;
    in_run = differs;
  }
  return runs;
}

// As DR tells them: of content that travels by itself.
std::vector<model::SegmentDigest> SegmentsOf(std::string_view content) {
  std::vector<model::SegmentDigest> segments;
  if (content.size() <= wire::kMaxInlineBytes) return segments;
  for (uint64_t number = 0; number * delta::kSegmentBytes < content.size(); ++number) {
    const model::Digest digest = delta::DigestOfSegment(
        number, content.substr(static_cast<size_t>(number * delta::kSegmentBytes), delta::kSegmentBytes));
    if (digest != model::Digest{}) segments.push_back({number, digest});
  }
  return segments;
}

}  // namespace

MemoryReplicas::Tree MemoryReplicas::TreeOf(const model::VolumeName& volume) const {
  absl::MutexLock lock(&mutex_);
  const auto found = replicas_.find(volume);
  return found == replicas_.end() ? Tree() : found->second.tree;
}

void MemoryReplicas::RaiseEpoch(const model::VolumeName& volume) {
  absl::MutexLock lock(&mutex_);
  Replica& replica = replicas_.at(volume);
  ++replica.state.epoch;
  replica.session = 0;
}

void MemoryReplicas::FailNextSubmit(const model::VolumeName& volume, absl::Status error) {
  absl::MutexLock lock(&mutex_);
  replicas_.at(volume).next_error = std::move(error);
}

absl::StatusOr<model::ReplicaState> MemorySink::Open(const model::VolumeSpec& spec) {
  RETURN_IF_ERROR(wire::ValidateVolumeSpec(spec));
  absl::MutexLock lock(&mutex_);
  absl::MutexLock replicas_lock(&replicas_.mutex_);
  if (!model::IsWithin(spec.replica_root, replicas_.export_path_)) {
    return absl::InvalidArgumentError(fmt::format("no export holds '{}'", spec.replica_root));
  }
  for (const auto& [name, other] : replicas_.replicas_) {
    const bool same = name == spec.name;
    const bool overlaps =
        model::IsWithin(other.state.root, spec.replica_root) || model::IsWithin(spec.replica_root, other.state.root);
    if (same ? other.state.root != spec.replica_root : overlaps) {
      return absl::FailedPreconditionError(fmt::format("volume '{}' is at '{}'", name, other.state.root));
    }
  }
  Replica& replica = replicas_.replicas_[spec.name];
  if (replica.state.volume.empty()) {
    replica.state.volume = spec.name;
    replica.state.replica_id = fmt::format("memory-{}", replicas_.last_session_);
    replica.state.epoch = 1;
    replica.state.root = spec.replica_root;
    replica.tree[""] = {.kind = FileKind::kDirectory};
  }
  if (spec.epoch != 0 && spec.epoch < replica.state.epoch) {
    return absl::FailedPreconditionError(fmt::format("epoch {} is over", spec.epoch));
  }
  replica.state.epoch = std::max(replica.state.epoch, spec.epoch);
  replica.staged.clear();
  replica.session = ++replicas_.last_session_;
  sessions_[spec.name] = replica.session;
  return replica.state;
}

absl::Status MemorySink::Write(const model::VolumeName& volume, const std::function<absl::Status(Replica&)>& call) {
  absl::MutexLock lock(&mutex_);
  absl::MutexLock replicas_lock(&replicas_.mutex_);
  const auto session = sessions_.find(volume);
  const auto found = replicas_.replicas_.find(volume);
  if (session == sessions_.end() || found->second.session != session->second) {
    return absl::FailedPreconditionError(fmt::format("volume '{}' has to be opened", volume));
  }
  absl::Status done = call(found->second);
  if (!done.ok()) {
    found->second.session = 0;
    found->second.staged.clear();
  }
  return done;
}

// It keeps nothing that wasn't committed.
absl::StatusOr<std::vector<model::SegmentDigest>> MemorySink::StageResume(const model::VolumeName&, model::Slot,
                                                                          const std::string& path, uint64_t,
                                                                          const std::string&) {
  return absl::NotFoundError(fmt::format("nothing was staged for '{}' before", path));
}

absl::Status MemorySink::StageBegin(const model::VolumeName& volume, model::Slot slot, const std::string& path,
                                    uint64_t size, const std::string& base_path) {
  return Write(volume, [&](Replica& replica) {
    RETURN_IF_ERROR(wire::ValidateStageBegin(slot, path, size, base_path));
    if (replica.staged.contains(slot)) return absl::InvalidArgumentError("the slot is in use");
    Staged staged;
    if (!base_path.empty()) {
      const auto base = replica.tree.find(model::Key(base_path));
      if (base == replica.tree.end() || base->second.kind != FileKind::kRegular) return Mismatch(base_path);
      staged.base_path = base_path;
      staged.base = base->second.content;
      staged.content = staged.base;
    }
    staged.content.resize(size);
    replica.staged[slot] = std::move(staged);
    return absl::OkStatus();
  });
}

absl::Status MemorySink::WriteRange(const model::VolumeName& volume, model::Slot slot, uint64_t offset, uint64_t length,
                                    bool hole, const std::function<absl::StatusOr<std::string>(const Staged&)>& bytes,
                                    bool by_delta) {
  return Write(volume, [&](Replica& replica) {
    RETURN_IF_ERROR(wire::ValidateSlot(slot));
    RETURN_IF_ERROR(wire::ValidateRange(offset, length));
    const auto found = replica.staged.find(slot);
    if (found == replica.staged.end() || found->second.finished) {
      return absl::InvalidArgumentError("the slot wasn't begun");
    }
    Staged& staged = found->second;
    const uint64_t size = staged.content.size();
    if (offset < staged.filled_to || length > size || offset > size - length) {
      return absl::InvalidArgumentError("the range is out of order, or past the end");
    }
    ASSIGN_OR_RETURN(const std::string data, bytes(staged));
    if (by_delta) staged.ranges += RunsOf(std::string_view(staged.content).substr(offset, length), data);
    staged.content.replace(offset, length, data);
    // As DR counts them: neighbours of one kind are one.
    const bool apart = staged.ranges == 0 || offset != staged.filled_to || hole != staged.last_was_hole;
    if (apart && !by_delta) ++staged.ranges;
    staged.last_was_hole = hole;
    staged.filled_to = offset + length;
    if (staged.base_path.empty() || staged.ranges <= replicas_.most_ranges_) return absl::OkStatus();
    return absl::ResourceExhaustedError("it changes in more places than one commit takes");
  });
}

absl::Status MemorySink::StageData(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                                   std::string_view data) {
  return WriteRange(volume, slot, offset, data.size(), /*hole=*/false,
                    [&](const Staged&) -> absl::StatusOr<std::string> {
                      RETURN_IF_ERROR(wire::ValidateStageData(slot, offset, data));
                      return std::string(data);
                    });
}

absl::Status MemorySink::StageHole(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                                   uint64_t length) {
  return WriteRange(volume, slot, offset, length, /*hole=*/true,
                    [&](const Staged&) -> absl::StatusOr<std::string> { return std::string(length, '\0'); });
}

absl::Status MemorySink::StageDelta(const model::VolumeName& volume, model::Slot slot,
                                    const model::SegmentDelta& delta) {
  return WriteRange(
      volume, slot, delta.offset, delta.length, /*hole=*/false,
      [&](const Staged& staged) -> absl::StatusOr<std::string> {
        RETURN_IF_ERROR(wire::ValidateStageDelta(slot, delta));
        if (staged.base_path.empty()) return absl::InvalidArgumentError("the slot has no base");
        const size_t begin = std::min<size_t>(delta.base_offset, staged.base.size());
        const std::string_view base = std::string_view(staged.base).substr(begin, delta.base_length);
        ASSIGN_OR_RETURN(std::string patched, delta::ApplyDelta(base, delta.delta, delta.length));
        if (delta::DigestOfBlocks(delta.offset, patched) != delta.digest) return Mismatch(staged.base_path);
        return patched;
      },
      /*by_delta=*/true);
}

absl::Status MemorySink::StageEnd(const model::VolumeName& volume, model::Slot slot) {
  return Write(volume, [&](Replica& replica) {
    const auto found = replica.staged.find(slot);
    if (found == replica.staged.end()) return absl::InvalidArgumentError("the slot wasn't begun");
    found->second.finished = true;
    return absl::OkStatus();
  });
}

absl::Status MemorySink::Submit(const model::Commit& commit) {
  return Write(commit.volume, [&](Replica& replica) {
    if (!replica.next_error.ok()) return std::exchange(replica.next_error, absl::OkStatus());
    RETURN_IF_ERROR(wire::ValidateCommit(commit));
    if (commit.epoch != replica.state.epoch || commit.base_sequence != replica.state.sequence) {
      return absl::FailedPreconditionError("the commit is for another state");
    }
    const auto content_of = [&](model::Slot slot, const std::string& path, uint64_t size,
                                const model::Digest& digest) -> absl::StatusOr<std::string> {
      const auto staged = replica.staged.find(slot);
      if (staged == replica.staged.end() || !staged->second.finished) {
        return absl::InvalidArgumentError("a slot that wasn't staged");
      }
      const std::string& content = staged->second.content;
      const bool check = staged->second.base_path.empty();
      if (content.size() != size || (check && delta::DigestOfContent(content) != digest)) return ContentMismatch(path);
      return content;
    };
    Tree next = replica.tree;
    Applier applier(next, content_of);
    for (const model::Operation& operation : commit.operations) RETURN_IF_ERROR(std::visit(applier, operation));
    applier.Finish();
    replica.tree = std::move(next);
    replica.staged.clear();
    replica.state.sequence = commit.sequence;
    replica.state.published_sequence = commit.sequence;
    replica.state.commit_id = commit.id;
    replica.state.complete = replica.state.complete || commit.completes_capture;
    replica.state.consistency = commit.consistency;
    return absl::OkStatus();
  });
}

model::Sequence MemorySink::Published(const model::VolumeName& volume) {
  absl::MutexLock lock(&replicas_.mutex_);
  const auto found = replicas_.replicas_.find(volume);
  return found == replicas_.replicas_.end() ? 0 : found->second.state.published_sequence;
}

absl::StatusOr<std::string> MemorySink::SegmentSignature(const model::VolumeName& volume, const std::string& path,
                                                         uint64_t number) {
  const MemoryReplicas::Tree tree = replicas_.TreeOf(volume);
  const auto found = tree.find(model::Key(path));
  if (found == tree.end() || number * delta::kSegmentBytes >= found->second.content.size()) {
    return absl::NotFoundError("no such segment");
  }
  return delta::MakeSignature(
      std::string_view(found->second.content).substr(number * delta::kSegmentBytes, delta::kSegmentBytes));
}

absl::Status MemorySink::Inventory(const model::VolumeName& volume, bool with_digests,
                                   const std::function<absl::Status(model::InventoryEntry)>& visit) {
  Tree tree;
  {
    absl::MutexLock lock(&replicas_.mutex_);
    const auto found = replicas_.replicas_.find(volume);
    if (found == replicas_.replicas_.end()) return absl::NotFoundError(fmt::format("no replica of '{}'", volume));
    tree = found->second.tree;
  }
  std::map<uint64_t, int> names;
  for (const auto& [key, entry] : tree) ++names[entry.link_id];
  for (const auto& [key, entry] : tree) {
    if (key.empty()) continue;
    model::InventoryEntry listed;
    listed.link_id = names[entry.link_id] > 1 ? entry.link_id : 0;
    listed.path = model::PathOfKey(key);
    listed.kind = entry.kind;
    listed.size = entry.content.size();
    listed.device = entry.device;
    listed.symlink_target = entry.target;
    listed.metadata = entry.metadata;
    if (with_digests && entry.kind == FileKind::kRegular) {
      listed.digest = delta::DigestOfContent(entry.content);
      listed.segments = SegmentsOf(entry.content);
    }
    RETURN_IF_ERROR(visit(std::move(listed)));
  }
  return absl::OkStatus();
}

}  // namespace understudy::tests
