// object_digests.h: the digests by which an S3 server says what an object is, computed as its bytes come.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/status.h"

struct evp_md_ctx_st;

namespace understudy::net {

// What the head of an answer says of the object. Empty: nothing that can be checked.
struct ClaimedDigests {
  // The ETag, where it is one: of an object that was uploaded in one piece and isn't encrypted with a key, and only if
  // there is no other digest of the whole.
  std::string md5_hex = {};
  std::string sha256_base64 = {};  // x-amz-checksum-sha256, of the whole object
  std::string crc32_base64 = {};   // x-amz-checksum-crc32, likewise
};
// `headers` have names in lower case. Pure.
[[nodiscard]] ClaimedDigests ClaimedDigestsOf(const std::map<std::string, std::string>& headers);

// Not thread-safe.
class ObjectDigests {
 public:
  ObjectDigests();
  ~ObjectDigests();
  ObjectDigests(const ObjectDigests&) = delete;
  ObjectDigests& operator=(const ObjectDigests&) = delete;

  void Restart();
  void Add(std::string_view bytes);
  // DATA_LOSS: what was added isn't what was claimed. To be called once; then Restart.
  [[nodiscard]] absl::Status Check(const ClaimedDigests& claimed);

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  using Context = std::unique_ptr<evp_md_ctx_st, Free>;

  const Context md5_;
  const Context sha256_;
  bool has_md5_ = false;  // not where a FIPS policy forbids it
  uint32_t crc32_ = 0;
};

}  // namespace understudy::net
