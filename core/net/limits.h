// limits.h: the bounds of every gRPC connection. Both sides have to agree on them.
#pragma once

#include <cstddef>

#include "absl/time/time.h"

namespace understudy::net {

inline constexpr int kMaxMessageBytes = 8 * 1024 * 1024;
inline constexpr int kMaxMetadataBytes = 64 * 1024;
// Of one server. A call that is under way holds one; past it calls are refused with RESOURCE_EXHAUSTED.
inline constexpr int kMaxServerThreads = 128;
inline constexpr int kMaxStreamsPerConnection = 64;

// A silent link is asked this often, and given up when no answer comes: a half-open one is noticed within 20 seconds.
inline constexpr absl::Duration kKeepaliveInterval = absl::Seconds(10);
inline constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(10);
inline constexpr absl::Duration kLeastPingInterval = absl::Seconds(5);  // a peer that pings more often is cut off

inline constexpr absl::Duration kConnectTimeout = absl::Seconds(5);
inline constexpr absl::Duration kFirstReconnectBackoff = absl::Milliseconds(200);
// Short, so that an agent that was restarted is reached again about as soon as it listens.
inline constexpr absl::Duration kMaxReconnectBackoff = absl::Seconds(1);

// How often certificate files are looked at for renewal.
inline constexpr absl::Duration kCertificateRefreshInterval = absl::Seconds(10);

}  // namespace understudy::net
