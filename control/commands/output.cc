#include "control/commands/output.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <istream>
#include <ostream>

namespace understudy::control {
namespace {

constexpr int kJsonIndent = 2;
constexpr size_t kColumnGap = 2;

std::string Row(const std::vector<std::string>& cells, const std::vector<size_t>& widths) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) line += fmt::format("{:<{}}", cells[i], widths[i] + kColumnGap);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

void Emit(YAML::Emitter& emitter, const Document& value) {
  if (value.is_object()) {
    emitter << (value.empty() ? YAML::Flow : YAML::Block) << YAML::BeginMap;
    for (const auto& [key, member] : value.items()) {
      emitter << YAML::Key << key << YAML::Value;
      Emit(emitter, member);
    }
    emitter << YAML::EndMap;
  } else if (value.is_array()) {
    emitter << (value.empty() ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
    for (const Document& element : value) Emit(emitter, element);
    emitter << YAML::EndSeq;
  } else if (value.is_string()) {
    // Quoted, so that no text reads as a number, a truth or nothing.
    emitter << YAML::DoubleQuoted << value.get<std::string>();
  } else if (value.is_null()) {
    emitter << YAML::Null;
  } else {
    emitter << value.dump();  // a number or a truth, which stands unquoted
  }
}

}  // namespace

void Table::Add(std::vector<std::string> row) {
  UNDERSTUDY_CHECK(row.size() == header_.size());
  rows_.push_back(std::move(row));
}

std::string Table::Text() const {
  if (rows_.empty()) return "";
  std::vector<size_t> widths(header_.size());
  for (size_t i = 0; i < header_.size(); ++i) {
    widths[i] = header_[i].size();
    for (const auto& row : rows_) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text = Row(header_, widths);
  for (const auto& row : rows_) text += Row(row, widths);
  return text;
}

std::string ToYaml(const Document& document) {
  YAML::Emitter emitter;
  Emit(emitter, document);
  return std::string(emitter.c_str()) + "\n";
}

void Print(const Console& console, OutputFormat format, const Document& document, std::string_view text) {
  switch (format) {
    case OutputFormat::kTable:
      console.out << text;
      break;
    case OutputFormat::kJson:
      console.out << document.dump(kJsonIndent, ' ', false, Document::error_handler_t::replace) << "\n";
      break;
    case OutputFormat::kYaml:
      console.out << ToYaml(document);
      break;
  }
  console.out.flush();
}

absl::Status AskForYes(const Console& console, std::string_view what) {
  console.err << what << "\n";
  if (console.in == nullptr) return absl::FailedPreconditionError("nothing was done; add --yes to do it");
  console.err << "Type yes: " << std::flush;
  std::string answer;
  std::getline(*console.in, answer);
  return answer == "yes" ? absl::OkStatus() : absl::FailedPreconditionError("nothing was done");
}

void PrintError(const Console& console, const absl::Status& status) {
  console.err << "drctl: " << MessageOf(status) << std::endl;
}

}  // namespace understudy::control
