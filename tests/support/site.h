// site.h: a pair of real agents as processes on loopback, each with its own folders, configuration and certificates,
// and drctl.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {

struct SiteOptions {
  std::vector<std::string> volumes = {"web"};  // listed volumes; their folders are made
  std::string more_primary_settings = {};      // YAML, appended to primary.yaml
  // Where the primary's volumes lie (its export is a folder `a` in it), and DR's export (`b`) with DR's state; empty:
  // the site's own folder. Has to live as long as the site.
  std::string primary_folder = {};
  std::string dr_folder = {};
};

// Not thread-safe.
class Site {
 public:
  // Makes certificates, configuration and folders; starts nothing.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Site>> Make(const SiteOptions& options = {});

  absl::Status StartPrimary();
  absl::Status StartDr();
  [[nodiscard]] Process& primary() { return *primary_; }
  [[nodiscard]] Process& dr() { return *dr_; }

  // Runs drctl with this site's configuration.
  [[nodiscard]] ProcessResult Drctl(std::vector<std::string> arguments);
  // `drctl volumes sync NAME --published`, until it works: an agent may just be starting.
  [[nodiscard]] absl::Status Sync(const std::string& volume, absl::Duration timeout = absl::Seconds(120));

  [[nodiscard]] std::string Folder() const { return dir_.Path(); }
  [[nodiscard]] std::string File(const std::string& name) const { return dir_.File(name); }
  [[nodiscard]] std::string Volume(const std::string& name) const { return primary_folder_ + "/a/" + name; }
  [[nodiscard]] std::string Replica(const std::string& name) const { return dr_folder_ + "/b/" + name; }
  [[nodiscard]] int primary_port() const { return primary_port_; }
  [[nodiscard]] int dr_port() const { return dr_port_; }

 private:
  Site() = default;
  absl::Status WriteConfiguration(const SiteOptions& options);

  TempDir dir_;
  std::string primary_folder_ = dir_.Path();
  std::string dr_folder_ = dir_.Path();
  int primary_port_ = 0;
  int dr_port_ = 0;
  int primary_metrics_port_ = 0;
  int dr_metrics_port_ = 0;
  std::unique_ptr<Process> primary_;
  std::unique_ptr<Process> dr_;
};

}  // namespace understudy::tests
