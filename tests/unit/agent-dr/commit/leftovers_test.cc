// Large content that was staged in part is kept for the session that goes on with it, and nothing else is.
#include "agent-dr/commit/leftovers.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "agent-dr/commit/held_content.h"
#include "core/delta/content_digest.h"
#include "core/wire/limits.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kSegment = delta::kSegmentBytes;
constexpr uint64_t kSize = 3 * kSegment;

std::string Filled(uint64_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(1 + (i * 2654435761u >> 13) % 255);
  return bytes;
}

// Refuses the next commit as a full disk would.
class NoSpace : public dr::FaultPoints {
 public:
  absl::Status Reach(dr::Step step, size_t) override {
    return step == dr::Step::kSync ? absl::ResourceExhaustedError("injected: no space") : absl::OkStatus();
  }
};

class LeftoversTest : public testing::Test {
 protected:
  dr::Session Open(dr::CommitEngine& engine) {
    auto session = engine.Open({"vol", host_.RootOf("vol"), 0});
    EXPECT_TRUE(session.ok()) << session.status();
    return *session;
  }
  static void Stage(dr::Session& session, model::Slot slot, std::string_view content, uint64_t begin, uint64_t end) {
    for (uint64_t at = begin; at < end; at += wire::kMaxStageBytes) {
      const size_t length = std::min<uint64_t>(wire::kMaxStageBytes, end - at);
      ASSERT_TRUE(session.StageData(slot, at, content.substr(at, length)).ok());
    }
  }
  // A session that staged the first segment and half of the second one.
  void LeavePart(dr::CommitEngine& engine, const std::string& path = "image") {
    dr::Session session = Open(engine);
    ASSERT_TRUE(session.StageBegin(0, path, kSize, "").ok());
    Stage(session, 0, content_, 0, kSegment + kSegment / 2);
  }
  void ExpectCommits(dr::Session& session, const std::string& content, model::Slot slot) {
    ASSERT_TRUE(session.StageEnd(slot).ok());
    const absl::Status submitted =
        session.SubmitDurable(NextCommit(session.State(), {StagedPut("image", content, slot)}));
    ASSERT_TRUE(submitted.ok()) << submitted;
    ASSERT_TRUE(session.Publish().ok());
    EXPECT_THAT(host_.LeftInWorkFolder(), IsEmpty());
  }
  std::string LeftoverFolder() const {
    for (const auto& entry : fs::directory_iterator(host_.File(".understudy"))) return entry.path() / "leftover";
    return "";
  }

  DrHost host_;
  const std::string content_ = Filled(kSize);
};

TEST_F(LeftoversTest, GoOnAcrossSessionsAndRestarts) {
  LeavePart(*host_.Start());
  for (int round = 0; round < 2; ++round) {
    const auto engine = host_.Start();
    EXPECT_THAT(Open(*engine).State().leftovers, ElementsAre("image"));
    EXPECT_THAT(Open(*engine).State().leftovers, ElementsAre("image"));
    EXPECT_THAT(engine->State("vol")->leftovers, IsEmpty()) << "told by an opening only";
    EXPECT_EQ(Show(*engine, "vol"), "");
  }
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  const auto held = session.StageResume(7, "image", kSize, "");
  ASSERT_TRUE(held.ok()) << held.status();
  std::string second = content_.substr(kSegment, kSegment / 2);
  second.resize(kSegment, '\0');
  EXPECT_THAT(*held, ElementsAre(model::SegmentDigest{0, delta::DigestOfSegment(0, content_.substr(0, kSegment))},
                                 model::SegmentDigest{1, delta::DigestOfSegment(1, second)}));
  Stage(session, 7, content_, kSegment, kSize);
  ExpectCommits(session, content_, 7);
  EXPECT_THAT(Open(*engine).State().leftovers, IsEmpty());
}

TEST_F(LeftoversTest, WhatIsResumedAndCutAgainIsALeftoverAgain) {
  LeavePart(*host_.Start());
  {
    const auto engine = host_.Start();
    dr::Session session = Open(*engine);
    ASSERT_TRUE(session.StageResume(3, "image", kSize, "").ok());
    Stage(session, 3, content_, kSegment, 2 * kSegment);
  }
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  const auto held = session.StageResume(0, "image", kSize, "");
  ASSERT_TRUE(held.ok()) << held.status();
  ASSERT_EQ(held->size(), 2u);
  EXPECT_EQ((*held)[1].digest, delta::DigestOfSegment(1, content_.substr(kSegment, kSegment)));
}

TEST_F(LeftoversTest, ASmallerSizeCutsAndAHoleTakesAway) {
  const auto engine = host_.Start();
  LeavePart(*engine);
  dr::Session session = Open(*engine);
  const uint64_t size = kSegment + 1000;
  const auto held = session.StageResume(0, "image", size, "");
  ASSERT_TRUE(held.ok()) << held.status();
  ASSERT_EQ(held->size(), 2u);
  EXPECT_EQ((*held)[1].digest, delta::DigestOfSegment(1, content_.substr(kSegment, 1000)));
  ASSERT_TRUE(session.StageHole(0, 0, kSegment).ok());
  ExpectCommits(session, std::string(kSegment, '\0') + content_.substr(kSegment, 1000), 0);
}

TEST_F(LeftoversTest, ALargerSizeGrowsWithZeros) {
  const auto engine = host_.Start();
  LeavePart(*engine);
  dr::Session session = Open(*engine);
  ASSERT_TRUE(session.StageResume(0, "image", 5 * kSegment + 7, "").ok());
  std::string content = content_.substr(0, kSegment + kSegment / 2);
  content.resize(5 * kSegment + 7, '\0');
  ExpectCommits(session, content, 0);
}

TEST_F(LeftoversTest, NothingThatFitsIsNotFoundAndTheSessionGoesOn) {
  const auto engine = host_.Start();
  LeavePart(*engine);
  dr::Session session = Open(*engine);
  EXPECT_TRUE(absl::IsNotFound(session.StageResume(0, "other", kSize, "").status()));
  ASSERT_TRUE(session.StageBegin(0, "image", kSize, "").ok());
  Stage(session, 0, content_, 0, kSize);
  ExpectCommits(session, content_, 0);
}

TEST_F(LeftoversTest, ContentOverABaseIsToldAsItWillBe) {
  const std::string base = content_.substr(0, 2 * kSegment + 1000);
  std::string next = content_;
  for (char& byte : next) byte = static_cast<char>(byte ^ 0x55);
  {
    const auto engine = host_.Start();
    dr::Session session = Open(*engine);
    ASSERT_TRUE(session.StageBegin(0, "image", base.size(), "").ok());
    Stage(session, 0, base, 0, base.size());
    ExpectCommits(session, base, 0);
    ASSERT_TRUE(session.StageBegin(0, "image", kSize, "image").ok());
    // The second half of the first segment, and from the middle of the second one past the base's end.
    Stage(session, 0, next, kSegment / 2, kSegment);
    Stage(session, 0, next, kSegment + kSegment / 2, kSize);
  }
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  EXPECT_THAT(session.State().leftovers, ElementsAre("image"));
  EXPECT_TRUE(absl::IsNotFound(session.StageResume(1, "image", kSize, "").status())) << "it isn't whole";
  const auto held = session.StageResume(2, "image", kSize, "image");
  ASSERT_TRUE(held.ok()) << held.status();
  const std::string first = base.substr(0, kSegment / 2) + next.substr(kSegment / 2, kSegment / 2);
  const std::string second = base.substr(kSegment, kSegment / 2) + next.substr(kSegment + kSegment / 2, kSegment / 2);
  EXPECT_THAT(*held, ElementsAre(model::SegmentDigest{0, delta::DigestOfSegment(0, first)},
                                 model::SegmentDigest{1, delta::DigestOfSegment(1, second)},
                                 model::SegmentDigest{2, delta::DigestOfSegment(2, next.substr(2 * kSegment))}));
  // What is held of the second segment makes way for what is staged in it now, however little that is.
  ASSERT_TRUE(session.StageData(2, kSegment + 4096, "new").ok());
  std::string wanted = first + base.substr(kSegment, kSegment) + next.substr(2 * kSegment);
  wanted.replace(kSegment + 4096, 3, "new");
  ASSERT_TRUE(session.StageEnd(2).ok());
  const model::Patch patch{"image", Meta(0600), wanted.size(), delta::DigestOfContent(wanted), 2};
  ASSERT_TRUE(session.SubmitDurable(NextCommit(session.State(), {patch})).ok());
  ASSERT_TRUE(session.Publish().ok());
  std::ifstream file(host_.RootOf("vol") + "/image", std::ios::binary);
  EXPECT_TRUE(std::string(std::istreambuf_iterator<char>(file), {}) == wanted);
  EXPECT_THAT(Open(*engine).State().leftovers, IsEmpty());
}

TEST_F(LeftoversTest, OverABaseSegmentsPastTheBoundAreSentAgain) {
  for (const char* const name : {"content", "base"}) std::ofstream(host_.File(name), std::ios::binary) << content_;
  const os::Fd file(open(host_.File("content").c_str(), O_RDWR | O_CLOEXEC));
  const os::Fd base(open(host_.File("base").c_str(), O_RDONLY | O_CLOEXEC));
  for (const size_t bound : {2, 9}) {
    const auto held = dr::CutToHeldOverBase(file.get(), base.get(), kSize, kSize, bound);
    ASSERT_TRUE(held.ok()) << held.status();
    EXPECT_EQ(held->segments.size(), 2u);
    EXPECT_EQ(held->ranges.size(), 2u);
  }
}

TEST_F(LeftoversTest, SmallContentAndFewBytesOverABaseAreNotKept) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  ASSERT_TRUE(session.SubmitDurable(NextCommit(session.State(), {InlinePut("base", "b")})).ok());
  ASSERT_TRUE(session.Publish().ok());
  ASSERT_TRUE(session.StageBegin(0, "small", dr::kMinLeftoverBytes - 1, "").ok());
  ASSERT_TRUE(session.StageBegin(1, "patched", kSize, "base").ok());
  Stage(session, 1, content_, 0, dr::kMinLeftoverBytes - wire::kMaxStageBytes);
  EXPECT_THAT(Open(*engine).State().leftovers, IsEmpty());
  EXPECT_THAT(host_.LeftInWorkFolder(), IsEmpty());
}

TEST_F(LeftoversTest, GoWhenTheirPathIsCommittedOtherwise) {
  const auto engine = host_.Start();
  LeavePart(*engine);
  dr::Session session = Open(*engine);
  ASSERT_TRUE(session.SubmitDurable(NextCommit(session.State(), {InlinePut("image", "other")})).ok());
  ASSERT_TRUE(session.Publish().ok());
  EXPECT_THAT(Open(*engine).State().leftovers, IsEmpty());
  EXPECT_THAT(host_.LeftInWorkFolder(), IsEmpty());
}

TEST_F(LeftoversTest, TheOldestOfTooManyGoes) {
  auto engine = host_.Start();
  {
    dr::Session session = Open(*engine);
    for (model::Slot slot = 0; slot < wire::kMaxLeftovers + 3; ++slot) {
      ASSERT_TRUE(session.StageBegin(slot, "f" + std::to_string(slot), kSize, "").ok());
      ASSERT_TRUE(session.StageEnd(slot).ok());
    }
  }
  const std::vector<std::string> left = Open(*engine).State().leftovers;
  ASSERT_EQ(left.size(), wire::kMaxLeftovers);
  EXPECT_EQ(left.front(), "f3");
  engine.reset();
  EXPECT_EQ(Open(*host_.Start()).State().leftovers, left) << "in the same order after a restart";
}

TEST_F(LeftoversTest, WhatIsNotSoundIsRemoved) {
  LeavePart(*host_.Start());
  Open(*host_.Start());
  const std::string folder = LeftoverFolder();
  const std::string about = folder + "/a0";
  ASSERT_TRUE(fs::exists(about));
  std::string bytes;
  {
    std::ifstream file(about, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  fs::copy(folder + "/c0", folder + "/c1");
  std::ofstream(folder + "/a1", std::ios::binary) << bytes.substr(0, bytes.size() - 1);  // torn
  std::ofstream(folder + "/c2") << "content without a sidecar";
  std::ofstream(folder + "/a3", std::ios::binary) << bytes;  // a sidecar without content
  std::ofstream(folder + "/a18446744073709551615", std::ios::binary) << bytes;
  fs::copy(folder + "/c0", folder + "/c18446744073709551615");
  fs::create_directories(folder + "/a4/b/c");
  ASSERT_EQ(symlink("/etc/passwd", (folder + "/c5").c_str()), 0);
  std::ofstream(folder + "/a5", std::ios::binary) << bytes;
  EXPECT_THAT(Open(*host_.Start()).State().leftovers, ElementsAre("image"));
  EXPECT_EQ(host_.LeftInWorkFolder().size(), 2u);
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(about, std::ios::binary) << bytes;
  EXPECT_THAT(Open(*host_.Start()).State().leftovers, IsEmpty());
  EXPECT_THAT(host_.LeftInWorkFolder(), IsEmpty());
}

TEST_F(LeftoversTest, GoAfterAWeek) {
  LeavePart(*host_.Start());
  Open(*host_.Start());
  const std::string replica = fs::path(LeftoverFolder()).parent_path().filename().string().substr(8);
  const auto work = dr::WorkArea::Open(host_.Export(), replica);
  ASSERT_TRUE(work.ok()) << work.status();
  dr::Leftovers leftovers(*work);
  ASSERT_TRUE(leftovers.Load(absl::Now() + dr::kLeftoverLifetime - absl::Hours(1)).ok());
  EXPECT_THAT(leftovers.Paths(), ElementsAre("image"));
  leftovers.DropExpired(absl::Now() + dr::kLeftoverLifetime + absl::Hours(1));
  EXPECT_THAT(leftovers.Paths(), IsEmpty());
  EXPECT_THAT(host_.LeftInWorkFolder(), IsEmpty());
}

TEST_F(LeftoversTest, GoFirstWhenSpaceIsShort) {
  LeavePart(*host_.Start());
  NoSpace no_space;
  const auto engine = host_.Start(no_space);
  dr::Session session = Open(*engine);
  ASSERT_TRUE(session.StageBegin(0, "second", kSize, "").ok());
  ASSERT_TRUE(session.StageEnd(0).ok());
  const absl::Status refused =
      session.SubmitDurable(NextCommit(session.State(), {StagedPut("second", std::string(kSize, '\0'), 0)}));
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(host_.LeftInWorkFolder(), IsEmpty());
  EXPECT_THAT(Open(*engine).State().leftovers, IsEmpty());
}

TEST_F(LeftoversTest, ASidecarKeepsToItsBounds) {
  const auto parsed = [](const std::string& path, uint64_t size) {
    return dr::ParseLeftoverAbout(dr::EncodeLeftoverAbout({path, size}));
  };
  const dr::LeftoverAbout good{"d/\xff\nimage", dr::kMinLeftoverBytes};
  const auto round = parsed(good.path, good.size);
  ASSERT_TRUE(round.ok()) << round.status();
  EXPECT_EQ(*round, good);
  const dr::LeftoverAbout over_base{good.path, good.size, true};
  EXPECT_EQ(*dr::ParseLeftoverAbout(dr::EncodeLeftoverAbout(over_base)), over_base);
  for (const char* path : {"", "/abs", "../up", "a//b"}) EXPECT_FALSE(parsed(path, kSize).ok()) << path;
  EXPECT_FALSE(parsed("image", dr::kMinLeftoverBytes - 1).ok());
  EXPECT_FALSE(parsed("image", ~uint64_t{0}).ok());
  const std::string bytes = dr::EncodeLeftoverAbout(good);
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string flipped = bytes;
    flipped[at] ^= 0x10;
    EXPECT_FALSE(dr::ParseLeftoverAbout(flipped).ok()) << at;
    EXPECT_FALSE(dr::ParseLeftoverAbout(bytes.substr(0, at)).ok()) << at;
  }
}

TEST_F(LeftoversTest, SegmentsPastTheBoundAreSentAgain) {
  const std::string path = host_.File("content");
  std::ofstream(path, std::ios::binary) << content_;
  const os::Fd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  const auto held = dr::CutToHeldSegments(file.get(), kSize, 2);
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(held->size(), 2u);
  const auto again = dr::CutToHeldSegments(file.get(), kSize, 9);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, *held) << "the third one is zeros now";
  EXPECT_EQ(fs::file_size(path), kSize);
}

}  // namespace
}  // namespace understudy::tests
