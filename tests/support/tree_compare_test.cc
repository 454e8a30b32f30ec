#include "tests/support/tree_compare.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "tests/support/temp_dir.h"

namespace understudy::tests {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Spoil {
  const char* what;
  std::function<void(const std::string&)> change;  // gets the root of the right tree
};

class TreeCompareTest : public ::testing::TestWithParam<Spoil> {
 protected:
  void SetUp() override {
    const std::string left = dir_.File("left");
    std::filesystem::create_directories(left + "/folder");
    std::ofstream(left + "/folder/file") << "content";
    std::ofstream(left + "/empty").close();
    std::filesystem::create_symlink("target", left + "/link");
    std::filesystem::create_hard_link(left + "/folder/file", left + "/name");
    ASSERT_EQ(mkfifo((left + "/fifo").c_str(), 0600), 0);
    ASSERT_EQ(std::system(("cp -a '" + left + "' '" + dir_.File("right") + "'").c_str()), 0);
  }
  TempDir dir_;
};

TEST_P(TreeCompareTest, SeesTheDifference) {
  EXPECT_THAT(CompareTrees(dir_.File("left"), dir_.File("right")).value(), IsEmpty());
  GetParam().change(dir_.File("right"));
  EXPECT_THAT(CompareTrees(dir_.File("left"), dir_.File("right")).value(),
              ::testing::Contains(HasSubstr(GetParam().what)));
}

void KeepTimes(const std::string& path, const std::function<void()>& change) {
  struct stat before {};
  ASSERT_EQ(lstat(path.c_str(), &before), 0);
  change();
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Differences, TreeCompareTest,
    ::testing::Values(
        Spoil{"content differs at byte 3",
              [](const std::string& root) {
                KeepTimes(root + "/folder/file", [&] { std::ofstream(root + "/folder/file") << "conTent"; });
              }},
        Spoil{"size 7 and 3",
              [](const std::string& root) { ASSERT_EQ(truncate((root + "/folder/file").c_str(), 3), 0); }},
        Spoil{"'name': a name of 'folder/file' on the left, a file of its own on the right",
              [](const std::string& root) {
                ASSERT_EQ(std::system(("cd '" + root + "' && cp -p name n && mv n name").c_str()), 0);
              }},
        Spoil{"only on the left", [](const std::string& root) { unlink((root + "/empty").c_str()); }},
        Spoil{"only on the right", [](const std::string& root) { std::ofstream(root + "/folder/more"); }},
        Spoil{"another kind",
              [](const std::string& root) {
                unlink((root + "/fifo").c_str());
                std::ofstream(root + "/fifo");
              }},
        Spoil{"target",
              [](const std::string& root) {
                unlink((root + "/link").c_str());
                std::filesystem::create_symlink("elsewhere", root + "/link");
              }},
        Spoil{"mode 644 and 640", [](const std::string& root) { chmod((root + "/empty").c_str(), 0640); }},
        Spoil{"mtime",
              [](const std::string& root) {
                const timespec times[2] = {{0, UTIME_OMIT}, {1'700'000'000, 1}};
                utimensat(AT_FDCWD, (root + "/folder").c_str(), times, 0);
              }},
        Spoil{"other xattrs",
              [](const std::string& root) { setxattr((root + "/empty").c_str(), "user.x", "1", 1, 0); }}));

}  // namespace
}  // namespace understudy::tests
