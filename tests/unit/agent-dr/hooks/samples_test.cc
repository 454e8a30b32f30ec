// The samples do what they say, with stand-ins for the programs that would change this machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {
namespace {

using ::testing::HasSubstr;

constexpr char kInput[] =
    R"({"phase":"post-promote","run":"","volume":{"name":"web","state":"active","epoch":2,"sequence":7,"complete":true,)"
    R"("replica_path":"/srv/b/web"},"facts":{}})";

class SamplesTest : public ::testing::Test {
 protected:
  SamplesTest() {
    std::filesystem::create_directories(dir_.File("bin"));
    // Says what it was called with, and what it got.
    for (const char* const name : {"exportfs", "curl"}) {
      std::ofstream(dir_.File("bin/" + std::string(name)))
          << "#!/bin/sh\necho \"" << name << " $*\" >> " << dir_.File("calls") << "\ncat >> " << dir_.File("calls")
          << "\nexit " << (std::string(name) == "curl" ? "22" : "0") << "\n";
      EXPECT_EQ(chmod(dir_.File("bin/" + std::string(name)).c_str(), 0755), 0);
    }
    std::ofstream(dir_.File("clients")) << "10.0.0.0/24\n\nworker-1\n";
    std::ofstream(dir_.File("url")) << "http://chat.example/hook\n";
    std::ofstream(dir_.File("input")) << kInput;
  }
  ProcessResult Run(const std::string& sample, const std::string& argument) {
    const auto result =
        RunProcess({.program = "sh",
                    .arguments = {"-c", "exec \"$1\" \"$2\" < \"$3\"", "sh",
                                  SourcePath("agent-dr/hooks/samples/" + sample), argument, dir_.File("input")},
                    .environment = {{"PATH", dir_.File("bin") + ":/usr/bin:/bin"}}});
    EXPECT_TRUE(result.ok()) << result.status();
    return *result;
  }
  std::string Calls() {
    std::ifstream calls(dir_.File("calls"));
    return {std::istreambuf_iterator<char>(calls), {}};
  }
  TempDir dir_;
};

TEST_F(SamplesTest, TheLockRefusesPromotions) {
  EXPECT_EQ(Run("pre-promote/10-lock.sh", dir_.File("lock")).exit_code, 0);
  std::ofstream(dir_.File("lock")) << "";
  const ProcessResult locked = Run("pre-promote/10-lock.sh", dir_.File("lock"));
  EXPECT_EQ(locked.exit_code, 1);
  EXPECT_THAT(locked.out, HasSubstr("locked"));
}

TEST_F(SamplesTest, TheExportIsSwitchedForEachClient) {
  const ProcessResult promoted = Run("post-promote/20-exportfs.sh", dir_.File("clients"));
  EXPECT_EQ(promoted.exit_code, 0) << promoted.err;
  EXPECT_THAT(Calls(), HasSubstr("exportfs -i -o rw,sync,no_subtree_check,no_root_squash 10.0.0.0/24:/srv/b/web\n"));
  EXPECT_THAT(Calls(), HasSubstr("worker-1:/srv/b/web\n"));
  const ProcessResult demoted = Run("pre-demote/20-exportfs.sh", dir_.File("clients"));
  EXPECT_EQ(demoted.exit_code, 0) << demoted.err;
  EXPECT_THAT(Calls(), HasSubstr("exportfs -u 10.0.0.0/24:/srv/b/web\n"));
  EXPECT_NE(Run("post-promote/20-exportfs.sh", dir_.File("nothing")).exit_code, 0);
}

TEST_F(SamplesTest, TheNotificationNamesTheVolume) {
  const ProcessResult notified = Run("post-promote/90-notify.optional.sh", dir_.File("url"));
  EXPECT_EQ(notified.exit_code, 22) << "as curl's";
  EXPECT_THAT(Calls(), HasSubstr("http://chat.example/hook"));
  EXPECT_THAT(Calls(), HasSubstr(R"json({"text":"volume web is active at DR (epoch 2)"})json"));
}

}  // namespace
}  // namespace understudy::tests
