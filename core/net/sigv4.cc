#include "core/net/sigv4.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "core/base/status.h"

namespace understudy::net {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

std::string Hex(std::string_view bytes) {
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

std::string HmacSha256(std::string_view key, std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  const unsigned char* const made =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
           text.size(), digest.data(), &length);
  UNDERSTUDY_CHECK(made != nullptr);
  return {reinterpret_cast<const char*>(digest.data()), length};
}

std::string Encode(std::string_view text, std::string_view left_alone) {
  std::string encoded;
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || left_alone.find(c) != std::string_view::npos) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

// Without white space at the ends; runs of spaces inside become one.
std::string TrimmedValue(const std::string& value) {
  std::string trimmed(absl::StripAsciiWhitespace(value));
  trimmed.erase(std::unique(trimmed.begin(), trimmed.end(), [](char a, char b) { return a == ' ' && b == ' '; }),
                trimmed.end());
  return trimmed;
}

std::string Join(const std::vector<std::string>& parts, char separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

}  // namespace

std::string EncodePath(std::string_view path) {
  return Encode(path, "-._~/");
}

std::string EncodeQueryPart(std::string_view text) {
  return Encode(text, "-._~");
}

std::string CanonicalQuery(const QueryParameters& query) {
  // Sorted after encoding, and by name before value: "a-b=" comes before "a=", which comparing whole lines would turn.
  QueryParameters encoded;
  for (const auto& [name, value] : query) encoded.emplace_back(EncodeQueryPart(name), EncodeQueryPart(value));
  std::sort(encoded.begin(), encoded.end());
  std::vector<std::string> lines;
  for (const auto& [name, value] : encoded) lines.push_back(fmt::format("{}={}", name, value));
  return Join(lines, '&');
}

CanonicalRequest Canonicalise(const RequestToSign& request) {
  HttpHeaders headers;
  for (const auto& [name, value] : request.headers) {
    headers.emplace_back(absl::AsciiStrToLower(name), TrimmedValue(value));
  }
  // Stable: several of one name keep their order.
  std::stable_sort(headers.begin(), headers.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string lines;
  std::vector<std::string> names;
  for (const auto& [name, value] : headers) {
    if (!names.empty() && names.back() == name) {
      lines.back() = ',';
      lines += fmt::format("{}\n", value);
      continue;
    }
    names.push_back(name);
    lines += fmt::format("{}:{}\n", name, value);
  }
  CanonicalRequest canonical{.text = "", .signed_headers = Join(names, ';')};
  canonical.text = fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, request.path.empty() ? "/" : request.path,
                               CanonicalQuery(request.query), lines, canonical.signed_headers, request.payload_sha256);
  return canonical;
}

HttpHeaders SignRequest(RequestToSign request, const AwsCredentials& credentials, const SigningScope& scope,
                        absl::Time now) {
  const std::string time = absl::FormatTime("%Y%m%dT%H%M%SZ", now, absl::UTCTimeZone());
  const std::string day = time.substr(0, 8);
  HttpHeaders added = {{"x-amz-date", time}};
  if (!credentials.session_token.empty()) added.emplace_back("x-amz-security-token", credentials.session_token);
  request.headers.insert(request.headers.end(), added.begin(), added.end());

  const CanonicalRequest canonical = Canonicalise(request);
  const std::string scope_text = fmt::format("{}/{}/{}/aws4_request", day, scope.region, scope.service);
  const std::string to_sign = fmt::format("{}\n{}\n{}\n{}", kAlgorithm, time, scope_text, Sha256Hex(canonical.text));
  const std::string day_key = HmacSha256(fmt::format("AWS4{}", credentials.secret_key), day);
  const std::string key = HmacSha256(HmacSha256(HmacSha256(day_key, scope.region), scope.service), "aws4_request");
  added.emplace_back("authorization", fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm,
                                                  credentials.access_key, scope_text, canonical.signed_headers,
                                                  Hex(HmacSha256(key, to_sign))));
  return added;
}

std::string Sha256Hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  UNDERSTUDY_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1);
  return Hex({reinterpret_cast<const char*>(digest.data()), length});
}

}  // namespace understudy::net
