#include "control/sync/kube_reader.h"

#include <fmt/format.h>

#include "core/kube/resource.h"

namespace understudy::control {
namespace {

bool IsSnapshotKind(model::ObjectKind kind) {
  return kind == model::ObjectKind::kVolumeSnapshot || kind == model::ObjectKind::kVolumeSnapshotContent;
}

}  // namespace

absl::StatusOr<std::vector<nlohmann::json>> KubeReader::List(model::ObjectKind kind, const std::string& namespace_name,
                                                             std::stop_token stop) const {
  absl::StatusOr<kube::ListResult> listed = client_.List(kube::ResourceOf(kind), namespace_name, std::move(stop));
  // Only the snapshots' kinds may be missing from a cluster.
  if (absl::IsNotFound(listed.status()) && !IsSnapshotKind(kind)) {
    return absl::UnavailableError(fmt::format("{}; is this a Kubernetes API?", MessageOf(listed.status())));
  }
  RETURN_IF_ERROR(listed.status());
  return std::move(listed->items);
}

absl::StatusOr<nlohmann::json> KubeReader::Get(const model::ObjectKey& key) const {
  absl::StatusOr<nlohmann::json> object = client_.Get(kube::ResourceOf(key.kind), key.namespace_name, key.name);
  // What says that an object isn't there has to be the API itself: deletions follow from it.
  if (absl::IsNotFound(object.status()) && kube::ApiReason(object.status()) != "NotFound") {
    return absl::UnavailableError(fmt::format("{}; is this a Kubernetes API?", MessageOf(object.status())));
  }
  return object;
}

}  // namespace understudy::control
