#include "core/net/ssh_link.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

namespace understudy::net {
namespace {

constexpr int kFreeAttempts = 100;

LIBSSH2_SESSION* NewSession() {
  // Once for the process, and never taken back: other threads may be using it.
  static const int initialised = libssh2_init(0);
  UNDERSTUDY_CHECK(initialised == 0);
  LIBSSH2_SESSION* const session = libssh2_session_init_ex(nullptr, nullptr, nullptr, nullptr);
  UNDERSTUDY_CHECK(session != nullptr);
  libssh2_session_set_blocking(session, 0);
  return session;
}

}  // namespace

SshLink::SshLink(os::Fd socket, std::string where)
    : socket_(std::move(socket)), where_(std::move(where)), session_(NewSession()) {}

SshLink::~SshLink() {
  static_cast<void>(libssh2_session_disconnect(session_, "done"));
  shutdown(socket_.get(), SHUT_RDWR);
  // With the socket shut down nothing can be waited for: each call frees some more.
  for (int i = 0; i < kFreeAttempts && libssh2_session_free(session_) == LIBSSH2_ERROR_EAGAIN; ++i) {
  }
}

absl::StatusOr<ssize_t> SshLink::Await(std::string_view what, const IoDeadline& deadline,
                                       const std::function<ssize_t()>& step) {
  while (true) {
    const ssize_t result = step();
    if (result != LIBSSH2_ERROR_EAGAIN) return result;
    RETURN_IF_ERROR(WaitForSocket(what, deadline));
  }
}

absl::Status SshLink::WaitForSocket(std::string_view what, const IoDeadline& deadline) {
  const int directions = libssh2_session_block_directions(session_);
  int events = 0;
  if ((directions & LIBSSH2_SESSION_BLOCK_INBOUND) != 0) events |= POLLIN;
  if ((directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0) events |= POLLOUT;
  if (events == 0) events = POLLIN;
  return deadline.WaitFor(socket_.get(), static_cast<short>(events), fmt::format("{} at {}", what, where_));
}

absl::Status SshLink::Error(absl::StatusCode code, std::string_view what) const {
  char* message = nullptr;
  int length = 0;
  libssh2_session_last_error(session_, &message, &length, 0);
  return absl::Status(code,
                      fmt::format("{} at {}: {}", what, where_,
                                  std::string_view(message, message != nullptr ? static_cast<size_t>(length) : 0)));
}

}  // namespace understudy::net
