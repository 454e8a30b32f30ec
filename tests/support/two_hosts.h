// two_hosts.h: two hosts with both agents on each, as processes on loopback: what a failover and the way back need.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/net/tls_files.h"
#include "nlohmann/json.hpp"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {

// Hosts A and B, as NFS servers nfs-a and nfs-b. Volume `web` of pair `local` is listed at A; its folder is a/web, its
// replica's b/web. The agents are called primary-a, dr-a, primary-b and dr-b. Not thread-safe.
class TwoHosts {
 public:
  // `more_control_settings`: YAML. Starts nothing.
  explicit TwoHosts(const std::string& more_control_settings = {});

  static std::vector<std::string> Names() { return {"primary-a", "dr-a", "primary-b", "dr-b"}; }
  [[nodiscard]] std::string Address(const std::string& name) const;
  void Start(const std::string& name);
  void Kill(const std::string& name) { agents_.at(name)->Kill(); }
  void KillAndStart(const std::string& name);
  // With the pair as it is configured; `pair`: another configuration file.
  ProcessResult Drctl(std::vector<std::string> arguments, const std::string& pair = "control.yaml");
  // Of a command that has to succeed.
  nlohmann::json Json(std::vector<std::string> arguments, const std::string& pair = "control.yaml");
  [[nodiscard]] net::TlsFiles Tls() const {
    return {dir_.File("pki/ca.crt"), dir_.File("pki/control.crt"), dir_.File("pki/control.key")};
  }
  [[nodiscard]] std::string A(const std::string& name = "") const { return dir_.File("a/web") + "/" + name; }
  [[nodiscard]] std::string B(const std::string& name = "") const { return dir_.File("b/web") + "/" + name; }
  [[nodiscard]] std::string File(const std::string& name) const { return dir_.File(name); }
  std::string Logs();

 private:
  void WriteConfigs(const std::string& more_control_settings) const;

  TempDir dir_;
  std::map<std::string, int> ports_;
  std::map<std::string, std::unique_ptr<Process>> agents_;
};

}  // namespace understudy::tests
