#include "core/base/random_id.h"

#include <sys/random.h>

#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "core/base/log.h"

namespace understudy {

std::string RandomId() {
  std::array<char, 16> bytes;
  // So few bytes are never refused, nor given in part (getrandom(2)).
  UNDERSTUDY_CHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size()));
}

}  // namespace understudy
