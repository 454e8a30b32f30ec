#include "control/vm/vm_settings.h"

namespace understudy::control {

BootGroup BootGroupOf(const config::BootGroupConfig& settings) {
  return {.vms = settings.vms,
          .pause_after = settings.pause_after,
          .timeout = settings.timeout,
          .expect_agent = settings.expect_agent};
}

std::vector<Probe> ProbesOf(const config::ProbeConfig& settings) {
  std::vector<Probe> probes;
  const auto add = [&](auto what) {
    probes.push_back({.vms = settings.vms, .what = std::move(what), .timeout = settings.timeout});
  };
  if (settings.tcp) add(TcpProbe{.port = static_cast<uint16_t>(settings.tcp->port), .host = settings.tcp->host});
  if (settings.http) {
    add(HttpProbe{.url = settings.http->url,
                  .status = static_cast<int>(settings.http->status),
                  .body = settings.http->body,
                  .ca = settings.http->ca});
  }
  if (settings.ssh) {
    const config::SshProbeConfig& ssh = *settings.ssh;
    add(SshProbe{.command = ssh.command,
                 .user = ssh.user,
                 .key_file = ssh.key_file,
                 .passphrase_file = ssh.passphrase_file,
                 .known_hosts = ssh.known_hosts,
                 .port = static_cast<uint16_t>(ssh.port),
                 .host = ssh.host,
                 .exit_code = static_cast<int>(ssh.exit_code)});
  }
  if (settings.guest_agent) add(GuestAgentProbe{});
  return probes;
}

}  // namespace understudy::control
