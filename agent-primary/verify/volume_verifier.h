// volume_verifier.h: compares DR's replica with a volume while both go on changing.
//
// After a barrier DR's tree is merged with the one here. What differs is doubtful only: it may have changed since. So
// each doubtful path is looked at here, a barrier is passed, DR looks at it with all acknowledged commits in it, and it
// is looked at here again: if it is as it was, DR has to have it so, and what differs then is a difference.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "agent-primary/ship/replica_lister.h"
#include "agent-primary/verify/entry_compare.h"
#include "core/model/verify.h"

namespace understudy::primary {

// So many paths are doubted at most; what is past that counts as unchecked.
inline constexpr size_t kMaxDoubtful = 20'000;
// So many files with several names are compared for which names are one file.
inline constexpr size_t kMaxComparedLinks = 250'000;

struct VerifyListener {
  // Called again and again; its error ends the verification.
  std::function<absl::Status(const model::VerifyCounts&)> on_progress;
  std::function<void(model::Difference)> on_difference;
};

struct VerifyTask {
  model::VolumeName volume;
  std::string path;  // of the volume's folder here
  bool with_digests = false;
  // Returns when all that was written before is at DR, and shown by the replica's folder.
  std::function<absl::Status()> barrier;
};

// The counts at the end. Errors are those of the barrier, the lister, the volume's folder and the listener.
[[nodiscard]] absl::StatusOr<model::VerifyCounts> VerifyVolume(const ReplicaLister& lister, const VerifyTask& task,
                                                               const VerifyListener& listener);

}  // namespace understudy::primary
