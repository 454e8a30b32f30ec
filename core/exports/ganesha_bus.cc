#include "core/exports/ganesha_bus.h"

#include <fmt/format.h>
#include <systemd/sd-bus.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "core/base/log.h"

namespace understudy::exports {
namespace {

constexpr char kService[] = "org.ganesha.nfsd";
constexpr char kObject[] = "/org/ganesha/nfsd/ExportMgr";
constexpr char kInterface[] = "org.ganesha.nfsd.exportmgr";

// Of an export's and a client's options (export_mgr.h of NFS-Ganesha: EXPORT_OPTION_*).
constexpr uint32_t kReadAccess = 0x20;
constexpr uint32_t kWriteAccess = 0x40;
constexpr uint32_t kMetadataReadAccess = 0x80;
constexpr uint32_t kMetadataWriteAccess = 0x100;

struct CloseBus {
  void operator()(sd_bus* bus) const { sd_bus_flush_close_unref(bus); }
};
struct FreeMessage {
  void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using Bus = std::unique_ptr<sd_bus, CloseBus>;
using Message = std::unique_ptr<sd_bus_message, FreeMessage>;

// Ganesha's own words may come in several lines.
std::string OneLine(std::string_view text) {
  std::string line;
  for (const char c : text) line += c == '\n' ? ' ' : c;
  while (line.ends_with(' ')) line.pop_back();
  return Printable(line);
}

absl::Status NoAnswer(int error) {
  return Annotate(ErrnoStatus(-error, "NFS-Ganesha's answer"), "this isn't the D-Bus interface of NFS-Ganesha 4");
}

model::ExportMode ModeOf(uint32_t options) {
  if ((options & (kWriteAccess | kMetadataWriteAccess)) != 0) return model::ExportMode::kReadWrite;
  if ((options & (kReadAccess | kMetadataReadAccess)) != 0) return model::ExportMode::kReadOnly;
  return model::ExportMode::kNone;
}

// Enters the container that comes next, whatever is in it. 0: there is none left; negative: it isn't one of that type.
int Enter(sd_bus_message* message, char type) {
  char next = 0;
  const char* contents = nullptr;
  const int result = sd_bus_message_peek_type(message, &next, &contents);
  if (result <= 0) return result;
  return next == type ? sd_bus_message_enter_container(message, type, contents) : -ENXIO;
}

class BusManager : public GaneshaManager {
 public:
  BusManager(Bus bus, absl::Duration timeout) : bus_(std::move(bus)), timeout_(timeout) {}

  absl::StatusOr<std::map<uint16_t, std::string>> Show() override {
    ASSIGN_OR_RETURN(const Message request, NewCall("ShowExports"));
    ASSIGN_OR_RETURN(const Message reply, Call("ShowExports", request.get()));
    std::map<uint16_t, std::string> exports;
    int result = sd_bus_message_skip(reply.get(), "(tt)");
    if (result >= 0) result = Enter(reply.get(), SD_BUS_TYPE_ARRAY);
    if (result < 0) return NoAnswer(result);
    while ((result = Enter(reply.get(), SD_BUS_TYPE_STRUCT)) > 0) {
      uint16_t id = 0;
      const char* path = nullptr;
      result = sd_bus_message_read(reply.get(), "qs", &id, &path);
      if (result < 0) return NoAnswer(result);
      exports[id] = path;
      // What follows (protocols and times) differs between releases.
      while ((result = sd_bus_message_at_end(reply.get(), 0)) == 0) {
        result = sd_bus_message_skip(reply.get(), nullptr);
        if (result < 0) return NoAnswer(result);
      }
      result = sd_bus_message_exit_container(reply.get());
      if (result < 0) return NoAnswer(result);
    }
    if (result < 0) return NoAnswer(result);
    return exports;
  }

  absl::StatusOr<std::vector<GaneshaClient>> Clients(uint16_t id) override {
    ASSIGN_OR_RETURN(const Message request, NewCall("DisplayExport"));
    if (const int result = sd_bus_message_append(request.get(), "q", id); result < 0) return NoAnswer(result);
    ASSIGN_OR_RETURN(const Message reply, Call("DisplayExport", request.get()));
    uint16_t same_id = 0;
    const char* path = nullptr;
    const char* pseudo = nullptr;
    const char* tag = nullptr;
    int result = sd_bus_message_read(reply.get(), "qsss", &same_id, &path, &pseudo, &tag);
    if (result >= 0) result = sd_bus_message_enter_container(reply.get(), SD_BUS_TYPE_ARRAY, "(siyyiuuuuu)");
    if (result < 0) return NoAnswer(result);
    std::vector<GaneshaClient> clients;
    while (true) {
      const char* client = nullptr;
      int32_t cidr_version = 0;
      uint8_t cidr_address = 0;
      uint8_t cidr_mask = 0;
      int32_t cidr_protocol = 0;
      uint32_t anonymous_uid = 0;
      uint32_t anonymous_gid = 0;
      uint32_t expire = 0;
      uint32_t options = 0;
      uint32_t set = 0;
      result = sd_bus_message_read(reply.get(), "(siyyiuuuuu)", &client, &cidr_version, &cidr_address, &cidr_mask,
                                   &cidr_protocol, &anonymous_uid, &anonymous_gid, &expire, &options, &set);
      if (result < 0) return NoAnswer(result);
      if (result == 0) return clients;
      clients.push_back({client, ModeOf(options)});
    }
  }

  absl::Status Add(const std::string& file, uint16_t id) override { return Change("AddExport", file, id); }
  absl::Status Update(const std::string& file, uint16_t id) override { return Change("UpdateExport", file, id); }

  absl::Status Remove(uint16_t id) override {
    ASSIGN_OR_RETURN(const Message request, NewCall("RemoveExport"));
    if (const int result = sd_bus_message_append(request.get(), "q", id); result < 0) return NoAnswer(result);
    return Call("RemoveExport", request.get()).status();
  }

 private:
  absl::Status Change(const char* method, const std::string& file, uint16_t id) {
    ASSIGN_OR_RETURN(const Message request, NewCall(method));
    const std::string block = fmt::format("EXPORT(Export_Id={})", id);
    const int result = sd_bus_message_append(request.get(), "ss", file.c_str(), block.c_str());
    if (result < 0) return NoAnswer(result);
    return Call(method, request.get()).status();
  }

  absl::StatusOr<Message> NewCall(const char* method) {
    sd_bus_message* message = nullptr;
    const int result = sd_bus_message_new_method_call(bus_.get(), &message, kService, kObject, kInterface, method);
    if (result < 0) return ErrnoStatus(-result, "make a D-Bus call");
    return Message(message);
  }

  absl::StatusOr<Message> Call(const char* method, sd_bus_message* request) {
    sd_bus_error error{};
    sd_bus_message* reply = nullptr;
    const int result =
        sd_bus_call(bus_.get(), request, static_cast<uint64_t>(absl::ToInt64Microseconds(timeout_)), &error, &reply);
    const std::string name = error.name != nullptr ? error.name : "";
    const std::string words = OneLine(error.message != nullptr ? error.message : "");
    sd_bus_error_free(&error);
    if (result >= 0) return Message(reply);
    // Its own refusals carry names of the bus's, too.
    for (const std::string_view gone : {"ServiceUnknown", "NameHasNoOwner", "NoReply", "Timeout", "Disconnected"}) {
      if (name.ends_with(gone)) {
        return absl::UnavailableError(
            fmt::format("NFS-Ganesha doesn't answer ({}): {}: see whether it runs, with D-Bus", method, words));
      }
    }
    // Of the connection itself, not of Ganesha.
    if (name.empty() || name.starts_with("System.Error.")) {
      return absl::UnavailableError(fmt::format("D-Bus fails ({}): {}", method, words));
    }
    return absl::InternalError(fmt::format("NFS-Ganesha refuses {}: {} ({})", method, words, name));
  }

  const Bus bus_;
  const absl::Duration timeout_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GaneshaManager>> ConnectGanesha(const std::string& address, absl::Duration timeout) {
  sd_bus* raw = nullptr;
  int result = 0;
  if (address.empty()) {
    result = sd_bus_open_system(&raw);
  } else {
    result = sd_bus_new(&raw);
    if (result >= 0) result = sd_bus_set_address(raw, address.c_str());
    if (result >= 0) result = sd_bus_set_bus_client(raw, 1);
    if (result >= 0) result = sd_bus_start(raw);
  }
  Bus bus(raw);
  if (result < 0) {
    return absl::UnavailableError(fmt::format("can't reach D-Bus{}, over which NFS-Ganesha is told: {}",
                                              address.empty() ? "" : fmt::format(" at {}", Printable(address)),
                                              MessageOf(ErrnoStatus(-result, "connect"))));
  }
  return std::make_unique<BusManager>(std::move(bus), timeout);
}

}  // namespace understudy::exports
