// replica_tree.h: a replica's folder for a walk that doesn't hold commits up.
#pragma once

#include <fcntl.h>

#include <optional>
#include <string>
#include <utility>

#include "agent-dr/commit/replica.h"

namespace understudy::dr {

struct ReplicaTree {
  os::Root root;  // a descriptor of its own
  std::string excluded_name;
};

// UNAVAILABLE: the folder can't be reached.
[[nodiscard]] inline absl::StatusOr<ReplicaTree> OpenTree(Replica& replica) {
  std::optional<ReplicaTree> tree;
  RETURN_IF_ERROR(replica.WithPublished([&](const Replica::Published& published) -> absl::Status {
    ASSIGN_OR_RETURN(os::Fd folder, published.root.OpenPath("", O_RDONLY | O_DIRECTORY));
    tree = ReplicaTree{os::Root(std::move(folder)), published.excluded_name};
    return absl::OkStatus();
  }));
  return *std::move(tree);
}

}  // namespace understudy::dr
