// catalog_codec.h: the messages of catalog.proto to domain values and back; Parse() and ToProto() as in
// replication_codec.h.
#pragma once

#include "core/base/status.h"
#include "core/model/object.h"
#include "core/wire/messages.h"

namespace understudy::v1 {
class CatalogEntry;
class DeleteObjectRequest;
class ListObjectsRequest;
class ListObjectsResponse;
class ObjectKey;
class PutObjectRequest;
}  // namespace understudy::v1

namespace understudy::wire {

[[nodiscard]] absl::StatusOr<model::ObjectKey> Parse(const v1::ObjectKey& message);
[[nodiscard]] absl::StatusOr<model::CatalogEntry> Parse(const v1::CatalogEntry& message);
[[nodiscard]] absl::StatusOr<model::CatalogEntry> Parse(const v1::PutObjectRequest& message);
[[nodiscard]] absl::StatusOr<CatalogDelete> Parse(const v1::DeleteObjectRequest& message);
[[nodiscard]] absl::StatusOr<CatalogListRequest> Parse(const v1::ListObjectsRequest& message);
[[nodiscard]] absl::StatusOr<CatalogPage> Parse(const v1::ListObjectsResponse& message);

[[nodiscard]] v1::ObjectKey ToProto(const model::ObjectKey& key);
[[nodiscard]] v1::CatalogEntry ToProto(const model::CatalogEntry& entry);

}  // namespace understudy::wire
