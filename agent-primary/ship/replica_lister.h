// replica_lister.h: what DR has of a volume, entry by entry, over a connection of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/verify.h"
#include "core/model/volume.h"
#include "core/net/channel.h"

namespace understudy::primary {

// Thread-safe.
class ReplicaLister {
 public:
  // That DR can't be reached shows at each call.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ReplicaLister>> Create(const net::ChannelSpec& peer);
  ~ReplicaLister();

  // In key order, the root's folder first, while commits go on; with `paths`, only these, with all acknowledged commits
  // in them. With digests DR reads its files. An error of `visit` or `on_wait` (called about once a second) ends it.
  // NOT_FOUND: DR has no such replica; UNAVAILABLE: it can't be reached.
  [[nodiscard]] absl::Status List(const model::VolumeName& volume, bool with_digests,
                                  const std::vector<std::string>& paths,
                                  const std::function<absl::Status(const model::ListedEntry&)>& visit,
                                  const std::function<absl::Status()>& on_wait) const;

 private:
  struct Stub;
  explicit ReplicaLister(std::unique_ptr<Stub> stub);
  const std::unique_ptr<Stub> stub_;
};

}  // namespace understudy::primary
