// exports.h: how volumes are shown to NFS clients, and the seam at which that is asked for. Values; thread-safe as
// such.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/model/volume.h"

namespace understudy::model {

// What NFS clients may do with a volume.
enum class ExportMode { kNone, kReadOnly, kReadWrite };
// "none", "ro", "rw".
[[nodiscard]] std::string_view ToString(ExportMode mode);
[[nodiscard]] absl::StatusOr<ExportMode> ParseExportMode(std::string_view text);

struct ExportState {
  std::string name;     // of the volume
  std::string path;     // absolute, on the agent's host
  std::string backend;  // knfsd, ganesha, none; empty: no export of the configuration holds the path
  ExportMode desired = ExportMode::kNone;
  std::optional<ExportMode> actual;  // nullopt: can't be known (backend none, or the server doesn't answer)
  std::string problem;               // what isn't as it should be, and what to do; empty: nothing
  absl::Time since;                  // when all of this became so, as far as this run of the agent knows

  // Whether the server does what is desired, as far as this agent is to see to that.
  [[nodiscard]] bool AsDesired() const { return actual.has_value() ? *actual == desired : backend == "none"; }
};

// Thread-safe.
class ExportControl {
 public:
  virtual ~ExportControl() = default;
  // Every volume of this host, ascending by name.
  [[nodiscard]] virtual std::vector<ExportState> List() const = 0;
  // OK: the server was read back to be so; the state says more. NOT_FOUND: no such volume here. FAILED_PRECONDITION: it
  // may not be so now, or somebody else's export is in the way, with what to do; ABORTED: the server couldn't be
  // brought to it now, and the agent goes on trying.
  [[nodiscard]] virtual absl::StatusOr<ExportState> Set(const VolumeName& volume, ExportMode mode) = 0;
};

}  // namespace understudy::model
