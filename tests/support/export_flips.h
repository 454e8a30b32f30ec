// export_flips.h: an export that is switched again and again while NFS clients hold a file open and write, and what
// must hold: once it was switched, every write that begins is refused, or done, as the export says.
//
// The export is that of volume "web" at the primary of a Site; drctl switches it, through understudy-primary. In
// between, the agent is killed (SIGKILL) at moments of the seed's, in the midst of a switch, and started again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "tests/support/site.h"

namespace understudy::tests {

inline constexpr size_t kFlipBlockBytes = 4096;
inline constexpr uint64_t kFlipBlocks = 16;  // of the file that a client writes

// One client with an open file.
class NfsWriter {
 public:
  virtual ~NfsWriter() = default;
  // Writes one block, through to the server. PERMISSION_DENIED: refused because the export is read-only (EROFS).
  [[nodiscard]] virtual absl::Status WriteBlock(uint64_t block, const std::string& data) = 0;
};

struct FlippedClient {
  std::string name;         // for messages
  std::string server_file;  // the file as the server has it
  std::unique_ptr<NfsWriter> writer;
};

struct FlipOptions {
  int flips = 100;
  int kills = 3;  // spread over the flips
  uint64_t seed = 1;
};

// UNDERSTUDY_EXPORT_FLIPS, or `otherwise`.
[[nodiscard]] int FlipsOfRun(int otherwise);

// Begins with the export `rw` and ends so. INTERNAL says which client saw what it must not; afterwards, each file holds
// at least what was acknowledged, and nothing of what was refused.
[[nodiscard]] absl::Status RunFlips(Site& site, std::vector<FlippedClient> clients, const FlipOptions& options);

// `drctl exports set web MODE --site primary`, until it works: an agent may just be starting.
[[nodiscard]] absl::Status SetExport(Site& site, const std::string& mode);

}  // namespace understudy::tests
