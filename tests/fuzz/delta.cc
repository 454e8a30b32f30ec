// A delta from a peer, as bytes: it never reads outside its base nor makes more than it may; and one of our own, made
// from the same bytes, gives back what it was made of.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/status.h"
#include "core/delta/rsync_segment.h"

namespace understudy {
namespace {

// librsync's file formats begin with these; behind them the fuzzer gets somewhere.
const std::string kDeltaMagic = "rs\x02\x36";
const std::string kSignatureMagic = "rs\x01\x37";

// The first byte says how much of the rest is the base.
void Check(std::string_view input) {
  const size_t split = input.size() * static_cast<uint8_t>(input.front()) / 256;
  const std::string_view base = input.substr(0, split);
  const std::string_view rest = input.substr(split);
  const absl::StatusOr<std::string> foreign = delta::ApplyDelta(base, kDeltaMagic + std::string(rest), rest.size());
  UNDERSTUDY_CHECK(!foreign.ok() || foreign->size() == rest.size());
  (void)delta::MakeDelta(kSignatureMagic + std::string(base), rest);

  const absl::StatusOr<std::string> signature = delta::MakeSignature(base);
  UNDERSTUDY_CHECK(signature.ok());
  const absl::StatusOr<std::string> own = delta::MakeDelta(*signature, rest);
  UNDERSTUDY_CHECK(own.ok());
  const absl::StatusOr<std::string> applied = delta::ApplyDelta(base, *own, rest.size());
  UNDERSTUDY_CHECK(applied.ok() && *applied == rest);
}

}  // namespace
}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) understudy::Check({reinterpret_cast<const char*>(data), size});
  return 0;
}
