#include "core/config/reference.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "absl/strings/str_split.h"
#include "core/config/control_config.h"
#include "core/config/dr_config.h"
#include "core/config/primary_config.h"
#include "core/config/rules_file.h"

namespace understudy::config {
namespace {

// Writes one table row for each setting.
class RowWriter : public Visitor {
 public:
  RowWriter(std::string& out, std::string prefix) : out_(out), prefix_(std::move(prefix)) {}

  void Text(const Setting& setting, std::string& value, const TextCheck&) override {
    Row(setting, "text", Code(value));
  }
  void Path(const Setting& setting, std::filesystem::path& value) override {
    Row(setting, "path", Code(value.native()));
  }
  void Boolean(const Setting& setting, bool& value) override {
    Row(setting, "true or false", Code(value ? "true" : "false"));
  }
  void Duration(const Setting& setting, absl::Duration& value, absl::Duration least, absl::Duration most) override {
    Row(setting, fmt::format("duration, {} to {}", DurationText(least), DurationText(most)), Code(DurationText(value)));
  }
  void Size(const Setting& setting, uint64_t& value, uint64_t least, uint64_t most) override {
    Row(setting, fmt::format("size, {} to {}", SizeText(least), SizeText(most)), Code(SizeText(value)));
  }
  void Fraction(const Setting& setting, double& value, double above, double most) override {
    Row(setting, fmt::format("number above {} up to {}", above, most), Code(fmt::format("{}", value)));
  }
  void Count(const Setting& setting, uint64_t& value, uint64_t least, uint64_t most) override {
    Row(setting, fmt::format("whole number, {} to {}", least, most), Code(fmt::format("{}", value)));
  }
  void TextList(const Setting& setting, std::vector<std::string>& value, const TextCheck&) override {
    Row(setting, "list of text", value.empty() ? "" : Code(fmt::format("[{}]", fmt::join(value, ", "))));
  }
  void TextMap(const Setting& setting, std::map<std::string, std::string>&) override {
    Row(setting, "map of text to text", "");
  }

 protected:
  void VisitChoice(const Setting& setting, std::span<const std::string_view> names, size_t& index) override {
    Row(setting, fmt::format("one of `{}`", fmt::join(names, "`, `")), Code(names[index]));
  }
  void VisitSection(const Setting& setting, const DescribeFunction& describe) override {
    Row(setting, "section", "");
    RowWriter inner(out_, fmt::format("{}{}.", prefix_, setting.key));
    describe(inner);
  }
  void VisitList(const Setting& setting, const DescribeFunction& describe) override {
    Row(setting, "list of sections", "");
    RowWriter inner(out_, fmt::format("{}{}[].", prefix_, setting.key));
    describe(inner);
  }

 private:
  static std::string Code(std::string_view text) { return text.empty() ? "" : fmt::format("`{}`", text); }

  void Row(const Setting& setting, std::string_view type, std::string_view value) {
    const std::string_view given = setting.default_text.empty() ? value : setting.default_text;
    out_ += fmt::format("| `{}{}` | {} | {} | {} |\n", prefix_, setting.key, type,
                        setting.required ? "required"
                        : given.empty()  ? "none"
                                         : given,
                        setting.doc);
  }

  std::string& out_;
  const std::string prefix_;
};

template <class Config>
ReferencePage Page(std::string_view kind, std::string_view program, std::string_view config_file) {
  ReferencePage page{.file_name = fmt::format("{}.md", kind), .markdown = ""};
  page.markdown = fmt::format(
      "# {}: settings\n\n"
      "`{}` reads them from `{}`, or from the file that `--config` names. It is YAML; a key that isn't listed here is "
      "an\n"
      "error. A relative path is taken from the folder of the file.\n"
      "Durations are a number and `ms`, `s`, `m`, `h` or "
      "`d`; sizes a number and `KiB`, `MiB`, `GiB` or `TiB`.\n\n"
      "<!-- Generated from the settings' declarations (core/config); `drctl config reference --dir docs/reference` "
      "writes it. -->\n\n"
      "| key | what to write | default | what it is |\n|---|---|---|---|\n",
      program, program, config_file);
  RowWriter writer(page.markdown, "");
  Config config;
  config.Describe(writer);
  return page;
}

// Indented, as Markdown marks code.
std::string CodeBlock(std::string_view text) {
  std::string block;
  for (const absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    block += line.empty() ? "\n" : fmt::format("    {}\n", std::string_view(line.data(), line.size()));
  }
  block.pop_back();
  return block;
}

ReferencePage RulesPage() {
  ReferencePage page{.file_name = "rules.md", .markdown = ""};
  page.markdown =
      "# The rules file\n\n"
      "`rules_file` in primary.yaml names it: it says which object event leads to what. The first rule that holds "
      "counts; "
      "rules\n"
      "after it are looked at only if it says `continue: true`. An event that no rule holds for is ignored. "
      "`drctl config check\n"
      "--rules FILE` checks a file; `drctl events tail` shows which rule matched each event.\n\n"
      "`sync_...` is done on ADDED and MODIFIED, `delete_...` on DELETED; `..._volume` for PersistentVolumes and "
      "claims, "
      "`..._snapshot`\n"
      "for VolumeSnapshots and VolumeSnapshotContents. `forward` posts the event to every target of `forward`; "
      "`ignore` "
      "stands alone.\n"
      "Values of `fields` and `labels` are compared as text, so `true` and `\"true\"` are the same. What a rule keeps "
      "from being deleted\n"
      "at DR stays there after a restart, too.\n\n"
      "<!-- Generated from the settings' declarations (core/config); `drctl config reference --dir docs/reference` "
      "writes it. -->\n\n"
      "| key | what to write | default | what it is |\n|---|---|---|---|\n";
  RowWriter writer(page.markdown, "");
  DescribeRules(writer);
  page.markdown += "\n## The built-in rules\nWithout a rules file:\n\n" + CodeBlock(BuiltInRulesText());
  page.markdown += "\n## An example with every field\n\n" + CodeBlock(ExampleRulesText());
  return page;
}

}  // namespace

std::vector<ReferencePage> ReferencePages() {
  return {Page<PrimaryConfig>("primary", "understudy-primary", kPrimaryConfigFile),
          Page<DrConfig>("dr", "understudy-dr", kDrConfigFile),
          Page<ControlConfig>("control", "drctl", kControlConfigFile), RulesPage()};
}

}  // namespace understudy::config
