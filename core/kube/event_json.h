// event_json.h: the one JSON form of object events, as a forwarder posts it to the webhook and as Understudy posts it
// to an EDA webhook (docs/formats/events.md):
//
//   {"type": "ADDED|MODIFIED|DELETED", "kind": …, "namespace": … or null, "name": …, "resource": {…},
//    "event_id": …, "observed_at": "RFC 3339"}
//
// Pure but for the random id of an event that says nothing to make one from.
#pragma once

#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/model/object.h"

namespace understudy::kube {

inline constexpr size_t kMaxEventIdBytes = 256;
inline constexpr int kMaxEventDepth = 64;  // of nested objects and lists; Kubernetes' own objects stay far below

// INVALID_ARGUMENT says what is wrong, for who posts. `namespace` and `name` must be the resource's own. Where
// `event_id` is missing, it is made from type, uid and resourceVersion as a watch's is, so that a repeat is a repeat;
// where `observed_at` is missing, it is `now`. metadata.managedFields is dropped.
[[nodiscard]] absl::StatusOr<model::ObjectEvent> ParseEventJson(std::string_view text, absl::Time now);

// Of at most `max_bytes`. Past that, the resource is left to apiVersion, kind, metadata and status, at last to what
// names it, and `"truncated": true` says so.
[[nodiscard]] std::string EventJson(const model::ObjectEvent& event, size_t max_bytes);

// metadata.uid of the event's object; empty when there is none.
[[nodiscard]] std::string UidOf(const model::ObjectEvent& event);
// Its metadata.resourceVersion, likewise.
[[nodiscard]] std::string VersionOf(const model::ObjectEvent& event);

}  // namespace understudy::kube
