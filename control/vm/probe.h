// probe.h: looking inside a virtual machine that says it is well: a port, a web page, a command by SSH, its agent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "control/vm/virtual_machines.h"
#include "core/base/clock.h"
#include "core/base/status.h"

namespace understudy::control {

struct TcpProbe {
  uint16_t port = 0;
  std::string host;  // empty: the instance's address
};

struct HttpProbe {
  std::string url;  // `{ip}` stands for the instance's address
  int status = 200;
  std::string body;          // has to be in the answer; empty: any answer
  std::filesystem::path ca;  // PEM; empty: the system's authorities
};

struct SshProbe {
  std::string command;
  std::string user;
  std::filesystem::path key_file;         // empty: the keys of an ssh-agent
  std::filesystem::path passphrase_file;  // of the key; empty: it has none
  std::filesystem::path known_hosts;
  uint16_t port = 22;
  std::string host;  // empty: the instance's address
  int exit_code = 0;
};

struct GuestAgentProbe {
  bool os_info = true;  // also ask what runs inside; that the cluster doesn't serve it is no failure
};

struct Probe {
  std::vector<std::string> vms;  // globs of "namespace/name"
  std::variant<TcpProbe, HttpProbe, SshProbe, GuestAgentProbe> what;
  absl::Duration timeout = absl::Minutes(5);           // until it has passed
  absl::Duration attempt_timeout = absl::Seconds(10);  // for one attempt
};
// "tcp", "http", "ssh", "guest-agent".
[[nodiscard]] std::string_view KindOf(const Probe& probe);

struct ProbeResult {
  VmKey key;
  std::string kind;    // KindOf
  std::string target;  // "10.128.0.7:22", a URL, "agent"; empty: the instance has no address
  bool passed = false;
  int attempts = 0;
  std::string text;  // what was seen, or what went wrong last and what to do; bounded, printable
  absl::Duration took = absl::ZeroDuration();
};

struct ProbeOptions {
  absl::Duration retry_interval = absl::Seconds(2);
};

// Tries until it passes, until `timeout` is over, or until no further attempt can help (a host key that is wrong, a
// file that can't be read). The address is asked for before each attempt: an instance may get another. CANCELLED:
// `stop`; every other trouble is in the result.
[[nodiscard]] absl::StatusOr<ProbeResult> RunProbe(VirtualMachines& machines, const VmKey& key, const Probe& probe,
                                                   std::stop_token stop, const ProbeOptions& options = {},
                                                   Clock& clock = Clock::System());

// Every probe of every machine that it matches, up to `parallelism` at a time; ascending by machine, then in the order
// of `probes`.
[[nodiscard]] absl::StatusOr<std::vector<ProbeResult>> RunProbes(VirtualMachines& machines,
                                                                 const std::vector<VmKey>& keys,
                                                                 const std::vector<Probe>& probes, int parallelism,
                                                                 std::stop_token stop, const ProbeOptions& options = {},
                                                                 Clock& clock = Clock::System());

}  // namespace understudy::control
