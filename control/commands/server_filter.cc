#include "control/commands/server_filter.h"

#include <algorithm>
#include <utility>

namespace understudy::control {

absl::Status ServerFilter::Watch(uint64_t after_revision, std::stop_token stop,
                                 const std::function<void(std::optional<model::CatalogEntry>)>& on_entry) {
  return catalog_->Watch(after_revision, std::move(stop), [&](std::optional<model::CatalogEntry> entry) {
    const bool passes = !entry || entry->server.empty() || server_names_.empty() ||
                        std::find(server_names_.begin(), server_names_.end(), entry->server) != server_names_.end();
    if (passes) on_entry(std::move(entry));
  });
}

}  // namespace understudy::control
