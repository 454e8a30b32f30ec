// tcp_connect.h: a TCP connection within a deadline that a stop request cuts short, and waiting for sockets like that.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/os/fd.h"

namespace understudy::net {

// How long something may take, and what ends it sooner. Used by one thread; the stop may come from any.
class IoDeadline {
 public:
  IoDeadline(absl::Duration timeout, std::stop_token stop);
  ~IoDeadline();
  IoDeadline(const IoDeadline&) = delete;
  IoDeadline& operator=(const IoDeadline&) = delete;

  // Returns when `fd` is ready for one of poll's `events`. DEADLINE_EXCEEDED and CANCELLED name `what`.
  [[nodiscard]] absl::Status WaitFor(int fd, short events, std::string_view what) const;

 private:
  class Waker;

  const absl::Duration until_;  // by the monotonic clock
  const std::stop_token stop_;
  const std::unique_ptr<Waker> waker_;
};

// A socket that doesn't block, connected to host:port; of several addresses the first that takes the connection. The
// name is looked up without a deadline: write addresses where the resolver may be away. NOT_FOUND: no such host.
// UNAVAILABLE: nobody listens, or no way leads there. DEADLINE_EXCEEDED, CANCELLED.
[[nodiscard]] absl::StatusOr<os::Fd> ConnectTcp(const std::string& host, uint16_t port, const IoDeadline& deadline);

// "host:port", with an IPv6 address in brackets.
[[nodiscard]] std::string HostAndPort(std::string_view host, uint16_t port);

}  // namespace understudy::net
