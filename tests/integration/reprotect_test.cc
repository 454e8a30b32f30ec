// Four real agents on two hosts, and drctl: after a failover the old primary's host becomes the replica's, and after a
// failback it is the other way round again. Only differences travel, nothing that was written is lost, nobody writes
// both ways, and every step may be cut by kill -9 and made twice.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>

#include "control/commands/reprotect_client.h"
#include "nlohmann/json.hpp"
#include "tests/support/process.h"
#include "tests/support/tree_compare.h"
#include "tests/support/two_hosts.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kImageBytes = size_t{64} << 20;
constexpr size_t kBlockBytes = 4096;
constexpr uint64_t kFewBytes = kImageBytes / 32;

void Write(const std::string& path, const std::string& content) {
  std::ofstream(path) << content;
}

void WriteImage(const std::string& path) {
  std::mt19937_64 random(1);
  std::string bytes(kImageBytes, '\0');
  for (size_t i = 0; i < bytes.size(); i += 8) {
    const uint64_t word = random();
    std::copy_n(reinterpret_cast<const char*>(&word), 8, bytes.begin() + static_cast<ptrdiff_t>(i));
  }
  std::ofstream(path, std::ios::binary) << bytes;
}

// As a virtual machine does, in place.
void ChangeBlocks(const std::string& path, std::initializer_list<size_t> blocks, char with) {
  std::fstream image(path, std::ios::binary | std::ios::in | std::ios::out);
  for (const size_t block : blocks) {
    image.seekp(static_cast<std::streamoff>(block * kBlockBytes));
    image << std::string(kBlockBytes, with);
  }
}

class ReprotectTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& name : TwoHosts::Names()) hosts_.Start(name);
    WriteImage(hosts_.A("image"));
    for (int i = 0; i < 20; ++i) Write(hosts_.A(fmt::format("{}", i)), fmt::format("{}", i));
    Write(hosts_.A("page"), "first");
    Sync();
  }
  void TearDown() override {
    if (HasFailure()) std::cerr << hosts_.Logs();
  }
  void Sync() {
    const absl::Status synced = WaitForOk("volume 'web' to be in sync", absl::Seconds(120), [&] {
      const ProcessResult result = hosts_.Drctl({"volumes", "sync", "web", "--published"});
      return result.exit_code == 0 ? absl::OkStatus() : absl::UnavailableError(result.err);
    });
    ASSERT_TRUE(synced.ok()) << synced;
  }
  void ExpectEqual(const std::string& left, const std::string& right) {
    const auto differences = CompareTrees(left, right);
    ASSERT_TRUE(differences.ok()) << differences.status();
    EXPECT_THAT(*differences, IsEmpty()) << left << " and " << right;
  }
  // A volume as an agent pair says, by a configuration file.
  nlohmann::json Volume(const std::string& pair = "control.yaml") {
    const ProcessResult result = hosts_.Drctl({"status", "-o", "json"}, pair);
    const nlohmann::json status = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    return status.is_object() && !status.at("volumes").empty() ? status.at("volumes").at(0) : nlohmann::json::object();
  }
  void WaitForState(const std::string& state, const std::string& pair = "control.yaml") {
    const absl::Status reached = WaitFor("the volume to be " + state, absl::Seconds(90),
                                         [&] { return Volume(pair).value("state", "") == state; });
    ASSERT_TRUE(reached.ok()) << reached << Volume(pair);
  }
  std::string Copy(const std::string& folder, const std::string& name) {
    const std::string copy = hosts_.File(name);
    const auto copied = RunProcess({.program = "cp", .arguments = {"-a", folder, copy}});
    EXPECT_TRUE(copied.ok() && copied->exit_code == 0) << copied.status();
    return copy;
  }
  // The point with that label is what `expected` holds.
  void ExpectPoint(const std::string& label, const std::string& expected, const std::string& tree) {
    const ProcessResult made = hosts_.Drctl({"points", "materialise", "web", label, "--path", tree});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    ExpectEqual(expected, tree);
  }
  // The primary agent dies; what is written after that at `old_live` never gets across; the replica is promoted, and
  // the dead agent finds that out when it comes back.
  void FailOver(const std::string& dying_primary, const std::function<void()>& write_late,
                const std::function<void()>& write_live) {
    hosts_.Kill(dying_primary);
    write_late();
    const ProcessResult promoted = hosts_.Drctl({"volumes", "promote", "web", "--yes"});
    ASSERT_EQ(promoted.exit_code, 0) << promoted.err;
    write_live();
    hosts_.Start(dying_primary);
  }
  void FailOverToB() {
    FailOver(
        "primary-a",
        [&] {
          ChangeBlocks(hosts_.A("image"), {10, 9000}, 'a');
          Write(hosts_.A("page"), "late at A");
          Write(hosts_.A("only-a"), "a");
          fs::remove(hosts_.A("3"));
        },
        [&] {
          ChangeBlocks(hosts_.B("image"), {11, 4000, 16000}, 'b');
          Write(hosts_.B("page"), "live at B");
          Write(hosts_.B("only-b"), "b");
        });
    WaitForState("promoted");
  }

  TwoHosts hosts_;
};

TEST_F(ReprotectTest, TheOldPrimaryBecomesTheReplicaOfOnlyWhatDiffersAndNothingIsLost) {
  FailOverToB();
  const std::string a_before = Copy(hosts_.A(), "a-before");
  const ProcessResult unasked = hosts_.Drctl({"volumes", "reprotect", "web"});
  EXPECT_EQ(unasked.exit_code, 5) << unasked.err;
  EXPECT_THAT(unasked.err, HasSubstr("before-reprotect-2"));
  EXPECT_EQ(Volume().at("direction"), "none");

  const nlohmann::json turned = hosts_.Json({"volumes", "reprotect", "web", "--yes"});
  EXPECT_EQ(turned.at("direction"), "to-primary");
  EXPECT_LT(turned.at("content_bytes_sent").get<uint64_t>(), kFewBytes);
  ExpectEqual(hosts_.B(), hosts_.A());
  ExpectPoint("before-reprotect-2", a_before, hosts_.File("a/point"));

  // Replication goes on, the other way; the same command again changes nothing.
  ChangeBlocks(hosts_.B("image"), {77}, 'c');
  Write(hosts_.B("more"), "more");
  ASSERT_EQ(hosts_.Drctl({"volumes", "reprotect", "web", "--yes"}).exit_code, 0);
  Sync();
  ExpectEqual(hosts_.B(), hosts_.A());
  EXPECT_EQ(Volume().at("direction"), "to-primary");
  EXPECT_EQ(Volume().at("replica").at("state"), "standby");
  EXPECT_LT(Volume().at("content_bytes_sent").get<uint64_t>(), kFewBytes);
  const ProcessResult demote = hosts_.Drctl({"volumes", "demote", "web", "--yes"}, "forward.yaml");
  EXPECT_EQ(demote.exit_code, 5) << demote.err;
}

TEST_F(ReprotectTest, TheOldPrimaryStaysGivenUpAndIsRefusedEvenWhenItForgot) {
  FailOverToB();
  ASSERT_EQ(hosts_.Drctl({"volumes", "reprotect", "web", "--yes"}).exit_code, 0);
  hosts_.KillAndStart("primary-a");
  WaitForState("handed-over", "forward.yaml");
  EXPECT_EQ(hosts_.Drctl({"volumes", "sync", "web"}, "forward.yaml").exit_code, 5);
  EXPECT_THAT(hosts_.Drctl({"status"}, "forward.yaml").out, HasSubstr("was handed over to DR at epoch 2"));

  // One whose state was lost begins to replicate what its configuration lists: DR refuses it.
  hosts_.Kill("primary-a");
  fs::remove_all(hosts_.File("state-primary-a"));
  hosts_.Start("primary-a");
  WaitForState("promoted", "forward.yaml");
  EXPECT_EQ(hosts_.Drctl({"volumes", "sync", "web"}, "forward.yaml").exit_code, 5);
  Write(hosts_.B("after"), "after");
  Sync();
  ExpectEqual(hosts_.B(), hosts_.A());
  ASSERT_EQ(hosts_.Drctl({"volumes", "reprotect", "web", "--yes"}).exit_code, 0);
  WaitForState("handed-over", "forward.yaml");
}

TEST_F(ReprotectTest, AFailbackIsTheSameTheOtherWayThroughKillsAfterEveryStep) {
  FailOverToB();
  ASSERT_EQ(hosts_.Drctl({"volumes", "reprotect", "web", "--yes"}).exit_code, 0);
  std::string b_before;
  FailOver(
      "primary-b",
      [&] {
        ChangeBlocks(hosts_.B("image"), {5, 12000}, 'x');
        Write(hosts_.B("only-b-late"), "b");
        b_before = Copy(hosts_.B(), "b-before");
      },
      [&] {
        ChangeBlocks(hosts_.A("image"), {6}, 'y');
        Write(hosts_.A("only-a-live"), "a");
      });
  WaitForState("promoted");
  EXPECT_EQ(Volume().at("replica").at("epoch"), 3);

  // By hand, each step twice, with a kill of its agent before the second time and after it.
  using Client = control::ReprotectClient;
  const control::ReprotectAgents agents{hosts_.Address("dr-a"), hosts_.Address("primary-a"),
                                        hosts_.Address("primary-b"), hosts_.Address("dr-b")};
  const control::StandbyWatch watch{.on_step = [](const std::string&) {}, .on_hook = [](const model::HookResult&) {}};
  // Each try has connections of its own, as drctl's.
  const auto done_twice = [&](const std::string& agent, const std::function<absl::Status(const Client&)>& step) {
    for (int i = 0; i < 2; ++i) {
      const absl::Status done = WaitForOk("a step at " + agent, absl::Seconds(60), [&]() -> absl::Status {
        ASSIGN_OR_RETURN(const Client client, Client::Create(agents, hosts_.Tls()));
        return step(client);
      });
      ASSERT_TRUE(done.ok()) << done;
      hosts_.KillAndStart(agent);
    }
  };
  done_twice("dr-a", [&](const Client& client) { return client.LetGo({.volume = "web", .epoch = 3}).status(); });
  done_twice("primary-b",
             [&](const Client& client) { return client.HandOver({.volume = "web", .epoch = 3}).status(); });
  done_twice("dr-b", [&](const Client& client) {
    return client.Adopt({.volume = {"web", hosts_.File("b/web"), 3}, .run = ""}, watch).status();
  });
  done_twice("primary-a", [&](const Client& client) {
    return client
        .TakeUp({.volume = "web", .path = hosts_.File("a/web"), .replica_path = hosts_.File("b/web"), .epoch = 3})
        .status();
  });
  Sync();
  ExpectEqual(hosts_.A(), hosts_.B());
  EXPECT_EQ(Volume().at("direction"), "to-dr");
  EXPECT_EQ(Volume().at("epoch"), 3);
  EXPECT_LT(Volume().at("content_bytes_sent").get<uint64_t>(), kFewBytes);
  ExpectPoint("before-reprotect-3", b_before, hosts_.File("b/point"));
  // The whole command over what is done already, and on it goes.
  ASSERT_EQ(hosts_.Drctl({"volumes", "reprotect", "web", "--yes"}).exit_code, 0);
  Write(hosts_.A("page"), "at home");
  Sync();
  ExpectEqual(hosts_.A(), hosts_.B());
}

TEST_F(ReprotectTest, WithoutAPromotionOrAnAgentNothingIsTurned) {
  const ProcessResult standby = hosts_.Drctl({"volumes", "reprotect", "web", "--yes"});
  EXPECT_EQ(standby.exit_code, 5) << standby.err;
  EXPECT_THAT(standby.err, HasSubstr("isn't promoted"));
  const ProcessResult one_way = hosts_.Drctl({"volumes", "reprotect", "web", "--yes"}, "forward.yaml");
  EXPECT_EQ(one_way.exit_code, 5) << one_way.err;
  EXPECT_THAT(one_way.err, HasSubstr("reverse"));
  FailOverToB();
  hosts_.Kill("dr-a");
  EXPECT_EQ(hosts_.Drctl({"volumes", "reprotect", "web", "--yes"}).exit_code, 4);
  EXPECT_EQ(Volume("forward.yaml").at("state"), "promoted") << "nothing was begun";
  EXPECT_EQ(Volume("forward.yaml").at("replica").at("reprotected"), false);
}

}  // namespace
}  // namespace understudy::tests
