#include "core/net/tcp_connect.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>

#include "core/base/clock.h"

namespace understudy::net {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* addresses) const { freeaddrinfo(addresses); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

absl::StatusOr<Addresses> Resolve(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error == 0) return Addresses(found);
  const std::string message = fmt::format("host {}: {}", host, gai_strerror(error));
  return error == EAI_AGAIN ? absl::UnavailableError(message) : absl::NotFoundError(message);
}

absl::StatusOr<os::Fd> ConnectOne(const addrinfo& address, std::string_view what, const IoDeadline& deadline) {
  os::Fd socket(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return ErrnoStatus(errno, what);
  const int one = 1;
  // Small packets of a protocol that asks and answers; if it can't be set it only gets slower.
  static_cast<void>(setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
  if (connect(socket.get(), address.ai_addr, address.ai_addrlen) == 0) return socket;
  if (errno != EINPROGRESS) return absl::UnavailableError(ErrnoStatus(errno, what).message());
  RETURN_IF_ERROR(deadline.WaitFor(socket.get(), POLLOUT, what));
  int error = 0;
  socklen_t size = sizeof(error);
  if (getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) return absl::UnavailableError(ErrnoStatus(error, what).message());
  return socket;
}

}  // namespace

// A descriptor that can be read from as soon as a stop was requested.
class IoDeadline::Waker {
 public:
  explicit Waker(const std::stop_token& stop)
      : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), callback_(stop, [this] { eventfd_write(event_.get(), 1); }) {
    UNDERSTUDY_CHECK(event_.valid());
  }
  [[nodiscard]] int fd() const { return event_.get(); }

 private:
  const os::Fd event_;
  const std::stop_callback<std::function<void()>> callback_;
};

IoDeadline::IoDeadline(absl::Duration timeout, std::stop_token stop)
    : until_(Clock::System().Monotonic() + timeout), stop_(stop), waker_(std::make_unique<Waker>(stop)) {}

IoDeadline::~IoDeadline() = default;

absl::Status IoDeadline::WaitFor(int fd, short events, std::string_view what) const {
  // Looked at again now and then, so that a duration that doesn't fit poll's milliseconds is none.
  constexpr absl::Duration kLongestPoll = absl::Minutes(1);
  while (true) {
    if (stop_.stop_requested()) return absl::CancelledError(fmt::format("{}: stopped", what));
    const absl::Duration left = until_ - Clock::System().Monotonic();
    if (left <= absl::ZeroDuration()) return absl::DeadlineExceededError(fmt::format("{}: no answer in time", what));
    std::array<pollfd, 2> polled = {pollfd{.fd = fd, .events = events, .revents = 0},
                                    pollfd{.fd = waker_->fd(), .events = POLLIN, .revents = 0}};
    const auto milliseconds =
        static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(std::min(left, kLongestPoll), absl::Milliseconds(1))));
    const int ready = poll(polled.data(), polled.size(), milliseconds);
    if (ready < 0 && errno != EINTR) return ErrnoStatus(errno, what);
    if (ready > 0 && polled[0].revents != 0) return absl::OkStatus();
  }
}

absl::StatusOr<os::Fd> ConnectTcp(const std::string& host, uint16_t port, const IoDeadline& deadline) {
  const std::string what = fmt::format("connecting to {}", HostAndPort(host, port));
  ASSIGN_OR_RETURN(const Addresses addresses, Resolve(host, port));
  absl::Status last = absl::NotFoundError(fmt::format("{}: the host has no address", what));
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    absl::StatusOr<os::Fd> socket = ConnectOne(*address, what, deadline);
    if (!absl::IsUnavailable(socket.status())) return socket;
    last = socket.status();
  }
  return last;
}

std::string HostAndPort(std::string_view host, uint16_t port) {
  const bool is_v6 = host.find(':') != std::string_view::npos;
  return is_v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

}  // namespace understudy::net
