// server_filter.h: a pair's catalog, less what belongs to NFS servers that the pair isn't configured to hold.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/model/catalog_port.h"

namespace understudy::control {

// Whether the pair is configured to hold the entry's server; one that names none it holds.
[[nodiscard]] bool HoldsServer(const std::vector<std::string>& server_names, const model::CatalogEntry& entry);

// Passes on entries whose server is one of `server_names`, and those that name none; everything when the list is empty.
// Thread-safe if `catalog` is.
class ServerFilter : public model::CatalogReader {
 public:
  ServerFilter(std::unique_ptr<model::CatalogReader> catalog, std::vector<std::string> server_names)
      : catalog_(std::move(catalog)), server_names_(std::move(server_names)) {}

  [[nodiscard]] absl::Status Watch(uint64_t after_revision, std::stop_token stop,
                                   const std::function<void(std::optional<model::CatalogEntry>)>& on_entry) override;

 private:
  const std::unique_ptr<model::CatalogReader> catalog_;
  const std::vector<std::string> server_names_;
};

}  // namespace understudy::control
