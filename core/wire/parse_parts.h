// parse_parts.h: pieces that several messages share. For the codecs of this folder only.
#pragma once

#include <string>
#include <string_view>

#include "core/base/status.h"
#include "core/model/commit.h"
#include "understudy/v1/volume.pb.h"

namespace understudy::wire {

// INVALID_ARGUMENT: unspecified, or of a newer program.
[[nodiscard]] absl::StatusOr<model::FileKind> KindFrom(v1::FileKind kind);
[[nodiscard]] v1::FileKind KindToProto(model::FileKind kind);

[[nodiscard]] v1::Consistency ConsistencyToProto(model::Consistency consistency);

// INVALID_ARGUMENT unless it has exactly the digest's length.
[[nodiscard]] absl::StatusOr<model::Digest> DigestFrom(std::string_view bytes);

// Only converts; ValidateMetadata checks.
[[nodiscard]] model::Metadata MetadataFrom(const v1::Metadata& message);

// Text that a log or a terminal may show, as UTF-8, at most `limit` bytes; backslashes of an earlier escape stay.
[[nodiscard]] std::string ToText(std::string_view bytes, size_t limit);

}  // namespace understudy::wire
