// ganesha_backend.h: NFS-Ganesha: a configuration file of this agent's own, and D-Bus to have its blocks taken up.
//
// Every export has an id of this agent's, kept for good (file handles hold it). Ganesha reads the file at its own start
// (`%include`); when it was started without, what is missing is added again.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/exports/export_backend.h"
#include "core/exports/ganesha_bus.h"

namespace understudy::exports {

struct GaneshaOptions {
  std::string program;  // this agent's name, "understudy-dr"; names the file
  std::string config_dir = "/etc/ganesha";
  uint16_t first_id = 1;
  uint16_t ids = 1;  // from first_id on; all are at most 65535
  // Whether the configuration has exports for it: then the file is there from the start, for Ganesha to include.
  bool configured = false;
  // Makes a connection for the calls of one Reconcile.
  std::function<absl::StatusOr<std::unique_ptr<GaneshaManager>>()> connect;
};

class GaneshaBackend : public ExportBackend {
 public:
  explicit GaneshaBackend(GaneshaOptions options);

  [[nodiscard]] std::string Name() const override { return "ganesha"; }
  [[nodiscard]] absl::Status CheckPath(const std::string& path) const override;
  [[nodiscard]] absl::StatusOr<uint16_t> ChooseId(const std::set<uint16_t>& taken) override;
  [[nodiscard]] absl::StatusOr<Found> Reconcile(std::span<const WantedExport> wanted,
                                                const std::optional<std::string>& only) override;

 private:
  using Shown = std::map<uint16_t, std::string>;
  // Brings one export to what is wanted, and reads it back.
  absl::StatusOr<FoundExport> ReconcileOne(GaneshaManager& manager, const Shown& shown, const WantedExport& wanted);
  absl::StatusOr<FoundExport> Export(GaneshaManager& manager, bool there, const WantedExport& wanted);

  const GaneshaOptions options_;
  const std::string file_;
  std::set<uint16_t> taken_up_;  // whose blocks Ganesha took from the file as it is, in this run of the agent
};

}  // namespace understudy::exports
