// volume_exports.h: the exports of an agent's volumes, as drctl asks for them: which volumes there are and what each
// may be, from the agent, over the switch.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/exports/export_switch.h"
#include "core/model/exports.h"

namespace understudy::exports {

struct ExportableVolume {
  model::VolumeName name;
  std::string path;               // absolute, on this host
  std::string why_never_written;  // why no client may write to it now, and what to do; empty: clients may
};

// Thread-safe when `volumes` is.
class VolumeExports : public model::ExportControl {
 public:
  // The agent's volumes, ascending by name. Called with the switch's lock held: must not call the switch.
  using Volumes = std::function<std::vector<ExportableVolume>()>;

  // `exports` outlives it.
  VolumeExports(ExportSwitch& exports, Volumes volumes) : exports_(exports), volumes_(std::move(volumes)) {}

  // Also exports that no volume has any more, until the server has let go of them.
  [[nodiscard]] std::vector<model::ExportState> List() const override;
  [[nodiscard]] absl::StatusOr<model::ExportState> Set(const model::VolumeName& volume,
                                                       model::ExportMode mode) override;

 private:
  [[nodiscard]] absl::StatusOr<ExportableVolume> Find(const model::VolumeName& volume) const;
  [[nodiscard]] model::ExportState NeverSet(const ExportableVolume& volume) const;

  ExportSwitch& exports_;
  const Volumes volumes_;
};

}  // namespace understudy::exports
