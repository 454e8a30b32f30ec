// nfs_source.h: the NFS directory that a PersistentVolume or VolumeSnapshotContent stands for. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "nlohmann/json.hpp"

namespace understudy::kube {

inline constexpr std::string_view kNfsCsiDriver = "nfs.csi.k8s.io";

struct NfsSource {
  std::string server;
  std::string path;  // absolute on that server: single slashes, none at the end, no "." or ".."
  friend bool operator==(const NfsSource&, const NfsSource&) = default;
};

// Of `spec.nfs`, or of `spec.csi` with kNfsCsiDriver: server, share and subdir of its volumeAttributes, keys in any
// case. nullopt: not an NFS volume, or one whose path leads upwards.
[[nodiscard]] std::optional<NfsSource> NfsSourceOf(const nlohmann::json& persistent_volume);

// A snapshot of csi-driver-nfs: an archive alone in a folder of its own beside the volumes.
struct NfsSnapshot {
  NfsSource folder;
  std::string archive;  // path in the folder, without its ending (kSnapshotEndings)
  friend bool operator==(const NfsSnapshot&, const NfsSnapshot&) = default;
};
inline constexpr std::string_view kSnapshotEndings[] = {".tar.gz", ".tar"};

// Of `status.snapshotHandle`, or of `spec.source.snapshotHandle` of a pre-provisioned one:
// "server#baseDir#name#name#src". nullopt: another driver's, no handle yet, or a path that leads upwards.
[[nodiscard]] std::optional<NfsSnapshot> NfsSnapshotOf(const nlohmann::json& snapshot_content);

// The key of `object` that is `wanted` (in lower case) in any case; end() when there is none.
[[nodiscard]] nlohmann::json::const_iterator FindInAnyCase(const nlohmann::json& object, std::string_view wanted);

}  // namespace understudy::kube
