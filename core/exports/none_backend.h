// none_backend.h: exports that somebody else switches: the desired state is kept, and nothing is done.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>

#include "core/exports/export_backend.h"

namespace understudy::exports {

class NoneBackend : public ExportBackend {
 public:
  [[nodiscard]] std::string Name() const override { return "none"; }
  [[nodiscard]] absl::Status CheckPath(const std::string&) const override { return absl::OkStatus(); }
  [[nodiscard]] absl::StatusOr<uint16_t> ChooseId(const std::set<uint16_t>&) override { return 0; }
  [[nodiscard]] absl::StatusOr<Found> Reconcile(std::span<const WantedExport> wanted,
                                                const std::optional<std::string>&) override {
    Found found;
    for (const WantedExport& one : wanted)
      found[one.name] = {.actual = std::nullopt, .ours_settled = true, .problem = ""};
    return found;
  }
};

}  // namespace understudy::exports
