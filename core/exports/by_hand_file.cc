#include "core/exports/by_hand_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <optional>

#include "core/base/log.h"
#include "core/exports/own_file.h"

namespace understudy::exports {
namespace {

// Names this run of the kernel.
std::string FirstLine() {
  std::string boot_id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
  return fmt::format("# boot {}\n", boot_id);
}

}  // namespace

absl::Status ByHandFile::Keep(std::span<const EtabEntry> entries) const {
  if (entries.empty()) return Drop();
  return ReplaceOwnFile(path_, FirstLine() + RenderEtab(entries));
}

absl::StatusOr<std::vector<EtabEntry>> ByHandFile::Load() const {
  ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadServerFile(path_));
  const std::string first = FirstLine();
  if (!text || text->substr(0, first.size()) != first) return std::vector<EtabEntry>();
  absl::StatusOr<std::vector<EtabEntry>> entries = ParseEtab(std::string_view(*text).substr(first.size()));
  if (entries.ok()) return entries;
  return Annotate(entries.status(),
                  fmt::format("'{}' (export by hand what it names, and take it away)", Printable(path_)));
}

absl::Status ByHandFile::Drop() const {
  if (unlink(path_.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("remove '{}'", Printable(path_)));
}

}  // namespace understudy::exports
