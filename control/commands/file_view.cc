#include "control/commands/file_view.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <utility>

#include "control/commands/agents_client.h"
#include "core/base/log.h"
#include "core/base/time_text.h"
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

Document CountOrNull(const std::optional<uint64_t>& count) {
  return count ? Document(*count) : Document(nullptr);
}

Document TextOrNull(const std::string& text) {
  return text.empty() ? Document(nullptr) : Document(Printable(text));
}

Document TimeOrNull(const std::optional<absl::Time>& time) {
  return time ? Document(Rfc3339(*time)) : Document(nullptr);
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

Document ToDocument(const FileView& file) {
  Document base = nullptr;
  if (file.base) {
    base = {{"made_at", Rfc3339(file.base->made_at)},
            {"size", file.base->size},
            {"extents", CountOrNull(file.base->extents)}};
  }
  return {{"path", Printable(file.path)},
          {"kind", file.kind},
          {"size", file.size},
          {"extents", CountOrNull(file.extents)},
          {"rung", TextOrNull(file.rung)},
          {"reason", TextOrNull(file.reason)},
          {"captured_at", TimeOrNull(file.captured_at)},
          {"base", std::move(base)},
          {"rests_until", TimeOrNull(file.rests_until)},
          {"dirty", file.dirty},
          {"damaged", file.damaged}};
}

std::string FileLines(const FileView& file) {
  std::string text;
  const auto add = [&text](const std::string& prefix, const Document& members) {
    for (const auto& [key, value] : members.items()) {
      if (value.is_object()) continue;
      const std::string shown = value.is_null() ? "-" : value.is_string() ? value.get<std::string>() : value.dump();
      text += fmt::format("{:<28}{}\n", prefix + key, shown);
    }
  };
  const Document document = ToDocument(file);
  add("", document);
  if (file.base) add("base.", document.at("base"));
  return text;
}

std::string FilesTable(const std::vector<FileView>& files) {
  Table table({"FILE", "SIZE", "RUNG", "WHY NOT A BETTER ONE"});
  for (const FileView& file : files) {
    table.Add({Printable(file.path), fmt::format("{}", file.size), file.rung.empty() ? "-" : file.rung,
               file.reason.empty() ? "-" : Printable(file.reason)});
  }
  return table.Text();
}

}  // namespace understudy::control
