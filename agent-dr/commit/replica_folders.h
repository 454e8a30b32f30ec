// replica_folders.h: the folders of one replica: the one with the volume's data, and the work area beside it.
#pragma once

#include <memory>
#include <string>

#include "agent-dr/commit/identity.h"
#include "agent-dr/commit/leftovers.h"
#include "agent-dr/commit/staging.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/status.h"
#include "core/model/volume.h"
#include "core/os/root.h"

namespace understudy::dr {

struct ReplicaPlace {
  std::string state_folder;  // of this volume; exists
  std::string export_path;   // holds the replica's root
};

// What is open while the replica's folder can be reached. The effects belong to the one thread that commits.
struct ReplicaFolders {
  os::Root root;
  WorkArea work;
  Leftovers leftovers;
  Staging staging;

  // `made`: the folder that the replica was made with. FAILED_PRECONDITION: another one stands there, or it lies on
  // another filesystem than its work area.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ReplicaFolders>> Open(const ReplicaPlace& place,
                                                                            const model::ReplicaState& state,
                                                                            const Identity& made);

  ReplicaFolders(os::Root opened, WorkArea area)
      : root(std::move(opened)), work(std::move(area)), leftovers(work), staging(root, work, leftovers) {}
  ReplicaFolders(const ReplicaFolders&) = delete;
  ReplicaFolders& operator=(const ReplicaFolders&) = delete;
};

// Makes the folder `root` (0755), and those above it up to the export's, where they are missing; it is there for good
// when this returns OK.
[[nodiscard]] absl::StatusOr<Identity> MakeReplicaFolder(const std::string& root, const std::string& export_path);

// The folder `root` as it is; what it holds is durable when this returns OK. NOT_FOUND: there is none.
[[nodiscard]] absl::StatusOr<Identity> FindReplicaFolder(const std::string& root, const std::string& export_path);

// Whether nothing is in the folder `root`, or there is none. FAILED_PRECONDITION: something is.
[[nodiscard]] absl::Status CheckEmptyFolder(const std::string& root, const std::string& export_path);

}  // namespace understudy::dr
