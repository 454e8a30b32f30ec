// listing.h: the storage objects of a run's namespaces, as both clusters listed them. Pure, but for ReadListing.
#pragma once

#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "control/report/report.h"
#include "control/sync/ports.h"

namespace understudy::control {

// Objects by their keys; the objects are whole.
using Objects = std::map<model::ObjectKey, nlohmann::json>;

struct Listing {
  Objects objects;
  std::vector<ListResult> lists;                        // each list that was made, with its error
  bool unreachable = false;                             // a list failed because the cluster can't be reached
  absl::StatusOr<std::string> cluster = std::string();  // its uid (ClusterReader::Uid), where it was asked for

  // Whether every list of a kind that is served is complete.
  [[nodiscard]] bool Complete() const;
  // Whether the cluster knows the kind.
  [[nodiscard]] bool Serves(model::ObjectKind kind) const;
  // Whether the lists that would hold `kind` of `namespace_name` are complete.
  [[nodiscard]] bool CompleteFor(model::ObjectKind kind, const std::string& namespace_name) const;
};

// Lists the four kinds: claims and snapshots of each namespace (of the whole cluster when there are none), volumes and
// contents of the cluster. A list that fails fails alone. `cluster` is its name in the report.
[[nodiscard]] Listing ReadListing(const ClusterReader& reader, const std::string& cluster,
                                  const std::vector<std::string>& namespaces, std::stop_token stop);

// The uid at the primary of what Understudy made; empty: it didn't make this.
[[nodiscard]] std::string MadeFrom(const nlohmann::json& object);
// The namespace that an object belongs to: its own, that of a volume's claim, or that of a content's snapshot.
[[nodiscard]] std::string NamespaceOf(const model::ObjectKey& key, const nlohmann::json& object);
// Whether it belongs to one of `namespaces`; everything does when there are none.
[[nodiscard]] bool InScope(const model::ObjectKey& key, const nlohmann::json& object,
                           const std::vector<std::string>& namespaces);

}  // namespace understudy::control
