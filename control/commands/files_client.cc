#include "control/commands/files_client.h"

#include <grpcpp/grpcpp.h>

#include "control/commands/agents_client.h"
#include "core/net/channel.h"
#include "core/net/grpc_status.h"
#include "core/net/stoppable_call.h"
#include "understudy/v1/primary.grpc.pb.h"

namespace understudy::control {
namespace {

std::string KindText(v1::FileKind kind) {
  switch (kind) {
    case v1::FILE_KIND_REGULAR:
      return "file";
    case v1::FILE_KIND_DIRECTORY:
      return "folder";
    case v1::FILE_KIND_SYMLINK:
      return "symlink";
    case v1::FILE_KIND_FIFO:
      return "fifo";
    case v1::FILE_KIND_SOCKET:
      return "socket";
    case v1::FILE_KIND_CHARACTER_DEVICE:
      return "character-device";
    case v1::FILE_KIND_BLOCK_DEVICE:
      return "block-device";
    default:
      return "unknown";
  }
}

std::optional<absl::Time> TimeOf(int64_t nanoseconds) {
  return nanoseconds > 0 ? std::optional(absl::FromUnixNanos(nanoseconds)) : std::nullopt;
}

FileView FromWire(const v1::FileStatus& wire) {
  FileView file;
  file.path = wire.path();
  file.kind = KindText(wire.kind());
  file.size = wire.size();
  file.rung = wire.rung();
  file.reason = wire.reason();
  file.captured_at = TimeOf(wire.captured_at_nanoseconds());
  file.rests_until = TimeOf(wire.rests_until_nanoseconds());
  file.dirty = wire.dirty();
  file.damaged = wire.damaged();
  if (wire.has_extents()) file.extents = wire.extents();
  if (!wire.has_base()) return file;
  file.base = {absl::FromUnixNanos(wire.base().made_at_nanoseconds()), wire.base().size(), {}};
  if (wire.base().has_extents()) file.base->extents = wire.base().extents();
  return file;
}

}  // namespace

absl::StatusOr<std::vector<FileView>> AskForFiles(const std::string& address, const net::TlsFiles& tls,
                                                  const std::string& volume, const std::string& file) {
  ASSIGN_OR_RETURN(const auto channel, net::MakeChannel({address, tls, net::Role::kControl, net::Role::kPrimary}));
  const auto stub = v1::Primary::NewStub(channel);
  net::StoppableCall call({}, kQueryTimeout);
  v1::ShowVolumeRequest request;
  request.set_volume(volume);
  request.set_file(file);
  v1::ShowVolumeResponse response;
  const grpc::Status status = stub->ShowVolume(&call.context(), request, &response);
  if (!status.ok()) return net::CallError(status, "understudy-primary", address);
  std::vector<FileView> files;
  for (const v1::FileStatus& wire : response.files()) files.push_back(FromWire(wire));
  if (!file.empty() && files.size() != 1)
    return absl::InternalError("understudy-primary named another number of files");
  return files;
}

}  // namespace understudy::control
