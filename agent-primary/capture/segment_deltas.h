// segment_deltas.h: deltas of a large file's segments against what DR has of it, there or elsewhere.
//
// DR is asked for signatures where content begins to be somewhere else. How far it has moved is known then, and as long
// as the marks of the old blocks say that the rest has moved as far, DR isn't asked again. It holds each delta to the
// segment's digest (ReplicaSink::StageDelta), so blocks that only look alike by their marks do no harm.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "agent-primary/capture/file_capture.h"
#include "agent-primary/capture/segment_reader.h"
#include "core/base/status.h"
#include "core/model/commit.h"

namespace understudy::primary {

// One thread at a time.
class SegmentDeltas {
 public:
  // `request` has a base with segment records, and outlives it.
  explicit SegmentDeltas(const CaptureRequest& request) : request_(request) {}

  // For segments in ascending order. Content is looked for there and in so many segments `beside`. nullopt: there is
  // nothing to be had of DR.
  [[nodiscard]] absl::StatusOr<std::optional<model::SegmentDelta>> Find(const ReadSegment& segment, uint64_t beside);

 private:
  // A part of the base, and librsync's signature of it.
  struct BaseWindow {
    uint64_t offset = 0;
    uint64_t length = 0;
    std::string signature{};  // empty: there is none to be had
  };

  // Of what has moved as far as what came before it. nullopt: nothing has.
  absl::StatusOr<std::optional<model::SegmentDelta>> FromMarks(const ReadSegment& segment);
  absl::StatusOr<std::optional<model::SegmentDelta>> FromSignatures(const ReadSegment& segment, uint64_t beside);
  // The marks of a segment of the base; empty: they aren't known.
  absl::StatusOr<std::string> FindMarks(uint64_t number);
  absl::StatusOr<BaseWindow> FindWindow(uint64_t number, uint64_t beside);
  // Of what DR has; empty: there is none to be had.
  absl::StatusOr<std::string> FindSignature(uint64_t number);

  const CaptureRequest& request_;
  std::optional<int64_t> shift_;                // of what moved last, in bytes towards the file's end
  std::map<uint64_t, std::string> signatures_;  // of what DR has, by segment; those that are asked for again
};

}  // namespace understudy::primary
