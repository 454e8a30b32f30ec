#include "core/config/failover_vm_settings.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/log.h"

namespace understudy::config {
namespace {

constexpr absl::Duration kLongestWait = absl::Hours(24);
constexpr uint64_t kMaxPort = 65535;
constexpr uint64_t kMaxExitCode = 255;
constexpr uint64_t kLeastHttpStatus = 100;
constexpr uint64_t kMaxHttpStatus = 599;
constexpr size_t kMaxGlobBytes = 512;

// Names of Kubernetes objects with `*` and `?` among them, and one slash at least unless a `*` may stand for it.
absl::Status CheckVmGlob(const std::string& text) {
  const bool plain =
      !text.empty() && text.size() <= kMaxGlobBytes && std::all_of(text.begin(), text.end(), [](unsigned char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               std::string_view("-./*?").find(static_cast<char>(c)) != std::string_view::npos;
      });
  if (plain && (text.find('/') != std::string::npos || text.starts_with('*'))) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("'{}': write namespace/name, in which * and ? may stand for any characters and for one: shop/db-*",
                  Printable(text)));
}

// What may stand in a message and in a URL or a protocol as it is.
bool IsPlain(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
}

absl::Status CheckHost(const std::string& text) {
  if (!text.empty() && IsPlain(text) && text.find('/') == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("'{}': write a host name or an address", Printable(text)));
}

absl::Status CheckUser(const std::string& text) {
  if (!text.empty() && IsPlain(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("'{}': write a user's name", Printable(text)));
}

absl::Status CheckProbeUrl(const std::string& text) {
  const bool web = text.starts_with("http://") || text.starts_with("https://");
  if (web && IsPlain(text) && text.find('@') == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("'{}': write a URL without a user in it, such as http://{{ip}}:8080/healthz", Printable(text)));
}

void DescribeVms(Visitor& v, std::vector<std::string>& vms, std::string_view doc) {
  v.TextList({.key = "vms", .doc = doc, .required = true}, vms, CheckVmGlob);
}

}  // namespace

void BootGroupConfig::Describe(Visitor& v) {
  DescribeVms(v, vms,
              "machines of the group: namespace/name, with * and ?; a machine belongs to the first that it fits");
  v.Boolean({.key = "expect_agent", .doc = "whether a machine is well only when its guest agent answers"},
            expect_agent);
  v.Duration({.key = "timeout", .doc = "how long the group is waited for"}, timeout, absl::Seconds(1), kLongestWait);
  v.Duration({.key = "pause_after", .doc = "pause between this group and the next"}, pause_after, absl::ZeroDuration(),
             kLongestWait);
}

void TcpProbeConfig::Describe(Visitor& v) {
  v.Count({.key = "port", .doc = "port that has to accept a connection", .required = true}, port, 1, kMaxPort);
  v.Text({.key = "host", .doc = "host to connect to", .default_text = "the machine's address"}, host, CheckHost);
}

void HttpProbeConfig::Describe(Visitor& v) {
  v.Text({.key = "url", .doc = "address to get; `{ip}` stands for the machine's address", .required = true}, url,
         CheckProbeUrl);
  v.Count({.key = "status", .doc = "status that the answer has to have"}, status, kLeastHttpStatus, kMaxHttpStatus);
  v.Text({.key = "body", .doc = "text that has to be in the answer", .default_text = "any answer will do"}, body,
         CheckNotEmpty);
  v.Path({.key = "ca",
          .doc = "certificates of the authorities that the server is trusted by (PEM)",
          .default_text = "the system's"},
         ca);
}

void SshProbeConfig::Describe(Visitor& v) {
  v.Text({.key = "command", .doc = "command to run inside, by the user's shell", .required = true}, command,
         CheckNotEmpty);
  v.Text({.key = "user", .doc = "user to sign in as", .required = true}, user, CheckUser);
  v.Path({.key = "key_file", .doc = "the user's private key", .default_text = "the keys of an ssh-agent"}, key_file);
  v.Path({.key = "passphrase_file", .doc = "file with the passphrase of the key", .default_text = "the key has none"},
         passphrase_file);
  v.Path({.key = "known_hosts",
          .doc = "host keys that are trusted, as OpenSSH writes them; a machine that isn't in it isn't signed in to"},
         known_hosts);
  v.Count({.key = "port", .doc = "port of the SSH server"}, port, 1, kMaxPort);
  v.Text({.key = "host", .doc = "host to connect to", .default_text = "the machine's address"}, host, CheckHost);
  v.Count({.key = "exit_code", .doc = "exit code that the command has to end with"}, exit_code, 0, kMaxExitCode);
}

void ProbeConfig::Describe(Visitor& v) {
  DescribeVms(v, vms, "machines that are looked into: namespace/name, with * and ?");
  v.Section({.key = "tcp", .doc = "a port that has to accept a connection"}, tcp);
  v.Section({.key = "http", .doc = "a web page that has to be served"}, http);
  v.Section({.key = "ssh", .doc = "a command that has to succeed inside"}, ssh);
  v.Boolean({.key = "guest_agent", .doc = "whether the guest agent has to answer"}, guest_agent);
  v.Duration({.key = "timeout", .doc = "how long each look is tried again until it succeeds"}, timeout,
             absl::Seconds(1), kLongestWait);
}

std::optional<Problem> FindBootGroupProblem(const BootGroupConfig& group, const std::string& key) {
  if (group.vms.empty()) return Problem{key + ".vms", "an empty list: write at least one"};
  return std::nullopt;
}

std::optional<Problem> FindProbeProblem(const ProbeConfig& probe, const std::string& key) {
  if (probe.vms.empty()) return Problem{key + ".vms", "an empty list: write at least one"};
  if (!probe.tcp && !probe.http && !probe.ssh && !probe.guest_agent) {
    return Problem{key, "looks for nothing: write tcp, http, ssh or guest_agent"};
  }
  if (probe.ssh && probe.ssh->key_file.empty() && !probe.ssh->passphrase_file.empty()) {
    return Problem{key + ".ssh.passphrase_file", "belongs to key_file, which isn't given"};
  }
  return std::nullopt;
}

}  // namespace understudy::config
