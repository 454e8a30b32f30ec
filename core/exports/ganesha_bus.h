// ganesha_bus.h: NFS-Ganesha's export manager over D-Bus (org.ganesha.nfsd.exportmgr), and its seam for tests.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/model/exports.h"

namespace understudy::exports {

// What one CLIENT of an export may do.
struct GaneshaClient {
  std::string client;  // as Ganesha writes it: "*", "127.0.0.1/32"
  model::ExportMode mode = model::ExportMode::kNone;
};

// One connection's use. Errors of every call: UNAVAILABLE: Ganesha doesn't answer, or not in time; INTERNAL: it
// refuses, with its words.
class GaneshaManager {
 public:
  virtual ~GaneshaManager() = default;
  // Path by Export_Id, of all exports whoever made them.
  [[nodiscard]] virtual absl::StatusOr<std::map<uint16_t, std::string>> Show() = 0;
  [[nodiscard]] virtual absl::StatusOr<std::vector<GaneshaClient>> Clients(uint16_t id) = 0;
  // The EXPORT block with this id in `file` becomes an export, or what the export is from now on.
  [[nodiscard]] virtual absl::Status Add(const std::string& file, uint16_t id) = 0;
  [[nodiscard]] virtual absl::Status Update(const std::string& file, uint16_t id) = 0;
  [[nodiscard]] virtual absl::Status Remove(uint16_t id) = 0;
};

// Connects to the bus at `address` (empty: the system bus), for a few calls: an NFS server or a bus that was restarted
// since is found anew. `timeout` is for each call. UNAVAILABLE: there is no such bus.
[[nodiscard]] absl::StatusOr<std::unique_ptr<GaneshaManager>> ConnectGanesha(const std::string& address,
                                                                             absl::Duration timeout);

}  // namespace understudy::exports
