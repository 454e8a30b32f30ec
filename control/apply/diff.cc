#include "control/apply/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "control/apply/ownership.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::FieldAt;
using nlohmann::json;

constexpr size_t kContextLines = 3;
constexpr size_t kMaxTableCells = 4'000'000;

// One line of the merged texts: ' ' in both, '-' only before, '+' only after.
struct Line {
  char mark;
  std::string_view text;
};

std::vector<std::string_view> LinesOf(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

// By a longest common subsequence.
std::vector<Line> Merge(const std::vector<std::string_view>& before, const std::vector<std::string_view>& after) {
  std::vector<Line> merged;
  const size_t rows = before.size();
  const size_t columns = after.size();
  if (rows * columns > kMaxTableCells) {
    for (const std::string_view line : before) merged.push_back({'-', line});
    for (const std::string_view line : after) merged.push_back({'+', line});
    return merged;
  }
  // length[i][j]: of the longest common part of before[i..] and after[j..].
  std::vector<std::vector<uint32_t>> length(rows + 1, std::vector<uint32_t>(columns + 1, 0));
  for (size_t i = rows; i-- > 0;) {
    for (size_t j = columns; j-- > 0;) {
      length[i][j] = before[i] == after[j] ? length[i + 1][j + 1] + 1 : std::max(length[i + 1][j], length[i][j + 1]);
    }
  }
  size_t i = 0;
  size_t j = 0;
  while (i < rows || j < columns) {
    if (i < rows && j < columns && before[i] == after[j]) {
      merged.push_back({' ', before[i]});
      ++i, ++j;
    } else if (j == columns || (i < rows && length[i + 1][j] >= length[i][j + 1])) {
      merged.push_back({'-', before[i++]});
    } else {
      merged.push_back({'+', after[j++]});
    }
  }
  return merged;
}

// "12,7", or "12" for a single line; an empty range names the line before it.
std::string Range(size_t first, size_t count) {
  if (count == 1) return fmt::format("{}", first);
  return fmt::format("{},{}", count == 0 ? first - 1 : first, count);
}

}  // namespace

bool Holds(const json& present, const json& wanted) {
  if (!wanted.is_object()) return present == wanted;
  for (const auto& [name, value] : wanted.items()) {
    if (!Holds(FieldAt(present, {name}), value)) return false;
  }
  return true;
}

json WithoutServerFields(json object) {
  if (!object.is_object()) return object;
  object.erase("status");
  if (const auto metadata = object.find("metadata"); metadata != object.end() && metadata->is_object()) {
    for (const char* const field : {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
                                    "deletionGracePeriodSeconds", "selfLink", "managedFields", "finalizers"}) {
      metadata->erase(field);
    }
    if (const auto annotations = metadata->find("annotations");
        annotations != metadata->end() && annotations->is_object()) {
      for (const char* const name : {"pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"}) {
        annotations->erase(name);
      }
      if (annotations->empty()) metadata->erase("annotations");
    }
  }
  if (const auto spec = object.find("spec"); spec != object.end() && spec->is_object()) {
    for (const char* const reference : {"claimRef", "volumeSnapshotRef"}) {
      const auto found = spec->find(reference);
      if (found == spec->end() || !found->is_object()) continue;
      for (const char* const field : {"uid", "resourceVersion", "apiVersion", "kind"}) found->erase(field);
    }
  }
  return object;
}

std::string UnifiedDiff(std::string_view before, std::string_view after, std::string_view before_name,
                        std::string_view after_name) {
  const std::vector<std::string_view> old_lines = LinesOf(before);
  const std::vector<std::string_view> new_lines = LinesOf(after);
  if (old_lines == new_lines) return "";
  const std::vector<Line> merged = Merge(old_lines, new_lines);
  std::string diff = fmt::format("--- {}\n+++ {}\n", before_name, after_name);
  size_t old_line = 1;
  size_t new_line = 1;
  size_t at = 0;
  while (at < merged.size()) {
    // The next change, and the end of the hunk: no further change within twice the context.
    size_t first = at;
    while (first < merged.size() && merged[first].mark == ' ') ++first;
    if (first == merged.size()) break;
    size_t last = first;
    for (size_t i = first; i < merged.size() && i <= last + 2 * kContextLines; ++i) {
      if (merged[i].mark != ' ') last = i;
    }
    const size_t begin = std::max(at, first < kContextLines ? 0 : first - kContextLines);
    const size_t end = std::min(merged.size(), last + 1 + kContextLines);
    old_line += begin - at;
    new_line += begin - at;
    const auto count = [&](char other) {
      return static_cast<size_t>(std::count_if(merged.begin() + static_cast<ptrdiff_t>(begin),
                                               merged.begin() + static_cast<ptrdiff_t>(end),
                                               [other](const Line& line) { return line.mark != other; }));
    };
    const size_t old_count = count('+');
    const size_t new_count = count('-');
    diff += fmt::format("@@ -{} +{} @@\n", Range(old_line, old_count), Range(new_line, new_count));
    for (size_t i = begin; i < end; ++i) diff += fmt::format("{}{}\n", merged[i].mark, merged[i].text);
    old_line += old_count;
    new_line += new_count;
    at = end;
  }
  return diff;
}

}  // namespace understudy::control
