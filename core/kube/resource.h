// resource.h: the kinds that are read and written, and where the API serves them. Pure.
#pragma once

#include <string>
#include <string_view>

#include "core/model/object.h"

namespace understudy::kube {

struct Resource {
  std::string_view group;  // empty for the core group
  std::string_view version;
  std::string_view plural;
  std::string_view kind;
  bool namespaced = false;
};

inline constexpr Resource kPersistentVolumes{"", "v1", "persistentvolumes", "PersistentVolume", false};
inline constexpr Resource kPersistentVolumeClaims{"", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true};
inline constexpr Resource kVolumeSnapshots{"snapshot.storage.k8s.io", "v1", "volumesnapshots", "VolumeSnapshot", true};
inline constexpr Resource kVolumeSnapshotContents{"snapshot.storage.k8s.io", "v1", "volumesnapshotcontents",
                                                  "VolumeSnapshotContent", false};
inline constexpr Resource kNamespaces{"", "v1", "namespaces", "Namespace", false};

// KubeVirt's, and CDI's, which need not be installed.
inline constexpr Resource kVirtualMachines{"kubevirt.io", "v1", "virtualmachines", "VirtualMachine", true};
inline constexpr Resource kVirtualMachineInstances{"kubevirt.io", "v1", "virtualmachineinstances",
                                                   "VirtualMachineInstance", true};
inline constexpr Resource kDataVolumes{"cdi.kubevirt.io", "v1beta1", "datavolumes", "DataVolume", true};
// What KubeVirt's own API server serves below each object ("stop", "freeze"): for Client::Put and GetSubresource only.
inline constexpr Resource kVirtualMachineActions{"subresources.kubevirt.io", "v1", "virtualmachines", "VirtualMachine",
                                                 true};
inline constexpr Resource kVirtualMachineInstanceActions{"subresources.kubevirt.io", "v1", "virtualmachineinstances",
                                                         "VirtualMachineInstance", true};

// Velero's.
inline constexpr Resource kBackups{"velero.io", "v1", "backups", "Backup", true};
inline constexpr Resource kRestores{"velero.io", "v1", "restores", "Restore", true};
inline constexpr Resource kBackupStorageLocations{"velero.io", "v1", "backupstoragelocations", "BackupStorageLocation",
                                                  true};

[[nodiscard]] const Resource& ResourceOf(model::ObjectKind kind);

// "v1", "snapshot.storage.k8s.io/v1".
[[nodiscard]] std::string ApiVersionOf(const Resource& resource);

// "/api/v1/namespaces/shop/persistentvolumeclaims"; an empty namespace: of the whole cluster.
[[nodiscard]] std::string CollectionPath(const Resource& resource, std::string_view namespace_name);
[[nodiscard]] std::string ObjectPath(const Resource& resource, std::string_view namespace_name, std::string_view name);

}  // namespace understudy::kube
