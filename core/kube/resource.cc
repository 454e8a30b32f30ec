#include "core/kube/resource.h"

#include <fmt/format.h>

namespace understudy::kube {

const Resource& ResourceOf(model::ObjectKind kind) {
  switch (kind) {
    case model::ObjectKind::kPersistentVolume:
      return kPersistentVolumes;
    case model::ObjectKind::kPersistentVolumeClaim:
      return kPersistentVolumeClaims;
    case model::ObjectKind::kVolumeSnapshot:
      return kVolumeSnapshots;
    case model::ObjectKind::kVolumeSnapshotContent:
      return kVolumeSnapshotContents;
  }
  AbortOnBrokenInvariant("known ObjectKind", __FILE__, __LINE__);
}

std::string ApiVersionOf(const Resource& resource) {
  if (resource.group.empty()) return std::string(resource.version);
  return fmt::format("{}/{}", resource.group, resource.version);
}

std::string CollectionPath(const Resource& resource, std::string_view namespace_name) {
  std::string path = fmt::format("/{}/{}", resource.group.empty() ? "api" : "apis", ApiVersionOf(resource));
  if (!namespace_name.empty()) path += fmt::format("/namespaces/{}", namespace_name);
  return fmt::format("{}/{}", path, resource.plural);
}

std::string ObjectPath(const Resource& resource, std::string_view namespace_name, std::string_view name) {
  return fmt::format("{}/{}", CollectionPath(resource, namespace_name), name);
}

}  // namespace understudy::kube
