#include "core/net/ssh_session.h"

#include <fmt/format.h>
#include <libssh2.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>

#include "core/base/log.h"
#include "core/net/known_hosts.h"
#include "core/net/secret_file.h"
#include "core/net/ssh_link.h"

namespace understudy::net {
namespace {

constexpr unsigned int kChannelWindowBytes = LIBSSH2_CHANNEL_WINDOW_DEFAULT;
constexpr unsigned int kChannelPacketBytes = LIBSSH2_CHANNEL_PACKET_DEFAULT;
constexpr size_t kReadBytes = 16 * 1024;
constexpr int kMaxAgentKeys = 32;
// In the order of preference for kinds of which nothing is known.
constexpr std::string_view kAllAlgorithms =
    "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,ssh-rsa";

struct FreeChannel {
  // Frees what is here; the session's end tells the server.
  void operator()(LIBSSH2_CHANNEL* channel) const { libssh2_channel_free(channel); }
};
using Channel = std::unique_ptr<LIBSSH2_CHANNEL, FreeChannel>;

struct FreeAgent {
  void operator()(LIBSSH2_AGENT* agent) const { libssh2_agent_free(agent); }
};
using Agent = std::unique_ptr<LIBSSH2_AGENT, FreeAgent>;

std::vector<std::string> NamesOf(const SshTarget& target) {
  std::vector<std::string> names = target.known_as;
  names.push_back(target.host);
  return names;
}

// A server has several host keys and shows one: the kinds that the file has are asked for first.
absl::Status PreferKnown(SshLink& link, const std::vector<std::string>& known) {
  if (known.empty()) return absl::OkStatus();
  const std::string preferred = fmt::format("{},{}", fmt::join(known, ","), kAllAlgorithms);
  if (libssh2_session_method_pref(link.session(), LIBSSH2_METHOD_HOSTKEY, preferred.c_str()) == 0) {
    return absl::OkStatus();
  }
  return link.Error(absl::StatusCode::kInternal, "choosing kinds of host keys");
}

absl::Status Handshake(SshLink& link, int socket, const IoDeadline& deadline) {
  ASSIGN_OR_RETURN(const ssize_t result, link.Await("the handshake", deadline,
                                                    [&] { return libssh2_session_handshake(link.session(), socket); }));
  return result == 0 ? absl::OkStatus() : link.Error(absl::StatusCode::kUnavailable, "the SSH handshake");
}

std::string KnownHostsName(const SshTarget& target) {
  if (!target.known_as.empty()) return target.known_as.front();
  return target.port == 22 ? target.host : fmt::format("[{}]:{}", target.host, target.port);
}

absl::Status CheckHostKey(SshLink& link, const SshTarget& target, const KnownHosts& known) {
  size_t size = 0;
  HostKey key;
  const char* const bytes = libssh2_session_hostkey(link.session(), &size, &key.type);
  if (bytes == nullptr) return link.Error(absl::StatusCode::kUnavailable, "the host key");
  key.bytes.assign(bytes, size);
  const HostKeyVerdict verdict = known.Check(NamesOf(target), target.port, key);
  if (verdict == HostKeyVerdict::kTrusted) return absl::OkStatus();
  const std::string shown =
      fmt::format("{} shows the host key {} {}", link.where(), AlgorithmOf(key), FingerprintOf(key));
  const std::string& file = target.known_hosts.native();
  switch (verdict) {
    case HostKeyVerdict::kChanged:
      return absl::UnauthenticatedError(
          fmt::format("{}, but {} has another for it: somebody may be in between, or it was made anew. If you are sure "
                      "that it is the right one, put it in place of the old line",
                      shown, file));
    case HostKeyVerdict::kRevoked:
      return absl::UnauthenticatedError(fmt::format("{}, which {} says is revoked", shown, file));
    case HostKeyVerdict::kUnknown:
    case HostKeyVerdict::kTrusted:
      break;
  }
  return absl::UnauthenticatedError(
      fmt::format("{}, and {} has none for it ({}). Compare the fingerprint with `ssh-keygen -lf "
                  "/etc/ssh/ssh_host_*_key.pub` there, then add the line '{} {} …' that `ssh-keyscan -p {} {}` prints",
                  shown, file, fmt::join(NamesOf(target), ", "), KnownHostsName(target), AlgorithmOf(key), target.port,
                  target.host));
}

absl::Status Refused(const SshLink& link, const SshTarget& target, std::string_view with) {
  return absl::PermissionDeniedError(fmt::format(
      "{} doesn't take {} for user {}: is it in the user's authorized_keys? An RSA key doesn't do here where "
      "the server refuses SHA-1: use an ed25519 or ECDSA key",
      link.where(), with, target.user));
}

absl::Status CheckReadable(const std::filesystem::path& file) {
  errno = 0;
  const std::ifstream stream(file, std::ios::binary);
  if (stream) return absl::OkStatus();
  return absl::InvalidArgumentError(
      ErrnoStatus(errno != 0 ? errno : ENOENT, fmt::format("key file {}", file.native())).message());
}

absl::Status SignInWithFile(SshLink& link, const SshTarget& target, const IoDeadline& deadline) {
  RETURN_IF_ERROR(CheckReadable(target.key_file));
  std::string passphrase;
  if (!target.passphrase_file.empty()) {
    const absl::StatusOr<std::string> read = SecretFile(target.passphrase_file).Read();
    if (!read.ok()) return absl::InvalidArgumentError(read.status().message());
    passphrase = *read;
  }
  ASSIGN_OR_RETURN(const ssize_t result, link.Await("signing in", deadline, [&] {
    return libssh2_userauth_publickey_fromfile_ex(link.session(), target.user.c_str(),
                                                  static_cast<unsigned int>(target.user.size()), nullptr,
                                                  target.key_file.c_str(), passphrase.c_str());
  }));
  switch (result) {
    case 0:
      return absl::OkStatus();
    case LIBSSH2_ERROR_AUTHENTICATION_FAILED:
    case LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED:
      return Refused(link, target, fmt::format("the key {}", target.key_file.native()));
    case LIBSSH2_ERROR_FILE:
    case LIBSSH2_ERROR_METHOD_NONE:
    case LIBSSH2_ERROR_KEYFILE_AUTH_FAILED:
      return absl::InvalidArgumentError(
          fmt::format("key file {}: it can't be used: it is no private key, or its passphrase is {}",
                      target.key_file.native(), target.passphrase_file.empty() ? "missing" : "another"));
    default:
      return link.Error(absl::StatusCode::kUnavailable, "signing in");
  }
}

absl::Status SignInWithAgent(SshLink& link, const SshTarget& target, const IoDeadline& deadline) {
  const Agent agent(libssh2_agent_init(link.session()));
  UNDERSTUDY_CHECK(agent != nullptr);
  if (libssh2_agent_connect(agent.get()) != 0 || libssh2_agent_list_identities(agent.get()) != 0) {
    return absl::InvalidArgumentError(
        "no key_file is given, and no ssh-agent answers at $SSH_AUTH_SOCK: give one of the two");
  }
  libssh2_agent_publickey* key = nullptr;
  for (int i = 0; i < kMaxAgentKeys; ++i) {
    libssh2_agent_publickey* const previous = key;
    if (libssh2_agent_get_identity(agent.get(), &key, previous) != 0) break;
    ASSIGN_OR_RETURN(const ssize_t result, link.Await("signing in", deadline, [&] {
      return libssh2_agent_userauth(agent.get(), target.user.c_str(), key);
    }));
    if (result == 0) return absl::OkStatus();
  }
  return Refused(link, target, "any key of the ssh-agent");
}

void Keep(std::string& kept, std::string_view more, size_t limit, bool& truncated) {
  const size_t room = limit - std::min(limit, kept.size());
  truncated = truncated || more.size() > room;
  kept.append(more.substr(0, room));
}

}  // namespace

class SshSession::Link {
 public:
  Link(os::Fd socket, std::string where) : fd_(socket.get()), link_(std::move(socket), std::move(where)) {}

  absl::Status SignIn(const SshTarget& target, const IoDeadline& deadline) {
    ASSIGN_OR_RETURN(const std::unique_ptr<KnownHosts> known, KnownHosts::Load(link_.session(), target.known_hosts));
    RETURN_IF_ERROR(PreferKnown(link_, known->AlgorithmsFor(NamesOf(target), target.port)));
    RETURN_IF_ERROR(Handshake(link_, fd_, deadline));
    RETURN_IF_ERROR(CheckHostKey(link_, target, *known));
    return target.key_file.empty() ? SignInWithAgent(link_, target, deadline) : SignInWithFile(link_, target, deadline);
  }

  absl::StatusOr<SshRun> Run(const std::string& command, size_t max_output_bytes, const IoDeadline& deadline) {
    ASSIGN_OR_RETURN(LIBSSH2_CHANNEL* const opened, link_.AwaitObject<LIBSSH2_CHANNEL>("a session", deadline, [&] {
      return libssh2_channel_open_ex(link_.session(), "session", sizeof("session") - 1, kChannelWindowBytes,
                                     kChannelPacketBytes, nullptr, 0);
    }));
    if (opened == nullptr) return link_.Error(absl::StatusCode::kUnavailable, "a session");
    const Channel channel(opened);
    RETURN_IF_ERROR(Ask("the command", deadline, [&] {
      return libssh2_channel_process_startup(opened, "exec", sizeof("exec") - 1, command.c_str(),
                                             static_cast<unsigned int>(command.size()));
    }));
    RETURN_IF_ERROR(Ask("the command", deadline, [&] { return libssh2_channel_send_eof(opened); }));
    SshRun run;
    RETURN_IF_ERROR(ReadAll(opened, max_output_bytes, deadline, run));
    RETURN_IF_ERROR(Ask("the command's end", deadline, [&] { return libssh2_channel_close(opened); }));
    RETURN_IF_ERROR(Ask("the command's end", deadline, [&] { return libssh2_channel_wait_closed(opened); }));
    TakeEnd(opened, run);
    return run;
  }

 private:
  absl::Status Ask(std::string_view what, const IoDeadline& deadline, const std::function<int()>& step) {
    ASSIGN_OR_RETURN(const ssize_t result, link_.Await(what, deadline, [&]() -> ssize_t { return step(); }));
    return result < 0 ? link_.Error(absl::StatusCode::kUnavailable, what) : absl::OkStatus();
  }

  // One read of each kind. Whether any brought something.
  absl::StatusOr<bool> ReadSome(LIBSSH2_CHANNEL* channel, size_t limit, SshRun& run) {
    std::array<char, kReadBytes> buffer{};
    bool any = false;
    for (const int stream : {0, SSH_EXTENDED_DATA_STDERR}) {
      const ssize_t size = libssh2_channel_read_ex(channel, stream, buffer.data(), buffer.size());
      if (size == LIBSSH2_ERROR_EAGAIN || size == 0) continue;
      if (size < 0) return link_.Error(absl::StatusCode::kUnavailable, "the command's output");
      any = true;
      Keep(stream == 0 ? run.out : run.err, {buffer.data(), static_cast<size_t>(size)}, limit, run.truncated);
    }
    return any;
  }

  absl::Status ReadAll(LIBSSH2_CHANNEL* channel, size_t limit, const IoDeadline& deadline, SshRun& run) {
    while (true) {
      ASSIGN_OR_RETURN(const bool any, ReadSome(channel, limit, run));
      if (any) continue;
      if (libssh2_channel_eof(channel) != 0) return absl::OkStatus();
      RETURN_IF_ERROR(link_.WaitForSocket("the command", deadline));
    }
  }

  void TakeEnd(LIBSSH2_CHANNEL* channel, SshRun& run) {
    char* signal = nullptr;
    size_t size = 0;
    libssh2_channel_get_exit_signal(channel, &signal, &size, nullptr, nullptr, nullptr, nullptr);
    if (signal != nullptr) {
      run.signal.assign(signal, size);
      libssh2_free(link_.session(), signal);
    }
    if (run.signal.empty()) run.exit_code = libssh2_channel_get_exit_status(channel);
  }

  const int fd_;
  SshLink link_;
};

SshSession::SshSession(std::unique_ptr<Link> link) : link_(std::move(link)) {}
SshSession::~SshSession() = default;

absl::StatusOr<std::unique_ptr<SshSession>> SshSession::Connect(const SshTarget& target, absl::Duration timeout,
                                                                std::stop_token stop) {
  const IoDeadline deadline(timeout, stop);
  ASSIGN_OR_RETURN(os::Fd socket, ConnectTcp(target.host, target.port, deadline));
  auto link = std::make_unique<Link>(std::move(socket), HostAndPort(target.host, target.port));
  RETURN_IF_ERROR(link->SignIn(target, deadline));
  return std::unique_ptr<SshSession>(new SshSession(std::move(link)));
}

absl::StatusOr<SshRun> SshSession::Run(const std::string& command, size_t max_output_bytes, absl::Duration timeout,
                                       std::stop_token stop) {
  const IoDeadline deadline(timeout, stop);
  return link_->Run(command, max_output_bytes, deadline);
}

}  // namespace understudy::net
