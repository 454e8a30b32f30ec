#include "core/net/grpc_status.h"

#include <fmt/format.h>

#include "core/base/log.h"

namespace understudy::net {
namespace {

bool Mentions(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// gRPC prefixes the innermost reason with each layer's own words; the last one is what a person can use.
std::string_view Innermost(std::string_view message, std::string_view address) {
  const auto skip = [&](std::string_view prefix) {
    if (message.starts_with(prefix)) message.remove_prefix(prefix.size());
  };
  constexpr std::string_view kLastError = "last error: ";
  if (const size_t at = message.find(kLastError); at != std::string_view::npos)
    message.remove_prefix(at + kLastError.size());
  skip("UNKNOWN: ");
  skip("ipv4:");
  skip("ipv6:");
  skip(address);
  skip(": ");
  skip("Failed to connect to remote host: ");
  return message;
}

std::string_view WhatToCheck(std::string_view reason) {
  if (Mentions(reason, "refused")) return "check that it runs there, and that the address is right";
  if (Mentions(reason, "DNS") || Mentions(reason, "resol")) return "check the host name";
  if (Mentions(reason, "handshake") || Mentions(reason, "erif") || Mentions(reason, "ertificate") ||
      Mentions(reason, "SSL")) {
    return "check that both sides' certificates come from the same authority, and that the certificate there names "
           "this host "
           "and has the right role";
  }
  if (Mentions(reason, "closed") || Mentions(reason, "reset")) {
    return "check that it accepts this side's certificate, and that it is still running";
  }
  return "check that it runs there, that the address is right, and that no firewall is between";
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()),
          std::string(MessageOf(status).substr(0, kMaxStatusMessageBytes))};
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

absl::Status CallError(const grpc::Status& status, std::string_view program, std::string_view address) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = Printable(Innermost(status.error_message(), address));
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return absl::UnavailableError(
          fmt::format("can't reach {} at {}: {}; {}", program, address, message, WhatToCheck(message)));
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError(fmt::format(
          "{} at {} didn't answer in time ({}); check that it runs, and the link", program, address, message));
    default:
      return Annotate(absl::Status(static_cast<absl::StatusCode>(status.error_code()), message),
                      fmt::format("{} at {}", program, address));
  }
}

}  // namespace understudy::net
