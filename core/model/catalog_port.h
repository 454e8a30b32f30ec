// catalog_port.h: how the primary writes DR's catalog and how the control plane follows it, behind interfaces with a
// gRPC implementation (core/wire/catalog_client.h) and memory twins in tests/support.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

#include "core/base/status.h"
#include "core/model/object.h"

namespace understudy::model {

// Thread-safe. UNAVAILABLE: DR can't be reached; the call may be made again.
class CatalogWriter {
 public:
  virtual ~CatalogWriter() = default;
  // Both: FAILED_PRECONDITION: a volume that the object belongs to, or belonged to, is promoted at DR; that ends when
  // it is demoted. Nothing is changed.

  // Durable when it returns. `entry.revision` is ignored. Putting what is already there changes nothing.
  [[nodiscard]] virtual absl::Status Put(const CatalogEntry& entry) = 0;
  // Marks the entry deleted; an entry that is not there, or holds another non-empty uid than `uid`, is left alone and
  // is no error.
  [[nodiscard]] virtual absl::Status Delete(const ObjectKey& key, const std::string& uid) = 0;
  // All entries of the kind that aren't deleted.
  [[nodiscard]] virtual absl::StatusOr<std::vector<CatalogEntry>> List(ObjectKind kind) = 0;
};

class CatalogReader {
 public:
  virtual ~CatalogReader() = default;
  // Calls `on_entry` with every entry above `after_revision` in revision order (deleted ones too), then with nullopt
  // once, then with each change as it comes. Returns OK when `stop` was requested, UNAVAILABLE when the connection
  // ended.
  [[nodiscard]] virtual absl::Status Watch(uint64_t after_revision, std::stop_token stop,
                                           const std::function<void(std::optional<CatalogEntry>)>& on_entry) = 0;
};

}  // namespace understudy::model
