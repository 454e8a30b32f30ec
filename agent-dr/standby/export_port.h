// export_port.h: what a promotion needs of whoever exports the replicas' folders to NFS clients.
#pragma once

#include <string>

#include "core/base/status.h"
#include "core/model/exports.h"
#include "core/model/volume.h"

namespace understudy::dr {

class ExportPort {
 public:
  virtual ~ExportPort() = default;
  // Whether SetExport could do that, as far as this agent alone is to see to it: nothing is changed. INVALID_ARGUMENT:
  // no export of the configuration holds `root`, or its server can't express it; ALREADY_EXISTS: another export
  // overlaps it; UNAVAILABLE: the server can't be asked.
  [[nodiscard]] virtual absl::Status CheckExport(const model::VolumeName& volume, const std::string& root) = 0;
  // The folder `root` of the volume is exported like that when this returns OK, and stays so. Doing it once more is
  // fine. Thread-safe.
  [[nodiscard]] virtual absl::Status SetExport(const model::VolumeName& volume, const std::string& root,
                                               model::ExportMode mode) = 0;
};

}  // namespace understudy::dr
