#include "agent-primary/ship/commit_builder.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "core/base/random_id.h"
#include "core/model/path.h"

namespace understudy::primary {
namespace {

// What an operation costs on the wire besides its path, names and content: numbers, digest, framing.
constexpr uint64_t kOperationOverheadBytes = 128;

uint64_t BytesOf(const model::Metadata& metadata) {
  uint64_t bytes = 0;
  for (const model::Xattr& xattr : metadata.xattrs) bytes += xattr.name.size() + xattr.value.size() + 16;
  return bytes;
}

struct Shape {
  int pass;
  std::string_view path;
  uint64_t bytes;
};

Shape ShapeOf(const model::Operation& operation) {
  struct Visitor {
    Shape operator()(const model::Remove& op) const { return {1, op.path, 0}; }
    Shape operator()(const model::Detach& op) const { return {1, op.path, 0}; }
    Shape operator()(const model::Attach& op) const { return {2, op.path, 0}; }
    Shape operator()(const model::MakeDirectory& op) const { return {2, op.path, BytesOf(op.metadata)}; }
    Shape operator()(const model::Put& op) const { return {2, op.path, BytesOf(op.metadata)}; }
    Shape operator()(const model::MakeSymlink& op) const {
      return {2, op.path, BytesOf(op.metadata) + op.target.size()};
    }
    Shape operator()(const model::MakeNode& op) const { return {2, op.path, BytesOf(op.metadata)}; }
    Shape operator()(const model::Link& op) const { return {3, op.path, op.target.size()}; }
    Shape operator()(const model::Patch& op) const { return {3, op.path, BytesOf(op.metadata)}; }
    Shape operator()(const model::SetMetadata& op) const { return {4, op.path, BytesOf(op.metadata)}; }
  };
  return std::visit(Visitor{}, operation);
}

// Entries that come and go change their folder's times.
bool ChangesItsFolder(const model::Operation& operation) {
  return !std::holds_alternative<model::Patch>(operation) && !std::holds_alternative<model::SetMetadata>(operation);
}

}  // namespace

void CommitBuilder::Add(model::Operation operation, std::vector<IndexChange> changes, uint64_t content_bytes) {
  const Shape shape = ShapeOf(operation);
  message_bytes_ += kOperationOverheadBytes + shape.path.size() + shape.bytes + content_bytes;
  inline_bytes_ += content_bytes;
  Item item{model::Key(shape.path), std::move(operation), std::move(changes)};
  (shape.pass == 1   ? disappear_
   : shape.pass == 2 ? appear_
   : shape.pass == 3 ? continue_
                     : settle_)
      .push_back(std::move(item));
}

void CommitBuilder::AddRefresh(std::vector<IndexChange> changes) {
  std::move(changes.begin(), changes.end(), std::back_inserter(refreshes_));
}

absl::Status CommitBuilder::StageInlined() {
  model::StagedBatch batch;
  size_t bytes = 0;
  const auto stage_full = [&](size_t next_bytes) {
    const size_t entries = std::max(batch.files.size(), batch.folders.size());
    if (entries < wire::kMaxStagedEntries && bytes + next_bytes <= wire::kMaxStagedFilesBytes) return absl::OkStatus();
    bytes = 0;
    return sink_.StageFiles(volume_, std::exchange(batch, {}));
  };
  for (; staged_items_ < appear_.size(); ++staged_items_) {
    model::Operation& operation = appear_[staged_items_].operation;
    auto* const put = std::get_if<model::Put>(&operation);
    auto* const content = put != nullptr ? std::get_if<std::string>(&put->content) : nullptr;
    RETURN_IF_ERROR(stage_full(content != nullptr ? content->size() : 0));
    if (const auto* made = std::get_if<model::MakeDirectory>(&operation)) batch.folders.push_back(made->path);
    if (content == nullptr) continue;
    bytes += content->size();
    batch.files.push_back({NewSlot(), put->path, put->metadata, put->digest, std::move(*content)});
    put->content = batch.files.back().slot;
  }
  message_bytes_ -= inline_bytes_;
  staged_bytes_ += std::exchange(inline_bytes_, 0);
  return batch.files.empty() && batch.folders.empty() ? absl::OkStatus() : sink_.StageFiles(volume_, batch);
}

absl::Status CommitBuilder::MakeRoom(uint64_t content_bytes) {
  if (inline_bytes_ > 0 && inline_bytes_ + content_bytes > most_inline_bytes_) RETURN_IF_ERROR(StageInlined());
  const bool full = operations() + 1 > kMaxBuilderOperations ||
                    message_bytes_ + content_bytes > kMaxBuilderMessageBytes || staged_bytes_ > kMaxBuilderStagedBytes;
  return full ? SubmitPart() : absl::OkStatus();
}

absl::Status CommitBuilder::SubmitPart() {
  return operations() > 0 ? Submit(/*completes_capture=*/false, model::Consistency::kUnknown) : absl::OkStatus();
}

size_t CommitBuilder::operations() const {
  return disappear_.size() + appear_.size() + continue_.size() + settle_.size();
}

absl::Status CommitBuilder::Finish(bool completes_capture, model::Consistency consistency, bool says_so) {
  const bool has_to_say = completes_capture && (submitted_any_ || says_so || !index_.state().complete);
  if (operations() == 0 && !has_to_say) return index_.Refresh(std::exchange(refreshes_, {}));
  return Submit(completes_capture, completes_capture ? consistency : model::Consistency::kUnknown);
}

absl::Status CommitBuilder::Submit(bool completes_capture, model::Consistency consistency) {
  const auto descending = [](const Item& a, const Item& b) { return a.key > b.key; };
  const auto ascending = [](const Item& a, const Item& b) { return a.key < b.key; };
  std::sort(disappear_.begin(), disappear_.end(), descending);
  std::sort(appear_.begin(), appear_.end(), ascending);
  std::sort(continue_.begin(), continue_.end(), ascending);
  std::sort(settle_.begin(), settle_.end(), descending);

  model::Commit commit;
  commit.volume = volume_;
  commit.epoch = index_.state().epoch;
  commit.base_sequence = index_.state().sequence;
  commit.sequence = commit.base_sequence + 1;
  commit.completes_capture = completes_capture;
  commit.consistency = consistency;
  commit.captured_at_nanoseconds = captured_at_nanoseconds_;
  std::vector<IndexChange> changes;
  for (std::vector<Item>* pass : {&disappear_, &appear_, &continue_, &settle_}) {
    std::optional<std::string> disturbed;
    for (Item& item : *pass) {
      // Whatever becomes of the rest of the capture, the index mustn't say that DR's folder has the times of ours.
      if (ChangesItsFolder(item.operation)) {
        std::string folder(model::Parent(ShapeOf(item.operation).path));
        if (folder != disturbed) changes.push_back(UnsettleRow{*(disturbed = std::move(folder))});
      }
      commit.operations.push_back(std::move(item.operation));
      std::move(item.changes.begin(), item.changes.end(), std::back_inserter(changes));
    }
    pass->clear();
  }
  std::move(refreshes_.begin(), refreshes_.end(), std::back_inserter(changes));
  refreshes_.clear();
  message_bytes_ = staged_bytes_ = inline_bytes_ = 0;
  staged_items_ = 0;
  next_slot_ = 1;
  submitted_any_ = true;

  commit.id = RandomId();
  RETURN_IF_ERROR(index_.Stage(commit.sequence, completes_capture, changes, commit.id));
  RETURN_IF_ERROR(sink_.Submit(commit));
  return index_.Acknowledge();
}

}  // namespace understudy::primary
