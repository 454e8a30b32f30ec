// Each pair of files in golden/ is one case: NAME.in.json is the catalog's entry with the options that differ from the
// tests' own, NAME.out.json what is applied at DR, or the code of the error.
#include "control/apply/transform.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "control/apply/ownership.h"
#include "tests/support/process.h"

namespace understudy::control {
namespace {

using nlohmann::json;

std::filesystem::path GoldenFolder() {
  return tests::SourcePath("tests/unit/control/apply/golden");
}

json ReadJson(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return json::parse(text.str());
}

std::vector<std::string> CaseNames() {
  const std::string ending = ".in.json";
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(GoldenFolder())) {
    const std::string name = file.path().filename();
    if (name.ends_with(ending)) names.push_back(name.substr(0, name.size() - ending.size()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

model::CatalogEntry EntryOf(const json& input) {
  model::CatalogEntry entry;
  entry.key.kind = *model::ParseObjectKind(input.at("kind").get<std::string>());
  entry.key.namespace_name = input.value("namespace", "");
  entry.key.name = input.at("name");
  entry.uid = input.at("uid");
  entry.replica_path = input.at("replica_path");
  entry.resource = input.at("resource").dump();
  return entry;
}

TransformOptions OptionsOf(const json& input) {
  TransformOptions options;
  options.dr_server = "dr-nfs";
  options.storage_class_map = input.value("storage_class_map", options.storage_class_map);
  options.snapshot_class_map = input.value("snapshot_class_map", options.snapshot_class_map);
  options.kept_annotations = input.value("kept_annotations", options.kept_annotations);
  options.keep_claim_ref = input.value("keep_claim_ref", true);
  return options;
}

class TransformGoldenTest : public testing::TestWithParam<std::string> {};

TEST_P(TransformGoldenTest, BecomesWhatTheFileSays) {
  const json input = ReadJson(GoldenFolder() / (GetParam() + ".in.json"));
  const json expected = ReadJson(GoldenFolder() / (GetParam() + ".out.json"));
  const auto result = Transform(EntryOf(input.at("entry")), OptionsOf(input.value("options", json::object())));
  if (expected.contains("error")) {
    EXPECT_EQ(absl::StatusCodeToString(result.status().code()), expected["error"].get<std::string>())
        << result.status();
    return;
  }
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(*result, expected) << "it became\n" << result->dump(2);
}

INSTANTIATE_TEST_SUITE_P(Golden, TransformGoldenTest, testing::ValuesIn(CaseNames()),
                         [](const auto& golden) { return golden.param; });

TEST(TransformTest, APathThatKubernetesCannotNameIsRefused) {
  model::CatalogEntry entry;
  entry.key = {model::ObjectKind::kPersistentVolume, "", "pv"};
  entry.uid = "u";
  entry.resource = R"({"spec":{"nfs":{"server":"nfs1","path":"/export/x"}}})";
  entry.replica_path = "/replicas/\xff";
  EXPECT_TRUE(absl::IsFailedPrecondition(Transform(entry, {}).status()));
}

TEST(TransformTest, WhatIsMadeOfACopySaysWhatTheCopyWasMadeFrom) {
  model::CatalogEntry entry;
  entry.key = {model::ObjectKind::kPersistentVolumeClaim, "shop", "db"};
  entry.uid = "copy";
  json object = {{"metadata", {{"name", "db"}, {"uid", "copy"}}}, {"spec", {{"volumeName", "pv-db"}}}};
  entry.resource = object.dump();
  EXPECT_FALSE(IsOriginOf({{"metadata", {{"uid", "first"}}}}, *Transform(entry, {})));
  object["metadata"]["labels"][kManagedByLabel] = kManagedByValue;
  object["metadata"]["annotations"][kSourceUidAnnotation] = "first";
  entry.resource = object.dump();
  const auto manifest = Transform(entry, {});
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(SourceUidOf(*manifest), "copy");
  EXPECT_TRUE(IsOriginOf({{"metadata", {{"uid", "first"}}}}, *manifest));
  EXPECT_FALSE(IsOriginOf({{"metadata", {{"uid", "another"}}}}, *manifest));
}

TEST(TransformTest, ATextThatIsNoJsonIsRefused) {
  model::CatalogEntry entry;
  entry.key = {model::ObjectKind::kPersistentVolume, "", "pv"};
  entry.uid = "u";
  for (const char* text : {"", "{", "[]", "7", R"({"spec":[]})"}) {
    entry.resource = text;
    EXPECT_TRUE(absl::IsInvalidArgument(Transform(entry, {}).status())) << text;
  }
}

}  // namespace
}  // namespace understudy::control
