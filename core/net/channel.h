// channel.h: client connections to the agents, with mutual TLS.
#pragma once

#include <memory>
#include <string>

#include "core/base/status.h"
#include "core/net/tls_files.h"

namespace grpc {
class Channel;
}

namespace understudy::net {

struct ChannelSpec {
  std::string address;  // host:port; the server's certificate must name the host
  TlsFiles tls;
  Role own_role;     // that the own certificate has to carry
  Role server_role;  // that the server's certificate has to carry
};

// A channel that connects when it is first used, and again whenever the connection is lost (limits.h): a peer that was
// restarted is reached within about two seconds, however seldom anybody calls. As long as the process has a channel, it
// has one thread that drives them all.
// INVALID_ARGUMENT: `tls` is unfit, by CheckTlsFiles. That the peer can't be reached or trusted shows at each call, as
// UNAVAILABLE. Thread-safe, and so is the channel.
[[nodiscard]] absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelSpec& spec);

}  // namespace understudy::net
