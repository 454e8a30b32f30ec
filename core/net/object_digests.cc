#include "core/net/object_digests.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <zlib.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"

namespace understudy::net {
namespace {

constexpr size_t kMd5HexBytes = 32;

std::string ValueOf(const std::map<std::string, std::string>& headers, const std::string& name) {
  const auto it = headers.find(name);
  return it == headers.end() ? "" : it->second;
}

// Of several parts, it is a digest of digests: "…-3".
std::string WholeChecksum(const std::map<std::string, std::string>& headers, const std::string& name) {
  const std::string value = ValueOf(headers, name);
  return value.find('-') == std::string::npos ? value : "";
}

std::string Finish(EVP_MD_CTX* context) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  UNDERSTUDY_CHECK(EVP_DigestFinal_ex(context, digest.data(), &length) == 1);
  return {reinterpret_cast<const char*>(digest.data()), length};
}

absl::Status Compare(std::string_view name, const std::string& claimed, const std::string& computed) {
  if (claimed == computed) return absl::OkStatus();
  return absl::DataLossError(fmt::format(
      "its {} is {}, and the server said {}: it was damaged on its way, or in the store", name, computed, claimed));
}

std::string Base64(std::string_view bytes) {
  return absl::Base64Escape(absl::string_view(bytes.data(), bytes.size()));
}

// The ETag where it is the MD5 digest of the content; else empty. It isn't of an object that came in several parts
// ("…-7"), was encrypted with a key (SSE-KMS, DSSE, SSE-C), or lies in a directory bucket.
std::string Md5OfEtag(const std::map<std::string, std::string>& headers) {
  constexpr std::string_view kEncryption = "x-amz-server-side-encryption";
  const bool encrypted_with_a_key = std::any_of(headers.begin(), headers.end(), [&](const auto& header) {
    if (!header.first.starts_with(kEncryption)) return false;
    if (header.first.size() == kEncryption.size()) return !header.second.empty() && header.second != "AES256";
    return header.first.starts_with(fmt::format("{}-customer-", kEncryption)) ||
           header.first.starts_with(fmt::format("{}-aws-kms-", kEncryption));
  });
  if (encrypted_with_a_key || ValueOf(headers, "x-amz-storage-class") == "EXPRESS_ONEZONE") return "";
  std::string etag = absl::AsciiStrToLower(ValueOf(headers, "etag"));
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  const bool is_md5 = etag.size() == kMd5HexBytes && std::all_of(etag.begin(), etag.end(), [](char c) {
                        return absl::ascii_isxdigit(static_cast<unsigned char>(c));
                      });
  return is_md5 ? etag : "";
}

}  // namespace

ClaimedDigests ClaimedDigestsOf(const std::map<std::string, std::string>& headers) {
  ClaimedDigests claimed{.md5_hex = "",
                         .sha256_base64 = WholeChecksum(headers, "x-amz-checksum-sha256"),
                         .crc32_base64 = WholeChecksum(headers, "x-amz-checksum-crc32")};
  // Another digest of the whole object is better than an ETag, which is whatever its server likes.
  if (claimed.sha256_base64.empty() && claimed.crc32_base64.empty()) claimed.md5_hex = Md5OfEtag(headers);
  return claimed;
}

void ObjectDigests::Free::operator()(EVP_MD_CTX* context) const {
  EVP_MD_CTX_free(context);
}

ObjectDigests::ObjectDigests() : md5_(EVP_MD_CTX_new()), sha256_(EVP_MD_CTX_new()) {
  UNDERSTUDY_CHECK(md5_ != nullptr && sha256_ != nullptr);
  Restart();
}
ObjectDigests::~ObjectDigests() = default;

void ObjectDigests::Restart() {
  has_md5_ = EVP_DigestInit_ex(md5_.get(), EVP_md5(), nullptr) == 1;
  UNDERSTUDY_CHECK(EVP_DigestInit_ex(sha256_.get(), EVP_sha256(), nullptr) == 1);
  crc32_ = 0;
}

void ObjectDigests::Add(std::string_view bytes) {
  if (has_md5_) UNDERSTUDY_CHECK(EVP_DigestUpdate(md5_.get(), bytes.data(), bytes.size()) == 1);
  UNDERSTUDY_CHECK(EVP_DigestUpdate(sha256_.get(), bytes.data(), bytes.size()) == 1);
  crc32_ = static_cast<uint32_t>(crc32_z(crc32_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

absl::Status ObjectDigests::Check(const ClaimedDigests& claimed) {
  if (!claimed.md5_hex.empty() && has_md5_) {
    std::string computed;
    for (const unsigned char byte : Finish(md5_.get())) computed += fmt::format("{:02x}", byte);
    RETURN_IF_ERROR(Compare("MD5 digest (ETag)", claimed.md5_hex, computed));
  }
  if (!claimed.sha256_base64.empty()) {
    RETURN_IF_ERROR(Compare("SHA-256 digest", claimed.sha256_base64, Base64(Finish(sha256_.get()))));
  }
  if (!claimed.crc32_base64.empty()) {
    const std::array<char, 4> big_endian = {static_cast<char>(crc32_ >> 24), static_cast<char>(crc32_ >> 16),
                                            static_cast<char>(crc32_ >> 8), static_cast<char>(crc32_)};
    RETURN_IF_ERROR(Compare("CRC-32", claimed.crc32_base64, Base64({big_endian.data(), big_endian.size()})));
  }
  return absl::OkStatus();
}

}  // namespace understudy::net
