#include "core/wire/freshness_codec.h"

#include <utility>

#include "core/wire/limits.h"
#include "understudy/v1/freshness.pb.h"

namespace understudy::wire {
namespace {

absl::StatusOr<model::Confirmation> ParseOne(const v1::Confirmation& message) {
  RETURN_IF_ERROR(model::ValidateVolumeName(message.volume()));
  if (message.as_of_nanoseconds() <= 0) return absl::InvalidArgumentError("a confirmation without a time");
  return model::Confirmation{.volume = message.volume(),
                             .epoch = message.epoch(),
                             .sequence = message.sequence(),
                             .as_of = absl::FromUnixNanos(message.as_of_nanoseconds())};
}

template <class Message>
absl::StatusOr<std::vector<model::Confirmation>> ParseAll(const Message& message) {
  if (static_cast<size_t>(message.volumes_size()) > kMaxPageEntries) {
    return absl::InvalidArgumentError("a page of confirmations with too many entries");
  }
  std::vector<model::Confirmation> confirmations;
  for (const v1::Confirmation& volume : message.volumes()) {
    ASSIGN_OR_RETURN(model::Confirmation parsed, ParseOne(volume));
    confirmations.push_back(std::move(parsed));
  }
  return confirmations;
}

template <class Message>
void Add(const model::Confirmation& confirmation, Message& message) {
  v1::Confirmation* const added = message.add_volumes();
  added->set_volume(confirmation.volume);
  added->set_epoch(confirmation.epoch);
  added->set_sequence(confirmation.sequence);
  added->set_as_of_nanoseconds(absl::ToUnixNanos(confirmation.as_of));
}

}  // namespace

absl::StatusOr<std::vector<model::Confirmation>> Parse(const v1::ConfirmUpToDateRequest& message) {
  return ParseAll(message);
}

absl::StatusOr<std::string> Parse(const v1::ListConfirmationsRequest& message) {
  if (!message.after_volume().empty()) RETURN_IF_ERROR(model::ValidateVolumeName(message.after_volume()));
  return message.after_volume();
}

absl::StatusOr<ConfirmationPage> Parse(const v1::ListConfirmationsResponse& message) {
  ConfirmationPage page;
  page.more = message.more();
  ASSIGN_OR_RETURN(page.confirmations, ParseAll(message));
  // Else the caller would ask for the same page for ever.
  for (size_t i = 1; i < page.confirmations.size(); ++i) {
    if (page.confirmations[i].volume > page.confirmations[i - 1].volume) continue;
    return absl::InvalidArgumentError("a page of confirmations whose volumes don't ascend");
  }
  if (page.more && page.confirmations.empty()) {
    return absl::InvalidArgumentError("an empty page of confirmations with more");
  }
  return page;
}

v1::ConfirmUpToDateRequest ToProto(std::span<const model::Confirmation> confirmations) {
  v1::ConfirmUpToDateRequest message;
  for (const model::Confirmation& confirmation : confirmations) Add(confirmation, message);
  return message;
}

v1::ListConfirmationsResponse ToProto(const ConfirmationPage& page) {
  v1::ListConfirmationsResponse message;
  for (const model::Confirmation& confirmation : page.confirmations) Add(confirmation, message);
  message.set_more(page.more);
  return message;
}

}  // namespace understudy::wire
