// visitor.h: how a settings struct declares each of its settings, once.
//
// A settings struct has a `void Describe(Visitor& v)` that names every setting with its key, its one line of
// documentation and its check; the member's value before is its default. What reads YAML (core/config/yaml_reader.h)
// and what writes the reference page (core/config/reference.h) are visitors, so a setting can't be read and
// undocumented, or the other way round. Not thread-safe; a visitor lives for one pass.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::config {

struct Setting {
  std::string_view key;
  std::string_view doc;             // one line, for people
  bool required = false;            // the file must give it
  std::string_view default_text{};  // for the reference page, where the member's value doesn't say it
};

// OK, or what is wrong with a value and what to write instead (the code is of no account).
using TextCheck = std::function<absl::Status(const std::string&)>;

// What to specialise for an enum that is a setting: its names in the file, in the order of its values from 0.
template <class Enum>
struct ChoiceNames;

class Visitor {
 public:
  virtual ~Visitor() = default;

  virtual void Text(const Setting& setting, std::string& value, const TextCheck& check = nullptr) = 0;
  // A path on this host; one that is relative in the file is taken relative to the file's folder.
  virtual void Path(const Setting& setting, std::filesystem::path& value) = 0;
  virtual void Boolean(const Setting& setting, bool& value) = 0;
  // "50ms", "5s", "1h": at least `least` and at most `most`.
  virtual void Duration(const Setting& setting, absl::Duration& value, absl::Duration least, absl::Duration most) = 0;
  // "512MiB", "64GiB": bytes, at least `least` and at most `most`.
  virtual void Size(const Setting& setting, uint64_t& value, uint64_t least, uint64_t most) = 0;
  // Above `above` and at most `most`.
  virtual void Fraction(const Setting& setting, double& value, double above, double most) = 0;
  // A whole number of at least `least` and at most `most`.
  virtual void Count(const Setting& setting, uint64_t& value, uint64_t least, uint64_t most) = 0;
  virtual void TextList(const Setting& setting, std::vector<std::string>& value, const TextCheck& check = nullptr) = 0;
  virtual void TextMap(const Setting& setting, std::map<std::string, std::string>& value) = 0;

  template <class Enum>
  void Choice(const Setting& setting, Enum& value) {
    size_t index = static_cast<size_t>(value);
    VisitChoice(setting, ChoiceNames<Enum>::kNames, index);
    value = static_cast<Enum>(index);
  }
  template <class Struct>
  void Section(const Setting& setting, Struct& value) {
    VisitSection(setting, [&](Visitor& inner) { value.Describe(inner); });
  }
  // Stays empty when the file has no such section.
  template <class Struct>
  void Section(const Setting& setting, std::optional<Struct>& value) {
    VisitSection(setting, [&](Visitor& inner) { value.emplace().Describe(inner); });
  }
  template <class Struct>
  void List(const Setting& setting, std::vector<Struct>& value) {
    VisitList(setting, [&](Visitor& inner) { value.emplace_back().Describe(inner); });
  }

 protected:
  using DescribeFunction = std::function<void(Visitor&)>;
  virtual void VisitChoice(const Setting& setting, std::span<const std::string_view> names, size_t& index) = 0;
  virtual void VisitSection(const Setting& setting, const DescribeFunction& describe) = 0;
  // `describe` describes one more element.
  virtual void VisitList(const Setting& setting, const DescribeFunction& describe) = 0;
};

// What is wrong with a configuration as a whole: the setting's full key ("volumes[1].path"), and what to write.
struct Problem {
  std::string key;
  std::string message;
};

// "100ms", "5s", "1h", "0s": a number and one of ms, s, m, h, d, as durations stand in the file.
[[nodiscard]] absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);
[[nodiscard]] std::string DurationText(absl::Duration duration);

// "512MiB", "64GiB", "0KiB": a number and one of KiB, MiB, GiB, TiB, as sizes stand in the file; in bytes.
[[nodiscard]] absl::StatusOr<uint64_t> ParseSize(std::string_view text);
[[nodiscard]] std::string SizeText(uint64_t bytes);

// "host:port": a name or an address (IPv6 in brackets) and a port from 0 to 65535; 0 lets the system choose when
// listening.
[[nodiscard]] absl::Status CheckAddress(const std::string& text);
// An absolute path of another host: begins with a slash, holds no empty, "." or ".." name, doesn't end with a slash.
[[nodiscard]] absl::Status CheckAbsolutePath(const std::string& text);
[[nodiscard]] absl::Status CheckNotEmpty(const std::string& text);

}  // namespace understudy::config
