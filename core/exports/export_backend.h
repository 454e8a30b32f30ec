// export_backend.h: one kind of NFS server, as what switches exports sees it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/exports.h"

namespace understudy::exports {

// What the configuration says for the exports below one folder.
struct ExportTerms {
  std::vector<std::string> clients;  // hosts, networks, netgroups, "*"
  std::vector<std::string> options;  // single ones, as in exports(5); how clients may write is never among them
};

struct WantedExport {
  std::string name;
  std::string path;  // absolute; bytes
  model::ExportMode mode = model::ExportMode::kNone;
  ExportTerms terms;
  uint16_t export_id = 0;  // of backends that number their exports
};

struct FoundExport {
  std::optional<model::ExportMode> actual;  // what clients may do, by whoever's export; nullopt: can't be told
  bool ours_settled = false;                // this agent's own part is as wanted
  std::string problem;                      // what isn't as wanted or may be in the way, and what to do; empty: nothing
};

// One call at a time. Nothing but this agent's own exports is ever changed.
class ExportBackend {
 public:
  virtual ~ExportBackend() = default;

  // "knfsd", "ganesha", "none".
  [[nodiscard]] virtual std::string Name() const = 0;
  // INVALID_ARGUMENT: this server's files can't express that path, and why.
  [[nodiscard]] virtual absl::Status CheckPath(const std::string& path) const = 0;
  // An export id for one more, where exports are numbered; `taken` are those of this agent. RESOURCE_EXHAUSTED: none is
  // left.
  [[nodiscard]] virtual absl::StatusOr<uint16_t> ChooseId(const std::set<uint16_t>& taken) = 0;

  using Found = std::map<std::string, FoundExport>;  // by name
  // Makes the server export what is wanted, all of this agent's exports and no others, and reads back what it does.
  // Changes nothing where it is so already. With `only`, the others needn't be looked at; without, all of them are
  // answered for. Bounded in time. An error: the server couldn't be asked, so nothing is known of any.
  [[nodiscard]] virtual absl::StatusOr<Found> Reconcile(std::span<const WantedExport> wanted,
                                                        const std::optional<std::string>& only) = 0;
};

}  // namespace understudy::exports
