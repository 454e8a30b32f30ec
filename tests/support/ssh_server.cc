#include "tests/support/ssh_server.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

constexpr char kProgram[] = "/usr/sbin/sshd";  // it wants its whole path
constexpr absl::Duration kListenTimeout = absl::Seconds(30);

absl::Status MakeKey(const std::string& file, const std::string& type, const std::string& passphrase) {
  ASSIGN_OR_RETURN(const ProcessResult made,
                   RunProcess({.program = "ssh-keygen",
                               .arguments = {"-q", "-t", type, "-N", passphrase, "-C", "test", "-f", file}}));
  return made.exit_code == 0 ? absl::OkStatus() : absl::InternalError(made.err);
}

std::string Read(const std::string& file) {
  std::ifstream stream(file);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

// "type key" of a public key file, without its comment.
std::string PublicKey(const std::string& file) {
  const std::string text = Read(file);
  return text.substr(0, text.find(' ', text.find(' ') + 1));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SshServer>> SshServer::Start() {
  if (!std::filesystem::exists(kProgram)) {
    return absl::FailedPreconditionError("there is no sshd: install openssh-server (./dev setup does)");
  }
  std::unique_ptr<SshServer> server(new SshServer());
  const passwd* const user = getpwuid(geteuid());
  if (user == nullptr) return absl::FailedPreconditionError("the test's user has no name");
  server->user_ = user->pw_name;
  RETURN_IF_ERROR(server->MakeKeys());
  server->port_ = FreePort();
  // Only a server of root's wants it; where systemd runs, Debian's unit makes it.
  if (geteuid() == 0) std::filesystem::create_directories("/run/sshd");
  const std::string config = server->Write(
      "config", fmt::format("ListenAddress 127.0.0.1:{0}\nHostKey {1}\nHostKey {2}\nAuthorizedKeysFile {3}\n"
                            "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
                            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 100\n",
                            server->port_, server->File("host_ed25519"), server->File("host_ecdsa"),
                            server->File("authorized_keys")));
  ASSIGN_OR_RETURN(server->process_, Process::Start({.program = kProgram, .arguments = {"-D", "-e", "-f", config}}));
  const absl::Status listens = WaitForOk("sshd to listen", kListenTimeout, [&] {
    if (server->Log().find("Server listening") != std::string::npos) return absl::OkStatus();
    return absl::UnavailableError(server->Log());
  });
  RETURN_IF_ERROR(listens);
  return server;
}

SshServer::~SshServer() {
  if (process_ != nullptr) process_->Stop();
}

absl::Status SshServer::MakeKeys() const {
  RETURN_IF_ERROR(MakeKey(File("host_ed25519"), "ed25519", ""));
  RETURN_IF_ERROR(MakeKey(File("host_ecdsa"), "ecdsa", ""));
  RETURN_IF_ERROR(MakeKey(File("other_host"), "ed25519", ""));
  RETURN_IF_ERROR(MakeKey(KeyFile(), "ed25519", ""));
  RETURN_IF_ERROR(MakeKey(LockedKeyFile(), "ed25519", "open sesame"));
  RETURN_IF_ERROR(MakeKey(StrangersKeyFile(), "ed25519", ""));
  Write("authorized_keys", Read(KeyFile() + ".pub") + Read(LockedKeyFile() + ".pub"));
  return absl::OkStatus();
}

std::string SshServer::Write(const std::string& name, const std::string& text) const {
  std::ofstream(File(name)) << text;
  return File(name);
}

std::string SshServer::KnownHosts(const std::string& names) const {
  const std::string address = fmt::format("[127.0.0.1]:{}", port_);
  return Write("known_hosts", fmt::format("# of a test\n{} {}\n", names.empty() ? address : names, PublicHostKey()));
}

std::string SshServer::ChangedKnownHosts() const {
  return Write("changed_known_hosts", fmt::format("[127.0.0.1]:{} {}\n", port_, PublicKey(File("other_host.pub"))));
}

std::string SshServer::PublicHostKey() const {
  return PublicKey(File("host_ed25519.pub"));
}

std::string SshServer::Fingerprint() const {
  const auto told = RunProcess({.program = "ssh-keygen", .arguments = {"-l", "-f", File("host_ed25519.pub")}});
  if (!told.ok()) return {};
  const size_t begin = told->out.find("SHA256:");
  return told->out.substr(begin, told->out.find(' ', begin) - begin);
}

}  // namespace understudy::tests
