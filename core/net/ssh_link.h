// ssh_link.h: a socket and libssh2's session over it, driven without blocking; for core/net/ssh_session.cc.
#pragma once

#include <libssh2.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>

#include "core/base/status.h"
#include "core/net/tcp_connect.h"
#include "core/os/fd.h"

namespace understudy::net {

// Not thread-safe.
class SshLink {
 public:
  // `where` names the server in messages.
  SshLink(os::Fd socket, std::string where);
  // Tells the server if that can be done at once, and hangs up.
  ~SshLink();
  SshLink(const SshLink&) = delete;
  SshLink& operator=(const SshLink&) = delete;

  [[nodiscard]] LIBSSH2_SESSION* session() const { return session_; }
  [[nodiscard]] const std::string& where() const { return where_; }

  // Calls `step` until it returns something else than LIBSSH2_ERROR_EAGAIN, and returns that: an error of libssh2 is a
  // value here. DEADLINE_EXCEEDED, CANCELLED.
  [[nodiscard]] absl::StatusOr<ssize_t> Await(std::string_view what, const IoDeadline& deadline,
                                              const std::function<ssize_t()>& step);
  // The same for an object: null on an error of libssh2.
  template <class Object>
  [[nodiscard]] absl::StatusOr<Object*> AwaitObject(std::string_view what, const IoDeadline& deadline,
                                                    const std::function<Object*()>& step) {
    Object* made = nullptr;
    const absl::StatusOr<ssize_t> waited = Await(what, deadline, [&]() -> ssize_t {
      made = step();
      return made != nullptr ? 0 : libssh2_session_last_errno(session_);
    });
    RETURN_IF_ERROR(waited.status());
    return made;
  }
  [[nodiscard]] absl::Status WaitForSocket(std::string_view what, const IoDeadline& deadline);

  // "<what> at <where>: <libssh2's words>".
  [[nodiscard]] absl::Status Error(absl::StatusCode code, std::string_view what) const;

 private:
  const os::Fd socket_;
  const std::string where_;
  LIBSSH2_SESSION* const session_;
};

}  // namespace understudy::net
