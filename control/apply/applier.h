// applier.h: brings storage objects of the DR cluster to the wanted state, and deletes what Understudy made.
//
// An object that exists without Understudy's label is never changed and never deleted. Nothing is forced. After a
// failover objects go the other way, too: one that comes back to where it was made first is there, and stays as it is.
#pragma once

#include <string>
#include <string_view>

#include "core/base/status.h"
#include "core/kube/client.h"
#include "core/model/object.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

enum class DeleteOutcome {
  kDeleted,    // the API server accepted the deletion
  kAbsent,     // it wasn't there
  kLeftAlone,  // it isn't Understudy's, or was made from another object of that name
};

// Thread-safe.
class ObjectApplier {
 public:
  virtual ~ObjectApplier() = default;

  // `manifest` is what Transform returned. OK without a change: the object that is there is its origin (IsOriginOf) and
  // isn't Understudy's. Every error may be tried again later:
  //   ABORTED              the object is being deleted, was just deleted to be made anew, or somebody else set a field;
  //                        or a PersistentVolume that was made anew at the primary has to be released by its claim at
  //                        DR first, which was deleted and is to be applied again afterwards
  //   FAILED_PRECONDITION  an object of that name isn't Understudy's, or is another pair's, or is bound and differs
  //   where it can't be
  //                        changed, or its policy is no longer Retain and it would have to be deleted; or a claim is
  //                        applied but for its size, which DR doesn't change
  //   INVALID_ARGUMENT     the API server refuses the object
  //   PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE  as the API server says
  [[nodiscard]] virtual absl::Status Apply(const nlohmann::json& manifest) = 0;

  // Deletes the object that was made from the primary's object with `source_uid`. ABORTED: a PersistentVolume is still
  // bound; its claim has to go first. FAILED_PRECONDITION: its policy is no longer Retain, so data might go with it.
  [[nodiscard]] virtual absl::StatusOr<DeleteOutcome> Delete(const model::ObjectKey& key,
                                                             const std::string& source_uid) = 0;
};

// Whether an error of the applier is worth another try at once. A call whose time ran out isn't: it has taken long
// enough already, and there are more objects.
[[nodiscard]] inline bool PassesSoon(const absl::Status& status) {
  return absl::IsAborted(status) || absl::IsUnavailable(status);
}

// The manifest as it may be applied over `present`. A VolumeSnapshotContent's reference is one field to the API server,
// and the snapshot controller writes the uid of the snapshot into it: without that uid the manifest would contradict
// the controller for good. Pure.
[[nodiscard]] nlohmann::json WithBinding(nlohmann::json manifest, const nlohmann::json& present);

class KubeApplier : public ObjectApplier {
 public:
  // `client` is of the cluster that objects are brought to, and `site` what people call that. Both must outlive the
  // applier.
  explicit KubeApplier(const kube::Client& client, std::string_view site = "DR") : client_(client), site_(site) {}

  absl::Status Apply(const nlohmann::json& manifest) override;
  absl::StatusOr<DeleteOutcome> Delete(const model::ObjectKey& key, const std::string& source_uid) override;

 private:
  [[nodiscard]] absl::Status MakeWayFor(const nlohmann::json& manifest, const model::ObjectKey& key,
                                        const nlohmann::json& present);
  [[nodiscard]] absl::Status ReleaseEarlier(const model::ObjectKey& key, const nlohmann::json& present);
  [[nodiscard]] absl::StatusOr<nlohmann::json> ApplyInNamespace(const nlohmann::json& manifest,
                                                                const model::ObjectKey& key);
  // Over `present`, which may be null.
  [[nodiscard]] absl::Status ApplyClaim(const nlohmann::json& manifest, const model::ObjectKey& key,
                                        const nlohmann::json& present);
  [[nodiscard]] absl::Status EnsureNamespace(const std::string& name);
  [[nodiscard]] absl::Status FreeVolume(const nlohmann::json& volume);
  [[nodiscard]] absl::Status FreeVolumeOfClaim(const nlohmann::json& claim);
  [[nodiscard]] absl::Status FreeContent(const nlohmann::json& content);
  [[nodiscard]] absl::Status FreeContentOfSnapshot(const nlohmann::json& snapshot);

  const kube::Client& client_;
  const std::string_view site_;
};

}  // namespace understudy::control
