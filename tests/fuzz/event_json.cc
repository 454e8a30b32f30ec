// What is posted to the webhook: whatever it is, it is refused or read, and what was read is written and read back as
// the same event.
#include "core/kube/event_json.h"

#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using understudy::kube::ParseEventJson;
  constexpr size_t kLimit = 1 << 20;
  const auto event = ParseEventJson({reinterpret_cast<const char*>(data), size}, absl::FromUnixSeconds(1));
  if (!event.ok()) return 0;
  const auto again = ParseEventJson(understudy::kube::EventJson(*event, kLimit), absl::FromUnixSeconds(1));
  UNDERSTUDY_CHECK(again.ok());
  UNDERSTUDY_CHECK(again->key == event->key && again->event_id == event->event_id);
  UNDERSTUDY_CHECK(again->observed_at == event->observed_at);
  return 0;
}
