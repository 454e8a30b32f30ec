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
  // The folder `root` of the volume is exported like that when this returns OK, and stays so. Doing it once more is
  // fine. Thread-safe.
  [[nodiscard]] virtual absl::Status SetExport(const model::VolumeName& volume, const std::string& root,
                                               model::ExportMode mode) = 0;
};

}  // namespace understudy::dr
