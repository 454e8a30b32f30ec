// messages.h: the messages of the wire that are no domain type of their own, as values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/model/object.h"
#include "core/model/replica_sink.h"
#include "core/model/volume.h"

namespace understudy::wire {

struct Handshake {
  uint32_t protocol_version = 0;
  std::string software_version;
  std::string host;
};

// One path of a replica.
struct EntryPlace {
  model::VolumeName volume;
  std::string path;
};

// Also of StageResume.
struct StageBegin {
  model::VolumeName volume;
  model::Slot slot = 0;
  std::string path;
  uint64_t size = 0;
  std::string base_path;
};

struct StageResumed {
  model::VolumeName volume;
  model::Slot slot = 0;
  bool found = false;
  std::vector<model::SegmentDigest> segments;
};

// Views into the message that it was parsed from, or into the caller's data: content is copied as seldom as can be.
struct StageRange {
  uint64_t offset = 0;
  uint64_t length = 0;    // data.size(), or of the hole
  std::string_view data;  // empty: a hole
};

struct StageFiles {
  model::VolumeName volume;
  model::StagedBatch batch;
};

struct StageData {
  model::VolumeName volume;
  model::Slot slot = 0;
  std::vector<StageRange> ranges;  // at least one
};

struct StageDelta {
  model::VolumeName volume;
  model::Slot slot = 0;
  model::SegmentDelta delta;
};

struct StageEnd {
  model::VolumeName volume;
  model::Slot slot = 0;
};

struct Acknowledgement {
  model::VolumeName volume;
  model::Sequence sequence = 0;
};

struct Published {
  model::VolumeName volume;
  model::Sequence sequence = 0;
};

struct Refusal {
  model::VolumeName volume;
  absl::Status status;  // never OK; carries the path (status_path.h) and a fence (status_fence.h), too
  std::string path;     // of the file that it is about; empty when it is about none
};

struct InventoryRequest {
  model::VolumeName volume;
  bool with_digests = false;
};

struct SegmentPlace {
  model::VolumeName volume;
  std::string path;
  uint64_t number = 0;
};

struct CatalogListRequest {
  std::string kind;  // empty: all; else a valid ObjectKind
  bool include_deleted = false;
  uint64_t after_revision = 0;
};

struct CatalogPage {
  std::vector<model::CatalogEntry> entries;
  bool more = false;
};

struct CatalogDelete {
  model::ObjectKey key;
  std::string uid;  // empty: whatever is there
};

}  // namespace understudy::wire
