#include "core/exports/configured.h"

#include <utility>

#include "core/exports/ganesha_backend.h"
#include "core/exports/knfsd_backend.h"
#include "core/exports/none_backend.h"

namespace understudy::exports {

absl::StatusOr<std::unique_ptr<ExportSwitch>> StartConfigured(const std::string& program,
                                                              const std::filesystem::path& state_dir,
                                                              const std::vector<ConfiguredPlace>& places,
                                                              const config::KnfsdConfig& knfsd,
                                                              const config::GaneshaConfig& ganesha) {
  ExportSwitchOptions options;
  options.database = (state_dir / "exports.db").string();
  bool uses_ganesha = false;
  for (const ConfiguredPlace& place : places) {
    const size_t backend = static_cast<size_t>(place.switching.backend);
    uses_ganesha = uses_ganesha || place.switching.backend == config::ExportBackend::kGanesha;
    options.places.push_back({.path = place.path.string(),
                              .backend = std::string(config::ChoiceNames<config::ExportBackend>::kNames[backend]),
                              .terms = {place.switching.clients, place.switching.SingleOptions()}});
  }
  // All of them, whatever the configuration uses now: one may still have what an earlier configuration gave it.
  std::vector<std::unique_ptr<ExportBackend>> backends;
  backends.push_back(std::make_unique<NoneBackend>());
  backends.push_back(std::make_unique<KnfsdBackend>(KnfsdOptions{.program = program,
                                                                 .exports_dir = knfsd.exports_dir.string(),
                                                                 .exportfs = knfsd.exportfs.string(),
                                                                 .etab = knfsd.etab.string(),
                                                                 .timeout = knfsd.timeout}));
  backends.push_back(std::make_unique<GaneshaBackend>(
      GaneshaOptions{.program = program,
                     .config_dir = ganesha.config_dir.string(),
                     .first_id = static_cast<uint16_t>(ganesha.first_export_id),
                     .ids = static_cast<uint16_t>(ganesha.export_ids),
                     .configured = uses_ganesha,
                     .connect = [address = ganesha.bus_address, timeout = ganesha.timeout] {
                       return ConnectGanesha(address, timeout);
                     }}));
  return ExportSwitch::Start(std::move(options), std::move(backends));
}

}  // namespace understudy::exports
