#include "core/net/s3_list_page.h"

#include <fmt/format.h>

#include <pugixml.hpp>

#include "absl/strings/numbers.h"
#include "core/base/log.h"

namespace understudy::net {

absl::StatusOr<S3ListPage> ParseS3ListPage(std::string_view body) {
  pugi::xml_document document;
  const pugi::xml_parse_result parsed =
      document.load_buffer(body.data(), body.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!parsed) {
    return absl::DataLossError(fmt::format("the list isn't XML, at byte {}: {}", parsed.offset, parsed.description()));
  }
  const pugi::xml_node list = document.child("ListBucketResult");
  if (!list) return absl::DataLossError("the answer isn't a list of objects: is the endpoint an S3 server?");
  S3ListPage page;
  for (const pugi::xml_node entry : list.children("Contents")) {
    S3Object object{.key = entry.child_value("Key"), .size = 0};
    if (object.key.empty() || !absl::SimpleAtoi(entry.child_value("Size"), &object.size)) {
      return absl::DataLossError(
          fmt::format("the list has an object without key or size: '{}'", Printable(object.key)));
    }
    page.objects.push_back(std::move(object));
  }
  for (const pugi::xml_node entry : list.children("CommonPrefixes")) {
    page.common_prefixes.emplace_back(entry.child_value("Prefix"));
  }
  if (std::string_view(list.child_value("IsTruncated")) != "true") return page;
  page.continuation_token = list.child_value("NextContinuationToken");
  if (page.continuation_token.empty()) {
    return absl::DataLossError("the list goes on, and doesn't say how: the server doesn't know ListObjectsV2");
  }
  return page;
}

}  // namespace understudy::net
