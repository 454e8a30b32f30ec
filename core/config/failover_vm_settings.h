// failover_vm_settings.h: the settings of a failover plan that concern virtual machines: the order in which they are
// started, and the probes that look inside.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/config/visitor.h"

namespace understudy::config {

// Machines that are started together. What a glob means is told by control/vm/boot.h.
struct BootGroupConfig {
  std::vector<std::string> vms;
  bool expect_agent = false;
  absl::Duration timeout = absl::Minutes(10);
  absl::Duration pause_after = absl::ZeroDuration();
  void Describe(Visitor& v);
};

struct TcpProbeConfig {
  uint64_t port = 0;
  std::string host;  // empty: the instance's address
  void Describe(Visitor& v);
};

struct HttpProbeConfig {
  std::string url;
  uint64_t status = 200;
  std::string body;          // empty: any
  std::filesystem::path ca;  // empty: the system's authorities
  void Describe(Visitor& v);
};

struct SshProbeConfig {
  std::string command;
  std::string user;
  std::filesystem::path key_file;  // empty: an ssh-agent's keys
  std::filesystem::path passphrase_file;
  std::filesystem::path known_hosts = "/etc/ssh/ssh_known_hosts";
  uint64_t port = 22;
  std::string host;  // empty: the instance's address
  uint64_t exit_code = 0;
  void Describe(Visitor& v);
};

// One or more looks at each of some machines.
struct ProbeConfig {
  std::vector<std::string> vms;
  std::optional<TcpProbeConfig> tcp;
  std::optional<HttpProbeConfig> http;
  std::optional<SshProbeConfig> ssh;
  bool guest_agent = false;
  absl::Duration timeout = absl::Minutes(5);
  void Describe(Visitor& v);
};

// Pure. `key` is the element's full key ("failover.plans[0].boot[1]").
[[nodiscard]] std::optional<Problem> FindBootGroupProblem(const BootGroupConfig& group, const std::string& key);
[[nodiscard]] std::optional<Problem> FindProbeProblem(const ProbeConfig& probe, const std::string& key);

}  // namespace understudy::config
