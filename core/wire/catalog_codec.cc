#include "core/wire/catalog_codec.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "core/wire/limits.h"
#include "core/wire/validate.h"
#include "understudy/v1/catalog.pb.h"

namespace understudy::wire {

absl::StatusOr<model::ObjectKey> Parse(const v1::ObjectKey& message) {
  model::ObjectKey key;
  ASSIGN_OR_RETURN(key.kind, model::ParseObjectKind(std::string_view(message.kind()).substr(0, kMaxObjectNameBytes)));
  key.namespace_name = message.namespace_name();
  key.name = message.name();
  RETURN_IF_ERROR(ValidateObjectKey(key));
  return key;
}

absl::StatusOr<model::CatalogEntry> Parse(const v1::CatalogEntry& message) {
  model::CatalogEntry entry;
  ASSIGN_OR_RETURN(entry.key, Parse(message.key()));
  entry.uid = message.uid();
  entry.resource = message.resource_json();
  entry.volume = message.volume();
  entry.replica_path = message.replica_path();
  entry.server = message.server();
  entry.deleted = message.deleted();
  entry.revision = message.revision();
  entry.observed_at = absl::FromUnixNanos(message.observed_at_nanoseconds());
  RETURN_IF_ERROR(ValidateCatalogEntry(entry));
  return entry;
}

absl::StatusOr<model::CatalogEntry> Parse(const v1::PutObjectRequest& message) {
  if (message.entry().deleted()) return absl::InvalidArgumentError("a deleted object can't be put");
  return Parse(message.entry());
}

absl::StatusOr<CatalogDelete> Parse(const v1::DeleteObjectRequest& message) {
  CatalogDelete parsed;
  ASSIGN_OR_RETURN(parsed.key, Parse(message.key()));
  RETURN_IF_ERROR(ValidateText("the object's uid", message.uid(), kMaxObjectUidBytes));
  parsed.uid = message.uid();
  return parsed;
}

absl::StatusOr<CatalogListRequest> Parse(const v1::ListObjectsRequest& message) {
  if (!message.kind().empty()) {
    RETURN_IF_ERROR(model::ParseObjectKind(std::string_view(message.kind()).substr(0, kMaxObjectNameBytes)).status());
  }
  return CatalogListRequest{message.kind(), message.include_deleted(), message.after_revision()};
}

absl::StatusOr<CatalogPage> Parse(const v1::ListObjectsResponse& message) {
  if (static_cast<size_t>(message.entries_size()) > kMaxPageEntries) {
    return absl::InvalidArgumentError(fmt::format("a catalog page of {} entries", message.entries_size()));
  }
  CatalogPage page;
  page.more = message.more();
  if (page.more && message.entries().empty()) return absl::InvalidArgumentError("an empty page that has a next one");
  page.entries.reserve(static_cast<size_t>(message.entries_size()));
  for (const v1::CatalogEntry& entry : message.entries()) {
    ASSIGN_OR_RETURN(model::CatalogEntry parsed, Parse(entry));
    if (!page.entries.empty() && page.entries.back().revision >= parsed.revision) {
      return absl::InvalidArgumentError("a catalog page whose revisions don't rise");
    }
    page.entries.push_back(std::move(parsed));
  }
  return page;
}

v1::ObjectKey ToProto(const model::ObjectKey& key) {
  v1::ObjectKey message;
  message.set_kind(std::string(model::ToString(key.kind)));
  message.set_namespace_name(key.namespace_name);
  message.set_name(key.name);
  return message;
}

v1::CatalogEntry ToProto(const model::CatalogEntry& entry) {
  v1::CatalogEntry message;
  *message.mutable_key() = ToProto(entry.key);
  message.set_uid(entry.uid);
  message.set_resource_json(entry.resource);
  message.set_volume(entry.volume);
  message.set_replica_path(entry.replica_path);
  message.set_server(entry.server);
  message.set_deleted(entry.deleted);
  message.set_revision(entry.revision);
  message.set_observed_at_nanoseconds(absl::ToUnixNanos(entry.observed_at));
  return message;
}

}  // namespace understudy::wire
