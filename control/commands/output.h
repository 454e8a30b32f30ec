// output.h: what a command prints: one document, as a table for people, or as JSON or YAML for programs.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

// Where a command writes: data to `out`, messages to `err`.
struct Console {
  std::ostream& out;
  std::ostream& err;
  bool err_is_terminal = false;  // progress is shown
  std::istream* in = nullptr;    // a terminal at which to ask; nullptr: nobody can be asked
};

enum class OutputFormat { kTable, kJson, kYaml };

using Document = nlohmann::ordered_json;

// Columns as wide as their widest cell, two spaces between; rows have as many cells as the header. Empty without rows.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void Add(std::vector<std::string> row);
  [[nodiscard]] std::string Text() const;

 private:
  const std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// Prints `document` as JSON or YAML, or `text` where a table is asked for.
void Print(const Console& console, OutputFormat format, const Document& document, std::string_view text);

// One line on `err`: "drctl: <message>".
void PrintError(const Console& console, const absl::Status& status);

// Says `what` would be done, and asks for a yes. FAILED_PRECONDITION: the answer was another one, or nobody could be
// asked
// (--yes would have done it).
[[nodiscard]] absl::Status AskForYes(const Console& console, std::string_view what);

[[nodiscard]] std::string ToYaml(const Document& document);

}  // namespace understudy::control
