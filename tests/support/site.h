// site.h: a pair of real agents as processes on loopback, each with its own folders, configuration and certificates,
// and drctl.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {

struct SiteOptions {
  std::vector<std::string> volumes = {"web"};        // listed volumes; their folders are made
  std::string more_primary_settings = {};            // YAML, appended to primary.yaml
  std::string more_dr_settings = {};                 // and to dr.yaml
  std::string more_control_settings = {};            // and to control.yaml
  std::vector<std::string> server_names = {};        // of the primary's export
  std::string more_export_settings = {};             // likewise, "backend: none, …" inside its braces
  std::string dr_export_settings = "backend: none";  // of DR's export, inside its braces
  // Where the primary's volumes lie (its export is a folder `a` in it), and DR's export (`b`) with DR's state; empty:
  // the site's own folder. Has to live as long as the site.
  std::string primary_folder = {};
  std::string dr_folder = {};
  // The addresses at which the agents listen, and the words before their command lines (`nsenter …`) that make these
  // theirs. drctl runs at the primary.
  std::string primary_host = "127.0.0.1";
  std::string dr_host = "127.0.0.1";
  std::vector<std::string> primary_prefix = {};
  std::vector<std::string> dr_prefix = {};
  // Both agents run on both hosts, and the pair names those for the other way as `reverse`. The NFS server of DR is
  // called "nfs2" then.
  bool both_ways = false;
};

// Not thread-safe.
class Site {
 public:
  // Makes certificates, configuration and folders; starts nothing.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Site>> Make(const SiteOptions& options = {});

  absl::Status StartPrimary();
  absl::Status StartDr();
  absl::Status StartServe();    // drctl serve
  absl::Status StartReverse();  // both agents for the other way, where there are any
  [[nodiscard]] Process& primary() { return *primary_; }
  [[nodiscard]] Process& dr() { return *dr_; }
  [[nodiscard]] Process& serve() { return *serve_; }
  // understudy-primary at DR's host, and understudy-dr at the primary's.
  [[nodiscard]] Process& reverse_primary() { return *reverse_primary_; }
  [[nodiscard]] Process& reverse_dr() { return *reverse_dr_; }
  [[nodiscard]] int control_metrics_port() const { return control_metrics_port_; }  // of drctl serve

  // Runs drctl with this site's configuration.
  [[nodiscard]] ProcessResult Drctl(std::vector<std::string> arguments);
  // The same from DR's host.
  [[nodiscard]] ProcessResult DrctlAtDr(std::vector<std::string> arguments);
  // `drctl volumes sync NAME --published`, until it works: an agent may just be starting.
  [[nodiscard]] absl::Status Sync(const std::string& volume, absl::Duration timeout = absl::Seconds(120));

  [[nodiscard]] std::string Folder() const { return dir_.Path(); }
  [[nodiscard]] std::string File(const std::string& name) const { return dir_.File(name); }
  [[nodiscard]] std::string Volume(const std::string& name) const { return primary_folder_ + "/a/" + name; }
  [[nodiscard]] std::string Replica(const std::string& name) const { return dr_folder_ + "/b/" + name; }
  [[nodiscard]] int primary_port() const { return primary_port_; }
  [[nodiscard]] int dr_port() const { return dr_port_; }
  [[nodiscard]] int primary_metrics_port() const { return primary_metrics_port_; }

 private:
  explicit Site(SiteOptions options) : options_(std::move(options)) {}
  ProcessResult RunDrctl(const std::vector<std::string>& prefix, std::vector<std::string> arguments) const;
  absl::Status MakeCertificates() const;
  absl::Status WriteConfiguration() const;
  void WriteReverseConfiguration() const;

  const SiteOptions options_;
  TempDir dir_;
  const std::string primary_folder_ = options_.primary_folder.empty() ? dir_.Path() : options_.primary_folder;
  const std::string dr_folder_ = options_.dr_folder.empty() ? dir_.Path() : options_.dr_folder;
  int primary_port_ = 0;
  int dr_port_ = 0;
  int reverse_primary_port_ = 0;
  int reverse_dr_port_ = 0;
  int primary_metrics_port_ = 0;
  int dr_metrics_port_ = 0;
  int control_metrics_port_ = 0;
  std::unique_ptr<Process> primary_;
  std::unique_ptr<Process> dr_;
  std::unique_ptr<Process> reverse_primary_;
  std::unique_ptr<Process> reverse_dr_;
  std::unique_ptr<Process> serve_;
};

}  // namespace understudy::tests
