#include "core/config/yaml_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "core/base/log.h"

namespace understudy::config {
namespace {

constexpr size_t kMaxShownValueBytes = 80;

std::string Shown(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  if (!node.IsDefined() || node.IsNull()) return "nothing";
  return fmt::format("'{}'", Printable(std::string_view(node.Scalar()).substr(0, kMaxShownValueBytes)));
}

// State of one pass over one file: the first error, and the line of every key for errors that are found later.
struct Pass {
  std::string file;
  std::filesystem::path folder;
  std::map<std::string, int> lines;  // by full key
  absl::Status status;

  void Fail(const std::string& key, int line, std::string_view what) {
    if (!status.ok()) return;
    status = absl::InvalidArgumentError(key.empty() ? fmt::format("{}:{}: {}", file, line, what)
                                                    : fmt::format("{}:{}: {}: {}", file, line, key, what));
  }
  // The line of `key`, or of the nearest thing around it that the file has.
  int LineOf(std::string key) const {
    while (!key.empty()) {
      if (const auto it = lines.find(key); it != lines.end()) return it->second;
      const size_t cut = key.find_last_of(".[");
      key.resize(cut == std::string::npos ? 0 : cut);
    }
    return 1;
  }
};

// Visits the settings of one map of the file.
class MapReader : public Visitor {
 public:
  MapReader(Pass& pass, const YAML::Node& map, std::string prefix, int line)
      : pass_(pass), prefix_(std::move(prefix)), line_(line) {
    for (const auto& entry : map) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : Shown(entry.first);
      const int key_line = entry.first.Mark().line + 1;
      if (!nodes_.emplace(key, Entry{entry.second, key_line}).second) {
        pass_.Fail(FullKey(key), key_line, "stands twice; keep one");
      }
      pass_.lines[FullKey(key)] = key_line;
    }
  }

  void Text(const Setting& setting, std::string& value, const TextCheck& check) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    if (!entry->node.IsScalar()) return Fail(setting, *entry, fmt::format("{}: write text", Shown(entry->node)));
    value = entry->node.Scalar();
    CheckText(FullKey(setting.key), entry->line, value, check);
  }

  void Path(const Setting& setting, std::filesystem::path& value) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    if (!entry->node.IsScalar() || entry->node.Scalar().empty()) {
      return Fail(setting, *entry, fmt::format("{}: write a path", Shown(entry->node)));
    }
    value = (pass_.folder / entry->node.Scalar()).lexically_normal();
    if (!value.has_filename()) value = value.parent_path();
  }

  void Boolean(const Setting& setting, bool& value) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    if (!YAML::convert<bool>::decode(entry->node, value)) {
      Fail(setting, *entry, fmt::format("{}: write true or false", Shown(entry->node)));
    }
  }

  void Duration(const Setting& setting, absl::Duration& value, absl::Duration least, absl::Duration most) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    const auto parsed =
        entry->node.IsScalar() ? ParseDuration(entry->node.Scalar()) : absl::InvalidArgumentError("not a duration");
    if (!parsed.ok()) {
      return Fail(setting, *entry,
                  fmt::format("{}: write a duration such as {}", Shown(entry->node), DurationText(value)));
    }
    if (*parsed < least || *parsed > most) {
      return Fail(setting, *entry,
                  fmt::format("{}: write a duration from {} to {}", Shown(entry->node), DurationText(least),
                              DurationText(most)));
    }
    value = *parsed;
  }

  void Size(const Setting& setting, uint64_t& value, uint64_t least, uint64_t most) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    const auto parsed =
        entry->node.IsScalar() ? ParseSize(entry->node.Scalar()) : absl::InvalidArgumentError("not a size");
    if (!parsed.ok()) {
      return Fail(setting, *entry, fmt::format("{}: write a size such as {}", Shown(entry->node), SizeText(value)));
    }
    if (*parsed < least || *parsed > most) {
      return Fail(setting, *entry,
                  fmt::format("{}: write a size from {} to {}", Shown(entry->node), SizeText(least), SizeText(most)));
    }
    value = *parsed;
  }

  void Fraction(const Setting& setting, double& value, double above, double most) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    double number = 0;
    // Compared so that what is no number at all fits neither.
    if (!YAML::convert<double>::decode(entry->node, number) || !(number > above && number <= most)) {
      return Fail(setting, *entry,
                  fmt::format("{}: write a number above {} and up to {}", Shown(entry->node), above, most));
    }
    value = number;
  }

  void Count(const Setting& setting, uint64_t& value, uint64_t least, uint64_t most) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    int64_t number = 0;
    const bool whole = YAML::convert<int64_t>::decode(entry->node, number) && number >= 0;
    if (!whole || static_cast<uint64_t>(number) < least || static_cast<uint64_t>(number) > most) {
      return Fail(setting, *entry,
                  fmt::format("{}: write a whole number from {} to {}", Shown(entry->node), least, most));
    }
    value = static_cast<uint64_t>(number);
  }

  void TextList(const Setting& setting, std::vector<std::string>& value, const TextCheck& check) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    if (!entry->node.IsSequence()) {
      return Fail(setting, *entry, fmt::format("{}: write a list, as in [one, two]", Shown(entry->node)));
    }
    value.clear();
    for (const auto& element : entry->node) {
      const std::string key = fmt::format("{}[{}]", FullKey(setting.key), value.size());
      const int line = element.Mark().line + 1;
      if (!element.IsScalar()) return pass_.Fail(key, line, fmt::format("{}: write text", Shown(element)));
      value.push_back(element.Scalar());
      CheckText(key, line, value.back(), check);
    }
  }

  void TextMap(const Setting& setting, std::map<std::string, std::string>& value) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    if (!entry->node.IsMap()) {
      return Fail(setting, *entry, fmt::format("{}: write a map, as in {{from: to}}", Shown(entry->node)));
    }
    value.clear();
    for (const auto& pair : entry->node) {
      const int line = pair.first.Mark().line + 1;
      if (!pair.first.IsScalar() || !pair.second.IsScalar()) {
        return pass_.Fail(FullKey(setting.key), line, "write text: text in each line of the map");
      }
      if (!value.emplace(pair.first.Scalar(), pair.second.Scalar()).second) {
        return pass_.Fail(FullKey(setting.key), line, fmt::format("{} stands twice; keep one", Shown(pair.first)));
      }
    }
  }

  // To be called when all settings have been visited: what is left over is unknown. It comes before what is missing,
  // since a misspelt key is both.
  void Finish() {
    for (const auto& [key, entry] : nodes_) {
      if (known_.contains(key)) continue;
      pass_.Fail(FullKey(Printable(key)), entry.line,
                 fmt::format("there is no such setting; known here: {}", fmt::join(known_, ", ")));
    }
    if (!missing_) return;
    pass_.Fail(FullKey(missing_->key), missing_->line,
               fmt::format("is missing: write {}: {}", missing_->key, missing_->doc));
  }

 protected:
  void VisitChoice(const Setting& setting, std::span<const std::string_view> names, size_t& index) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    for (size_t i = 0; i < names.size(); ++i) {
      if (entry->node.IsScalar() && entry->node.Scalar() == names[i]) {
        index = i;
        return;
      }
    }
    Fail(setting, *entry, fmt::format("{}: write one of {}", Shown(entry->node), fmt::join(names, ", ")));
  }

  void VisitSection(const Setting& setting, const DescribeFunction& describe) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    ReadMap(entry->node, FullKey(setting.key), entry->line, describe);
  }

  void VisitList(const Setting& setting, const DescribeFunction& describe) override {
    const Entry* entry = Find(setting);
    if (entry == nullptr) return;
    if (!entry->node.IsSequence()) return Fail(setting, *entry, fmt::format("{}: write a list", Shown(entry->node)));
    if (setting.required && entry->node.size() == 0) return Fail(setting, *entry, "an empty list: write at least one");
    for (size_t i = 0; i < entry->node.size(); ++i) {
      const YAML::Node element = entry->node[i];
      ReadMap(element, fmt::format("{}[{}]", FullKey(setting.key), i), element.Mark().line + 1, describe);
    }
  }

 private:
  struct Entry {
    YAML::Node node;
    int line;
  };
  struct Missing {
    std::string key;
    std::string doc;
    int line;
  };

  std::string FullKey(std::string_view key) const {
    return prefix_.empty() ? std::string(key) : fmt::format("{}.{}", prefix_, key);
  }

  // The setting's entry; nullptr when the file leaves it out, and after the first error.
  const Entry* Find(const Setting& setting) {
    known_.emplace(setting.key);
    if (!pass_.status.ok()) return nullptr;
    const auto it = nodes_.find(std::string(setting.key));
    if (it != nodes_.end() && !it->second.node.IsNull()) return &it->second;
    if (setting.required) {
      const int line = it == nodes_.end() ? line_ : it->second.line;
      if (!missing_) missing_ = Missing{std::string(setting.key), std::string(setting.doc), line};
    }
    return nullptr;
  }

  void Fail(const Setting& setting, const Entry& entry, std::string_view what) {
    pass_.Fail(FullKey(setting.key), entry.line, what);
  }

  void CheckText(const std::string& key, int line, const std::string& value, const TextCheck& check) {
    if (!check) return;
    if (const absl::Status status = check(value); !status.ok()) pass_.Fail(key, line, MessageOf(status));
  }

  void ReadMap(const YAML::Node& node, std::string key, int line, const DescribeFunction& describe) {
    pass_.lines[key] = line;
    if (!node.IsMap()) return pass_.Fail(key, line, fmt::format("{}: write a map of settings", Shown(node)));
    MapReader inner(pass_, node, std::move(key), line);
    describe(inner);
    inner.Finish();
  }

  Pass& pass_;
  const std::string prefix_;
  const int line_;  // of the map itself
  std::map<std::string, Entry> nodes_;
  std::set<std::string, std::less<>> known_;
  std::optional<Missing> missing_;  // the first required setting that the file leaves out
};

absl::StatusOr<std::string> ReadText(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return ErrnoStatus(errno, fmt::format("can't read configuration file {}", file));
  std::string text(kMaxConfigBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad() || std::filesystem::is_directory(file)) {
    return absl::InvalidArgumentError(fmt::format("can't read configuration file {}: is it a folder?", file));
  }
  text.resize(static_cast<size_t>(stream.gcount()));
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        fmt::format("{}: larger than {} bytes: is it the right file?", file, kMaxConfigBytes));
  }
  return text;
}

}  // namespace

absl::Status ReadYamlFile(const std::string& file, const std::function<void(Visitor&)>& describe,
                          const std::function<std::optional<Problem>()>& find_problem) {
  ASSIGN_OR_RETURN(const std::string text, ReadText(file));
  return ReadYamlText(text, file, describe, find_problem);
}

absl::Status ReadYamlText(const std::string& text, const std::string& name,
                          const std::function<void(Visitor&)>& describe,
                          const std::function<std::optional<Problem>()>& find_problem) {
  const std::string& file = name;
  Pass pass;
  pass.file = file;
  try {
    pass.folder = std::filesystem::absolute(file).parent_path();
    // All of them, so that what follows a first document is looked at, too.
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() > 1) {
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: a second YAML document: keep one", file, documents[1].Mark().line + 1));
    }
    const YAML::Node root = documents.empty() ? YAML::Node(YAML::NodeType::Map) : documents[0];
    if (root.IsDefined() && !root.IsNull() && !root.IsMap()) {
      return absl::InvalidArgumentError(fmt::format("{}:1: write a map of settings (key: value)", file));
    }
    MapReader reader(pass, root.IsMap() ? root : YAML::Node(YAML::NodeType::Map), "", 1);
    describe(reader);
    reader.Finish();
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        fmt::format("{}:{}: not well-formed YAML: {}", file, error.mark.line + 1, error.msg));
  } catch (const std::filesystem::filesystem_error& error) {
    return ErrnoStatus(error.code().value(), fmt::format("can't read configuration file {}", file));
  }
  if (!pass.status.ok()) return pass.status;
  if (const std::optional<Problem> problem = find_problem()) {
    pass.Fail(problem->key, pass.LineOf(problem->key), problem->message);
  }
  return pass.status;
}

}  // namespace understudy::config
