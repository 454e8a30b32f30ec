// The commit and its operations; what replication_codec.h declares of them.
#include <fmt/format.h>

#include <utility>

#include "core/base/log.h"
#include "core/wire/parse_parts.h"
#include "core/wire/replication_codec.h"
#include "core/wire/validate.h"
#include "understudy/v1/replication.pb.h"

namespace understudy::wire {
namespace {

absl::StatusOr<model::Operation> OperationFrom(const v1::Put& message) {
  model::Put put;
  put.path = message.path();
  put.metadata = MetadataFrom(message.metadata());
  put.size = message.size();
  ASSIGN_OR_RETURN(put.digest, DigestFrom(message.digest()));
  switch (message.content_case()) {
    case v1::Put::kInlineContent:
      put.content = message.inline_content();
      break;
    case v1::Put::kStagedSlot:
      put.content = message.staged_slot();
      break;
    case v1::Put::CONTENT_NOT_SET:
      return absl::InvalidArgumentError(fmt::format("put of '{}' without content", Printable(put.path)));
  }
  return put;
}

absl::StatusOr<model::Operation> OperationFrom(const v1::Operation& message) {
  switch (message.operation_case()) {
    case v1::Operation::kRemove: {
      ASSIGN_OR_RETURN(const model::FileKind kind, KindFrom(message.remove().kind()));
      return model::Remove{message.remove().path(), kind};
    }
    case v1::Operation::kDetach:
      return model::Detach{message.detach().path(), message.detach().slot()};
    case v1::Operation::kAttach:
      return model::Attach{message.attach().slot(), message.attach().path()};
    case v1::Operation::kMakeDirectory: {
      const v1::MakeDirectory& make = message.make_directory();
      return model::MakeDirectory{make.path(), MetadataFrom(make.metadata())};
    }
    case v1::Operation::kPut:
      return OperationFrom(message.put());
    case v1::Operation::kMakeSymlink: {
      const v1::MakeSymlink& make = message.make_symlink();
      return model::MakeSymlink{make.path(), make.target(), MetadataFrom(make.metadata())};
    }
    case v1::Operation::kMakeNode: {
      const v1::MakeNode& make = message.make_node();
      ASSIGN_OR_RETURN(const model::FileKind kind, KindFrom(make.kind()));
      return model::MakeNode{make.path(), kind, make.device(), MetadataFrom(make.metadata())};
    }
    case v1::Operation::kLink:
      return model::Link{message.link().path(), message.link().target()};
    case v1::Operation::kPatch: {
      const v1::Patch& patch = message.patch();
      ASSIGN_OR_RETURN(const model::Digest digest, DigestFrom(patch.digest()));
      return model::Patch{patch.path(), MetadataFrom(patch.metadata()), patch.size(), digest, patch.staged_slot()};
    }
    case v1::Operation::kSetMetadata: {
      const v1::SetMetadata& set = message.set_metadata();
      ASSIGN_OR_RETURN(const model::FileKind kind, KindFrom(set.kind()));
      return model::SetMetadata{set.path(), kind, MetadataFrom(set.metadata())};
    }
    case v1::Operation::OPERATION_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("an operation of a kind that this program doesn't know");
}

absl::StatusOr<model::Commit> CommitFrom(const v1::Commit& message) {
  model::Commit commit;
  commit.volume = message.volume();
  commit.epoch = message.epoch();
  commit.base_sequence = message.base_sequence();
  commit.sequence = message.sequence();
  commit.completes_capture = message.completes_capture();
  commit.captured_at_nanoseconds = message.captured_at_nanoseconds();
  commit.id = message.id();
  if (commit.completes_capture) commit.consistency = model::ConsistencyOf(message.consistency());
  commit.operations.reserve(static_cast<size_t>(message.operations_size()));
  for (const v1::Operation& operation : message.operations()) {
    ASSIGN_OR_RETURN(model::Operation parsed, OperationFrom(operation));
    commit.operations.push_back(std::move(parsed));
  }
  return commit;
}

struct OperationFiller {
  v1::Operation& message;

  void operator()(const model::Remove& op) const {
    message.mutable_remove()->set_path(op.path);
    message.mutable_remove()->set_kind(KindToProto(op.kind));
  }
  void operator()(const model::Detach& op) const {
    message.mutable_detach()->set_path(op.path);
    message.mutable_detach()->set_slot(op.slot);
  }
  void operator()(const model::Attach& op) const {
    message.mutable_attach()->set_slot(op.slot);
    message.mutable_attach()->set_path(op.path);
  }
  void operator()(const model::MakeDirectory& op) const {
    message.mutable_make_directory()->set_path(op.path);
    *message.mutable_make_directory()->mutable_metadata() = ToProto(op.metadata);
  }
  void operator()(const model::Put& op) const {
    v1::Put& put = *message.mutable_put();
    put.set_path(op.path);
    *put.mutable_metadata() = ToProto(op.metadata);
    put.set_size(op.size);
    put.set_digest(op.digest.data(), op.digest.size());
    if (const auto* content = std::get_if<std::string>(&op.content)) {
      put.set_inline_content(*content);
    } else {
      put.set_staged_slot(std::get<model::Slot>(op.content));
    }
  }
  void operator()(const model::MakeSymlink& op) const {
    v1::MakeSymlink& make = *message.mutable_make_symlink();
    make.set_path(op.path);
    make.set_target(op.target);
    *make.mutable_metadata() = ToProto(op.metadata);
  }
  void operator()(const model::MakeNode& op) const {
    v1::MakeNode& make = *message.mutable_make_node();
    make.set_path(op.path);
    make.set_kind(KindToProto(op.kind));
    make.set_device(op.device);
    *make.mutable_metadata() = ToProto(op.metadata);
  }
  void operator()(const model::Link& op) const {
    message.mutable_link()->set_path(op.path);
    message.mutable_link()->set_target(op.target);
  }
  void operator()(const model::Patch& op) const {
    v1::Patch& patch = *message.mutable_patch();
    patch.set_path(op.path);
    *patch.mutable_metadata() = ToProto(op.metadata);
    patch.set_size(op.size);
    patch.set_digest(op.digest.data(), op.digest.size());
    patch.set_staged_slot(op.slot);
  }
  void operator()(const model::SetMetadata& op) const {
    v1::SetMetadata& set = *message.mutable_set_metadata();
    set.set_path(op.path);
    set.set_kind(KindToProto(op.kind));
    *set.mutable_metadata() = ToProto(op.metadata);
  }
};

}  // namespace

absl::StatusOr<model::Commit> Parse(const v1::Commit& message) {
  ASSIGN_OR_RETURN(model::Commit commit, CommitFrom(message));
  RETURN_IF_ERROR(ValidateCommit(commit));
  return commit;
}

v1::Commit ToProto(const model::Commit& commit) {
  v1::Commit message;
  message.set_volume(commit.volume);
  message.set_epoch(commit.epoch);
  message.set_base_sequence(commit.base_sequence);
  message.set_sequence(commit.sequence);
  message.set_completes_capture(commit.completes_capture);
  message.set_captured_at_nanoseconds(commit.captured_at_nanoseconds);
  message.set_id(commit.id);
  message.set_consistency(ConsistencyToProto(commit.consistency));
  message.mutable_operations()->Reserve(static_cast<int>(commit.operations.size()));
  for (const model::Operation& operation : commit.operations) {
    std::visit(OperationFiller{*message.add_operations()}, operation);
  }
  return message;
}

std::string SerializeCommit(const model::Commit& commit) {
  return ToProto(commit).SerializeAsString();
}

absl::StatusOr<model::Commit> DeserializeCommit(std::string_view bytes) {
  v1::Commit message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::DataLossError("a commit record can't be read");
  }
  absl::StatusOr<model::Commit> commit = CommitFrom(message);
  if (!commit.ok()) return absl::DataLossError(fmt::format("a commit record: {}", MessageOf(commit.status())));
  return commit;
}

}  // namespace understudy::wire
