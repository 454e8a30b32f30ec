// nfs_source.h: the NFS directory that a PersistentVolume stands for. Pure.
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

// The key of `object` that is `wanted` (in lower case) in any case; end() when there is none.
[[nodiscard]] nlohmann::json::const_iterator FindInAnyCase(const nlohmann::json& object, std::string_view wanted);

}  // namespace understudy::kube
