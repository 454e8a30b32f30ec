// capture_run.h: one capture of one volume: from dirty paths to acknowledged commits.
#pragma once

#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "agent-primary/capture/file_capture.h"
#include "agent-primary/index/volume_index.h"
#include "agent-primary/watch/dirty_set.h"
#include "core/model/replica_sink.h"
#include "core/os/metadata.h"
#include "core/os/root.h"

namespace understudy::primary {

struct CaptureResult {
  bool more = false;                    // there were more differences than one capture takes: look at everything again
  std::vector<std::string> look_again;  // changed while they were captured, or a moment before
  std::map<std::string, std::string> unreadable;  // why, by path; also to be looked at again
  uint64_t commits = 0;
  uint64_t content_bytes_sent = 0;
  std::string_view rung;  // of the largest file whose content was sent; empty when none was
};

struct CaptureContext {
  const model::VolumeName& volume;
  const os::Root& root;
  VolumeIndex& index;
  model::ReplicaSink& sink;
  Strategy strategy = Strategy::kAuto;
  int64_t now_nanoseconds = 0;  // Unix time
  std::stop_token stop;
  // Of the newest opening (ReplicaState); those that were asked for go.
  std::set<std::string>* leftovers = nullptr;
  os::Labels labels = os::Labels::kOmit;
  // The replica lacks the present state of entries that couldn't be read before and that this batch doesn't look at: no
  // commit shows the volume as it is.
  bool lacks_entries = false;
};

// Returns when all that the batch led to is acknowledged. FAILED_PRECONDITION: the volume's folder isn't the one that
// was replicated before. CANCELLED: `stop` was requested. After an error the volume has to be opened again; whatever
// was acknowledged meanwhile is in the index.
[[nodiscard]] absl::StatusOr<CaptureResult> RunCapture(const CaptureContext& context, const DirtyBatch& batch);

}  // namespace understudy::primary
