#include "control/oadp/archive_path.h"

#include <gtest/gtest.h>

namespace understudy::control {
namespace {

using Kind = ArchivePath::Kind;

Kind KindOf(std::string_view path) {
  const auto parsed = ParseArchivePath(path);
  EXPECT_TRUE(parsed.ok()) << path << ": " << parsed.status();
  return parsed.ok() ? parsed->kind : Kind::kOther;
}

TEST(ArchivePath, PlainPathsAreObjects) {
  const auto volume = ParseArchivePath("resources/persistentvolumes/cluster/pv-1.json");
  ASSERT_TRUE(volume.ok());
  EXPECT_EQ(volume->kind, Kind::kObject);
  EXPECT_EQ(volume->resource, "persistentvolumes");
  EXPECT_EQ(volume->namespace_name, "");
  EXPECT_EQ(volume->name, "pv-1");
  const auto machine = ParseArchivePath("resources/virtualmachines.kubevirt.io/namespaces/cluster/vm.1.json");
  ASSERT_TRUE(machine.ok());
  EXPECT_EQ(machine->kind, Kind::kObject);
  EXPECT_EQ(machine->resource, "virtualmachines.kubevirt.io");
  EXPECT_EQ(machine->namespace_name, "cluster");
  EXPECT_EQ(machine->name, "vm.1");
}

TEST(ArchivePath, CopiesBelowAVersionFolderAreLeftOut) {
  EXPECT_EQ(KindOf("resources/pods/v1-preferredversion/namespaces/shop/web.json"), Kind::kOther);
  EXPECT_EQ(KindOf("resources/persistentvolumes/v1-preferredversion/cluster/pv-1.json"), Kind::kOther);
  EXPECT_EQ(KindOf("resources/deployments.apps/v1/namespaces/shop/web.json"), Kind::kOther);
}

TEST(ArchivePath, WhatElseMayBeThereIsLeftOut) {
  EXPECT_EQ(KindOf("metadata/version"), Kind::kVersion);
  EXPECT_EQ(KindOf("metadata/more"), Kind::kOther);
  EXPECT_EQ(KindOf("resources/pods/namespaces/shop/"), Kind::kOther);
  EXPECT_EQ(KindOf("resources/pods/namespaces/shop/web.yaml"), Kind::kOther);
  EXPECT_EQ(KindOf("resources/pods/namespaces/shop/.json"), Kind::kOther);
  EXPECT_EQ(KindOf("resources/pods/namespaces/shop/deeper/web.json"), Kind::kOther);
  EXPECT_EQ(KindOf("resources"), Kind::kOther);
}

TEST(ArchivePath, WhatLeadsElsewhereIsRefused) {
  for (const std::string_view path :
       {std::string_view("/etc/passwd"), std::string_view("../x"), std::string_view("resources/../x"),
        std::string_view("resources/pods/namespaces/../web.json"), std::string_view("resources//pods"),
        std::string_view("./resources"), std::string_view(""), std::string_view("/"),
        std::string_view("resources/x/.."), std::string_view("a//"), std::string_view("a\0b", 3)}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseArchivePath(path).status())) << path;
  }
}

}  // namespace
}  // namespace understudy::control
