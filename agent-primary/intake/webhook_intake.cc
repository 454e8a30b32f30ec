#include "agent-primary/intake/webhook_intake.h"

#include <fmt/format.h>

#include <utility>

#include "absl/strings/match.h"
#include "agent-primary/intake/cluster_intake.h"
#include "core/base/log.h"
#include "core/kube/event_json.h"
#include "nlohmann/json.hpp"

namespace understudy::primary {
namespace {

using Request = net::HttpServer::Request;
using Response = net::HttpServer::Response;
using nlohmann::json;

constexpr int kRetrySeconds = 5;
constexpr char kBearer[] = "Bearer ";

std::string Body(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Response Refuse(int status, std::string_view reason) {
  return {.status = status, .body = Body({{"error", std::string(reason)}})};
}

std::string Header(const Request& request, const char* name) {
  const auto found = request.headers.find(name);
  return found == request.headers.end() ? std::string() : found->second;
}

// The token of an Authorization header; empty when it carries none.
std::string BearerToken(const std::string& header) {
  constexpr size_t kLength = sizeof(kBearer) - 1;
  return absl::StartsWithIgnoreCase(header, kBearer) ? header.substr(kLength) : std::string();
}

Response RefuseFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return Refuse(400, MessageOf(status));
    case absl::StatusCode::kUnauthenticated: {
      Response response = Refuse(401, MessageOf(status));
      response.headers.emplace_back("WWW-Authenticate", "Bearer");
      return response;
    }
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable: {
      Response response = Refuse(503, MessageOf(status));
      response.headers.emplace_back("Retry-After", std::to_string(kRetrySeconds));
      return response;
    }
    default:
      return Refuse(500, "the event can't be written to disk; the agent's log says why");
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<WebhookIntake>> WebhookIntake::Start(const WebhookOptions& options, Accept accept,
                                                                    Clock& clock) {
  std::unique_ptr<WebhookIntake> intake(new WebhookIntake(options, std::move(accept), clock));
  RETURN_IF_ERROR(Annotate(intake->token_.Read().status(), "webhook.token_file"));
  if (intake->hmac_secret_) {
    RETURN_IF_ERROR(Annotate(intake->hmac_secret_->Read().status(), "webhook.hmac_secret_file"));
  }
  net::HttpServerOptions serving;
  serving.listen = options.listen;
  serving.tls = options.tls;
  serving.max_body_bytes = options.max_body_bytes;
  ASSIGN_OR_RETURN(intake->server_, net::HttpServer::Start(serving, [raw = intake.get()](const Request& request) {
                     Response response = raw->Answer(request);
                     absl::MutexLock lock(&raw->mutex_);
                     ++raw->answers_[response.status];
                     return response;
                   }));
  return intake;
}

WebhookIntake::WebhookIntake(const WebhookOptions& options, Accept accept, Clock& clock)
    : namespaces_(options.namespaces), accept_(std::move(accept)), clock_(clock), token_(options.token_file) {
  if (!options.hmac_secret_file.empty()) hmac_secret_.emplace(options.hmac_secret_file);
}

std::map<int, uint64_t> WebhookIntake::Answers() const {
  absl::MutexLock lock(&mutex_);
  return answers_;
}

Response WebhookIntake::Answer(const Request& request) {
  // Who has no token doesn't learn more than that.
  if (const absl::Status known = Authenticate(request); !known.ok()) return RefuseFor(known);
  if (request.method != "POST") {
    Response response = Refuse(405, "events are posted: use POST");
    response.headers.emplace_back("Allow", "POST");
    return response;
  }
  return Take(request.body);
}

absl::Status WebhookIntake::Authenticate(const Request& request) {
  const absl::StatusOr<std::string> token = token_.Read();
  if (!token.ok()) {
    spdlog::warn("webhook: nobody can be let in: {}", MessageOf(token.status()));
    return absl::UnavailableError("the token can't be checked now");
  }
  const std::string given = BearerToken(Header(request, "authorization"));
  if (!net::SameSecret(given, *token)) {
    return absl::UnauthenticatedError("the bearer token is missing or wrong");
  }
  if (!hmac_secret_) return absl::OkStatus();
  const absl::StatusOr<std::string> secret = hmac_secret_->Read();
  if (!secret.ok()) {
    spdlog::warn("webhook: no signature can be checked: {}", MessageOf(secret.status()));
    return absl::UnavailableError("the signature can't be checked now");
  }
  if (!net::SameSecret(Header(request, "x-hub-signature-256"), net::HubSignature(*secret, request.body))) {
    return absl::UnauthenticatedError("x-hub-signature-256 is missing or isn't that of the body");
  }
  return absl::OkStatus();
}

Response WebhookIntake::Take(const std::string& body) {
  const absl::StatusOr<model::ObjectEvent> event = kube::ParseEventJson(body, clock_.Now());
  if (!event.ok()) return RefuseFor(event.status());
  json answer = {{"event_id", event->event_id}, {"repeated", false}};
  if (!BelongsTo(namespaces_, *event)) {
    answer["ignored"] = "it isn't of a watched namespace";
    return {.status = 200, .body = Body(answer)};
  }
  const absl::StatusOr<bool> repeated = accept_(*event);
  if (!repeated.ok()) return RefuseFor(repeated.status());
  answer["repeated"] = *repeated;
  return {.status = 200, .body = Body(answer)};
}

}  // namespace understudy::primary
