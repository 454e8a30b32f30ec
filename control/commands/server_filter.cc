#include "control/commands/server_filter.h"

#include <algorithm>
#include <utility>

namespace understudy::control {

bool HoldsServer(const std::vector<std::string>& server_names, const model::CatalogEntry& entry) {
  return entry.server.empty() || server_names.empty() ||
         std::find(server_names.begin(), server_names.end(), entry.server) != server_names.end();
}

absl::Status ServerFilter::Watch(uint64_t after_revision, std::stop_token stop,
                                 const std::function<void(std::optional<model::CatalogEntry>)>& on_entry) {
  return catalog_->Watch(after_revision, std::move(stop), [&](std::optional<model::CatalogEntry> entry) {
    if (!entry || HoldsServer(server_names_, *entry)) on_entry(std::move(entry));
  });
}

}  // namespace understudy::control
