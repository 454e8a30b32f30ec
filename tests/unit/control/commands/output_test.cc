// Tables, JSON and YAML: what a program or a person reads.
#include "control/commands/output.h"

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <sstream>

namespace understudy::control {
namespace {

TEST(TableTest, ColumnsAreAligned) {
  Table table({"NAME", "LAG"});
  table.Add({"a-long-name", "0"});
  table.Add({"b", "12"});
  EXPECT_EQ(table.Text(), "NAME         LAG\na-long-name  0\nb            12\n");
  EXPECT_EQ(Table({"NAME"}).Text(), "");
}

TEST(OutputTest, YamlKeepsTypes) {
  const Document document = {{"text", "123"}, {"truth", "true"},      {"number", 1.5},  {"none", nullptr},
                             {"yes", true},   {"odd", "a: \"b\"\n#"}, {"list", {1, 2}}, {"empty", Document::array()}};
  const YAML::Node read = YAML::Load(ToYaml(document));
  EXPECT_EQ(read["text"].Tag(), "!") << "quoted, so a text";
  EXPECT_EQ(read["truth"].Tag(), "!");
  EXPECT_EQ(read["number"].Tag(), "?") << "plain, so a number";
  EXPECT_EQ(read["number"].as<double>(), 1.5);
  EXPECT_EQ(read["yes"].Tag(), "?");
  EXPECT_TRUE(read["none"].IsNull());
  EXPECT_TRUE(read["yes"].as<bool>());
  EXPECT_EQ(read["odd"].as<std::string>(), "a: \"b\"\n#");
  EXPECT_EQ(read["list"].size(), 2u);
  EXPECT_EQ(read["empty"].size(), 0u);
}

TEST(OutputTest, JsonSurvivesBytesThatAreNoText) {
  std::ostringstream out;
  std::ostringstream err;
  Print({.out = out, .err = err}, OutputFormat::kJson, {{"name", "\xff"}}, "");
  EXPECT_EQ(Document::parse(out.str()).at("name"), "\xef\xbf\xbd");
}

}  // namespace
}  // namespace understudy::control
