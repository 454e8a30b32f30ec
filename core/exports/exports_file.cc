#include "core/exports/exports_file.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "core/base/log.h"
#include "core/model/path.h"

namespace understudy::exports {
namespace {

using model::ExportMode;

constexpr size_t kOctalEscapeBytes = 4;  // \ooo

std::string_view Std(absl::string_view text) {
  return {text.data(), text.size()};
}

// Every other byte is written as \ooo, so that nothing has a meaning of its own to exportfs.
std::string EscapePath(std::string_view path) {
  std::string escaped;
  for (const char c : path) {
    if (absl::ascii_isalnum(c) || std::string_view("/._-+=@:,").find(c) != std::string_view::npos) {
      escaped += c;
    } else {
      escaped += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    }
  }
  return escaped;
}

bool IsOctal(char c) {
  return c >= '0' && c <= '7';
}

std::string UnescapePath(std::string_view text) {
  std::string path;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + kOctalEscapeBytes <= text.size() && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) &&
        IsOctal(text[i + 3])) {
      path += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += kOctalEscapeBytes - 1;
    } else {
      path += text[i];
    }
  }
  return path;
}

std::string RenderOptions(const WantedExport& wanted) {
  const std::vector<std::string>& options = wanted.terms.options;
  // First, so that it holds for every `sec=` after it.
  std::string text(model::ToString(wanted.mode));
  const bool says_subtree = std::any_of(options.begin(), options.end(), [](const std::string& option) {
    return option == "subtree_check" || option == "no_subtree_check";
  });
  if (!says_subtree) text += ",no_subtree_check";
  for (const std::string& option : options) text += "," + option;
  return text;
}

// nullopt: it says neither.
std::optional<ExportMode> ModeOf(std::string_view options) {
  std::optional<ExportMode> mode;
  for (const absl::string_view option : absl::StrSplit(absl::string_view(options.data(), options.size()), ',')) {
    if (option == "rw") return ExportMode::kReadWrite;
    if (option == "ro") mode = ExportMode::kReadOnly;
  }
  return mode;
}

// Whether exportfs keeps this client under the very name that the file gives it: it replaces names of single hosts.
bool KeepsItsName(std::string_view client) {
  // Letters don't tell: `cafe` is a host.
  in6_addr parsed{};
  const std::string address(client);
  const bool is_address =
      inet_pton(AF_INET, address.c_str(), &parsed) == 1 || inet_pton(AF_INET6, address.c_str(), &parsed) == 1;
  return is_address || client.find_first_of("*?@[/") != std::string_view::npos;
}

struct OurPart {
  std::vector<std::string> missing;  // clients
  std::vector<std::string> wrong;    // clients with another mode
};

OurPart JudgeOurPart(const WantedExport& wanted, const std::vector<const EtabEntry*>& at_path) {
  OurPart part;
  std::vector<const EtabEntry*> others = at_path;
  std::vector<std::string> host_names;
  for (const std::string& client : wanted.terms.clients) {
    const auto entry =
        std::find_if(others.begin(), others.end(), [&](const EtabEntry* one) { return one->client == client; });
    if (entry != others.end()) {
      if ((*entry)->mode != wanted.mode) part.wrong.push_back(client);
      others.erase(entry);
    } else if (KeepsItsName(client)) {
      part.missing.push_back(client);
    } else {
      host_names.push_back(client);
    }
  }
  // Several names of one host end as one entry, under a name that only the resolver knows.
  if (host_names.empty()) return part;
  if (others.empty()) part.missing = host_names;
  for (const EtabEntry* const other : others) {
    if (other->mode != wanted.mode) part.wrong.push_back(other->client);
  }
  return part;
}

ExportMode ModeAt(const std::vector<const EtabEntry*>& at_path) {
  ExportMode mode = ExportMode::kNone;
  for (const EtabEntry* const entry : at_path) mode = std::max(mode, entry->mode);
  return mode;
}

std::string Described(const EtabEntry& entry) {
  return fmt::format("'{}' is exported {} to {}", Printable(entry.path), model::ToString(entry.mode),
                     Printable(entry.client));
}

}  // namespace

absl::Status CheckKnfsdPath(const std::string& path) {
  if (path.size() > kMaxKnfsdPathBytes) {
    return absl::InvalidArgumentError(fmt::format(
        "the kernel's NFS server exports paths of at most {} bytes; this one has {}", kMaxKnfsdPathBytes, path.size()));
  }
  if (std::any_of(path.begin(), path.end(), [](char c) { return absl::ascii_iscntrl(c); })) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' holds a control character, and can't be exported: rename the folder", Printable(path)));
  }
  return absl::OkStatus();
}

std::string RenderExportsFile(std::string_view program, std::span<const WantedExport> wanted) {
  std::string text =
      fmt::format("# Written by {}, and written anew at every change: see drctl exports list. Don't edit.\n", program);
  for (const WantedExport& one : wanted) {
    if (one.mode == ExportMode::kNone) continue;
    text += EscapePath(one.path);
    for (const std::string& client : one.terms.clients) text += fmt::format(" {}({})", client, RenderOptions(one));
    text += "\n";
  }
  return text;
}

std::set<std::string> PathsOfExportsFile(std::string_view text) {
  std::set<std::string> paths;
  for (const absl::string_view raw : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    const std::string_view line = Std(raw);
    if (line.starts_with('/')) paths.insert(UnescapePath(line.substr(0, line.find(' '))));
  }
  return paths;
}

absl::StatusOr<std::vector<EtabEntry>> ParseEtab(std::string_view text) {
  std::vector<EtabEntry> entries;
  for (const absl::string_view raw :
       absl::StrSplit(absl::string_view(text.data(), text.size()), '\n', absl::SkipEmpty())) {
    const std::string_view line = Std(raw);
    const size_t tab = line.find('\t');
    const size_t open = line.find('(', tab == std::string_view::npos ? 0 : tab);
    if (!line.starts_with('/') || tab == std::string_view::npos || open == std::string_view::npos ||
        !line.ends_with(')')) {
      constexpr size_t kMaxShownBytes = 120;
      return absl::DataLossError(fmt::format("'{}' is no line of an etab", Printable(line.substr(0, kMaxShownBytes))));
    }
    EtabEntry entry;
    entry.path = UnescapePath(line.substr(0, tab));
    entry.client = std::string(line.substr(tab + 1, open - tab - 1));
    entry.options = std::string(line.substr(open + 1, line.size() - open - 2));
    // exports(5): what says neither is read-only.
    entry.mode = ModeOf(entry.options).value_or(ExportMode::kReadOnly);
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string RenderEtab(std::span<const EtabEntry> entries) {
  std::string text;
  for (const EtabEntry& entry : entries) {
    text += fmt::format("{}\t{}({})\n", EscapePath(entry.path), entry.client, entry.options);
  }
  return text;
}

FoundExport JudgeEtab(const WantedExport& wanted, std::span<const EtabEntry> etab, const EtabOptions& options) {
  std::vector<const EtabEntry*> at_path;
  std::vector<const EtabEntry*> above;
  for (const EtabEntry& entry : etab) {
    if (entry.path == wanted.path) {
      at_path.push_back(&entry);
    } else if (model::IsWithin(wanted.path, entry.path) && options.same_filesystem(wanted.path, entry.path)) {
      above.push_back(&entry);
    }
  }
  FoundExport found{.actual = ModeAt(at_path), .ours_settled = true, .problem = ""};
  if (wanted.mode == ExportMode::kNone) {
    if (!at_path.empty()) {
      found.problem = fmt::format("{} by somebody else's file or by hand: take it out there", Described(*at_path[0]));
    }
    return found;
  }
  const OurPart ours = JudgeOurPart(wanted, at_path);
  found.ours_settled = ours.missing.empty() && ours.wrong.empty();
  if (!ours.missing.empty()) {
    found.problem = fmt::format("'{}' isn't exported to {}", Printable(wanted.path), fmt::join(ours.missing, ", "));
    found.actual = at_path.empty() ? ExportMode::kNone : std::max(ModeAt(at_path), ExportMode::kReadOnly);
    return found;
  }
  for (const EtabEntry* const entry : at_path) {
    if (entry->mode == wanted.mode) continue;
    if (wanted.mode == ExportMode::kReadWrite && ours.wrong.empty()) {
      found.problem = fmt::format(
          "{} by somebody else: clients that are meant by that are refused writes. Take it out there, unless it's "
          "meant "
          "to be so",
          Described(*entry));
      return found;
    }
    found.problem = fmt::format("{}, not {}: if somebody else's file says so, take it out there", Described(*entry),
                                model::ToString(wanted.mode));
    // Some clients may less than they should.
    if (wanted.mode == ExportMode::kReadWrite) found.actual = ExportMode::kReadOnly;
    return found;
  }
  for (const EtabEntry* const entry : above) {
    if (entry->mode == wanted.mode) continue;
    if (entry->mode == ExportMode::kReadWrite) {
      found.actual = ExportMode::kReadWrite;
      found.problem = fmt::format(
          "{} by somebody else: clients that came by that way write to the volume. Take that export away, or make it "
          "ro",
          Described(*entry));
    } else {
      found.problem = fmt::format(
          "{} by somebody else: NFSv4 clients, which come by that way, are refused writes. Take that export away, or "
          "give the volume a filesystem of its own",
          Described(*entry));
    }
    return found;
  }
  return found;
}

}  // namespace understudy::exports
