// s3_list_page.h: one page of a bucket's list, as ListObjectsV2 answers it. Pure.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace understudy::net {

struct S3Object {
  std::string key;
  uint64_t size = 0;  // bytes
};

struct S3ListPage {
  std::vector<S3Object> objects;
  std::vector<std::string> common_prefixes;
  std::string continuation_token;  // empty: the last page
};

// Keys are taken as they are: asked for without an encoding type. DATA_LOSS: it isn't such a page, or it ends early.
[[nodiscard]] absl::StatusOr<S3ListPage> ParseS3ListPage(std::string_view body);

}  // namespace understudy::net
