// catalog_service.h: understudy.v1.Catalog over the catalog store.
#pragma once

#include <memory>

#include "agent-dr/catalog/catalog_store.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace understudy::dr {

// At a time; more are refused with RESOURCE_EXHAUSTED, because each holds a thread of the server.
inline constexpr int kMaxCatalogWatches = 32;

// `catalog` outlives the service. Thread-safe.
[[nodiscard]] std::unique_ptr<grpc::Service> MakeCatalogService(CatalogStore& catalog);

}  // namespace understudy::dr
