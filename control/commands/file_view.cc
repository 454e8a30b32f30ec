#include "control/commands/file_view.h"

#include <fmt/format.h>

#include <utility>

#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

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
