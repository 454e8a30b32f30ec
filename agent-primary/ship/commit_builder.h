// commit_builder.h: gathers operations and what they change in the index, and submits them as one commit, or several
// when they are too many.
//
// Within a commit the operations stand in the four passes of core/model/commit.h, whatever order they are added in.
// One thread.
#pragma once

#include <string>
#include <vector>

#include "agent-primary/index/volume_index.h"
#include "core/model/replica_sink.h"
#include "core/wire/limits.h"

namespace understudy::primary {

// A commit is submitted when it has so many operations, or so many bytes of them and of staged content.
inline constexpr size_t kMaxBuilderOperations = wire::kMaxCommitOperations;
inline constexpr uint64_t kMaxBuilderMessageBytes = 4 * 1024 * 1024;
inline constexpr uint64_t kMaxBuilderStagedBytes = 256 * 1024 * 1024;
// So much content travels inside a commit; where there is more, small files are staged ahead of it, so that DR writes
// them while others are read here.
inline constexpr uint64_t kMaxBuilderInlineBytes = 512 * 1024;

class CommitBuilder {
 public:
  // All must outlive it.
  CommitBuilder(const model::VolumeName& volume, int64_t captured_at_nanoseconds, VolumeIndex& index,
                model::ReplicaSink& sink, uint64_t most_inline_bytes = kMaxBuilderInlineBytes)
      : volume_(volume),
        captured_at_nanoseconds_(captured_at_nanoseconds),
        index_(index),
        sink_(sink),
        most_inline_bytes_(most_inline_bytes) {}

  // `changes` take effect in the index with the commit. `content_bytes` is what the operation carries inline.
  void Add(model::Operation operation, std::vector<IndexChange> changes, uint64_t content_bytes = 0);
  // What the index learns without any operation.
  void AddRefresh(std::vector<IndexChange> changes);
  void AddStagedBytes(uint64_t bytes) { staged_bytes_ += bytes; }

  // A slot that nothing else in the commit uses.
  [[nodiscard]] model::Slot NewSlot() { return next_slot_++; }
  // The newest one after all not used.
  void GiveBack(model::Slot slot) { next_slot_ = slot; }

  // Submits what is there if another operation with `content_bytes` would be too much, or stages the contents in it;
  // the capture goes on.
  [[nodiscard]] absl::Status MakeRoom(uint64_t content_bytes);
  // Submits what is there in any case; the capture goes on.
  [[nodiscard]] absl::Status SubmitPart();
  // Submits what is left; with `completes_capture` DR then has a state that the volume had, of that consistency.
  // Without any operation only the index learns, unless that completes the volume for the first time, or ends a capture
  // of which a part was submitted, or with `says_so`.
  [[nodiscard]] absl::Status Finish(bool completes_capture, model::Consistency consistency, bool says_so);

  // Whether a part of the capture was submitted already, so that moves have taken place at DR.
  [[nodiscard]] bool submitted_any() const { return submitted_any_; }
  [[nodiscard]] uint64_t message_bytes() const { return message_bytes_; }

 private:
  struct Item {
    std::string key;
    model::Operation operation;
    std::vector<IndexChange> changes;
  };
  [[nodiscard]] size_t operations() const;
  absl::Status Submit(bool completes_capture, model::Consistency consistency);
  // Stages the inline contents.
  absl::Status StageInlined();

  const model::VolumeName& volume_;
  const int64_t captured_at_nanoseconds_;
  VolumeIndex& index_;
  model::ReplicaSink& sink_;
  std::vector<Item> disappear_, appear_, continue_, settle_;  // the four passes
  std::vector<IndexChange> refreshes_;
  const uint64_t most_inline_bytes_;
  size_t staged_items_ = 0;    // of appear_: those before it are staged, or have no content
  uint64_t inline_bytes_ = 0;  // of the others
  model::Slot next_slot_ = 1;
  uint64_t message_bytes_ = 0;
  uint64_t staged_bytes_ = 0;
  bool submitted_any_ = false;
};

}  // namespace understudy::primary
