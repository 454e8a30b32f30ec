// freshness_teller.h: tells DR of which volumes nothing is outstanding, over gRPC.
#pragma once

#include <memory>
#include <span>
#include <stop_token>

#include "core/base/status.h"
#include "core/model/confirmation.h"
#include "core/net/channel.h"

namespace understudy::primary {

// Has a connection of its own. Thread-safe.
class FreshnessTeller {
 public:
  // INVALID_ARGUMENT: unfit certificates or address.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<FreshnessTeller>> Create(const net::ChannelSpec& peer);
  ~FreshnessTeller();

  // OK: DR took what fits. UNAVAILABLE: it can't be reached; UNIMPLEMENTED: it is of an older version; CANCELLED:
  // `stop`.
  [[nodiscard]] absl::Status Tell(std::span<const model::Confirmation> confirmations,
                                  const std::stop_token& stop) const;

 private:
  struct Stub;
  explicit FreshnessTeller(std::unique_ptr<Stub> stub);
  const std::unique_ptr<Stub> stub_;
};

}  // namespace understudy::primary
