// export_port.h: what a promotion needs of whoever exports the replicas' folders to NFS clients.
#pragma once

#include <string>

#include "core/base/status.h"
#include "core/model/volume.h"

namespace understudy::dr {

enum class ExportMode { kReadOnly, kReadWrite };

class ExportPort {
 public:
  virtual ~ExportPort() = default;
  // The folder `root` of the volume is exported like that when this returns OK, and stays so. Doing it once more is
  // fine. Thread-safe.
  [[nodiscard]] virtual absl::Status SetExport(const model::VolumeName& volume, const std::string& root,
                                               ExportMode mode) = 0;
};

// Backend `none`: somebody else exports the folders, and switches them (a post-promote hook, say).
class NoExports : public ExportPort {
 public:
  [[nodiscard]] absl::Status SetExport(const model::VolumeName&, const std::string&, ExportMode) override {
    return absl::OkStatus();
  }
};

}  // namespace understudy::dr
