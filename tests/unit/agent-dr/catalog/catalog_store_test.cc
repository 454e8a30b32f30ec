#include "agent-dr/catalog/catalog_store.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>

#include "core/wire/limits.h"
#include "tests/support/temp_dir.h"

namespace understudy::dr {
namespace {

model::CatalogEntry Pv(const std::string& name, const std::string& uid, const std::string& resource = "{}") {
  model::CatalogEntry entry;
  entry.key = {model::ObjectKind::kPersistentVolume, "", name};
  entry.uid = uid;
  entry.resource = resource;
  entry.volume = name;
  entry.replica_path = "/srv/b/" + name + "\xff";
  entry.server = "nfs";
  entry.observed_at = absl::FromUnixNanos(12345);
  return entry;
}

class FakeClock : public Clock {
 public:
  absl::Time Now() const override { return now; }
  absl::Duration Monotonic() const override { return now - absl::UnixEpoch(); }
  absl::Time now = absl::FromUnixSeconds(1'800'000'000);
};

class CatalogStoreTest : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    store_.reset();
    auto store = CatalogStore::Open(
        folder_.File("catalog.db"),
        [this](const std::string& volume) {
          return live_.contains(volume) ? absl::FailedPreconditionError(volume + " is active") : absl::OkStatus();
        },
        clock_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  std::vector<model::CatalogEntry> All(bool include_deleted = false) {
    auto page = store_->List({.kind = std::nullopt, .include_deleted = include_deleted}, 0);
    EXPECT_TRUE(page.ok()) << page.status();
    return page->entries;
  }

  FakeClock clock_;
  std::set<std::string> live_;  // volumes
  tests::TempDir folder_;
  std::unique_ptr<CatalogStore> store_;
};

TEST_F(CatalogStoreTest, KeepsEveryFieldAcrossARestart) {
  const model::CatalogEntry entry = Pv("pv1", "u1", R"({"a":1})");
  ASSERT_EQ(store_->Put(entry).value(), 1u);
  Reopen();
  EXPECT_EQ(store_->Revision(), 1u);
  const auto all = All();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].key, entry.key);
  EXPECT_EQ(all[0].uid, "u1");
  EXPECT_EQ(all[0].resource, entry.resource);
  EXPECT_EQ(all[0].volume, "pv1");
  EXPECT_EQ(all[0].replica_path, entry.replica_path);
  EXPECT_EQ(all[0].server, "nfs");
  EXPECT_EQ(all[0].observed_at, entry.observed_at);
  EXPECT_EQ(all[0].revision, 1u);
}

TEST_F(CatalogStoreTest, OnlyAChangeRaisesTheRevision) {
  ASSERT_EQ(store_->Put(Pv("pv1", "u1")).value(), 1u);
  model::CatalogEntry same = Pv("pv1", "u1");
  same.observed_at = absl::FromUnixNanos(99);
  same.revision = 77;
  EXPECT_EQ(store_->Put(same).value(), 1u);
  EXPECT_EQ(store_->Put(Pv("pv1", "u1", R"({"changed":true})")).value(), 2u);
  EXPECT_EQ(All().size(), 1u);
}

TEST_F(CatalogStoreTest, WhatBelongsToALiveVolumeIsNeitherChangedNorDeletedUntilItIsNotLiveAnyMore) {
  ASSERT_EQ(store_->Put(Pv("pv1", "u1")).value(), 1u);
  model::CatalogEntry claim = Pv("web", "c1");
  claim.key = {model::ObjectKind::kPersistentVolumeClaim, "shop", "web"};
  claim.volume = "pv1";
  ASSERT_EQ(store_->Put(claim).value(), 2u);
  live_ = {"pv1"};
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Put(Pv("pv1", "u1", R"({"changed":true})")).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Put(Pv("pv1", "u2")).status()));
  // Made anew at the primary, with its data in another volume: the claim of that name at DR is in use all the same.
  model::CatalogEntry anew = claim;
  anew.uid = "c2";
  anew.volume = "pv2";
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Put(anew).status()));
  // Another name for the live volume.
  model::CatalogEntry other = claim;
  other.key.name = "other";
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Put(other).status()));
  for (const std::string uid : {"c1", ""}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(store_->Delete(claim.key, uid).status())) << uid;
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Delete(Pv("pv1", "u1").key, "u1").status()));
  EXPECT_EQ(store_->Revision(), 2u) << "a follower hears of nothing";
  EXPECT_EQ(All().size(), 2u);

  EXPECT_EQ(store_->Put(claim).value(), 2u) << "what changes nothing is fine";
  EXPECT_EQ(store_->Delete(claim.key, "another").value(), 2u) << "so is another object's deletion";
  EXPECT_TRUE(store_->Put(Pv("pv3", "u3")).ok()) << "and what belongs to another volume";
  live_ = {};
  EXPECT_EQ(store_->Put(anew).value(), 4u);
  EXPECT_EQ(store_->Delete(claim.key, "c2").value(), 5u);
  live_ = {"pv2"};
  EXPECT_EQ(store_->Delete(claim.key, "c2").value(), 5u) << "it is deleted already";
}

TEST_F(CatalogStoreTest, DeletionIsMarkedAndHeardOf) {
  ASSERT_TRUE(store_->Put(Pv("pv1", "u1")).ok());
  EXPECT_EQ(store_->Delete(Pv("pv1", "").key, "u1").value(), 2u);
  EXPECT_TRUE(All().empty());
  const auto with_deleted = All(true);
  ASSERT_EQ(with_deleted.size(), 1u);
  EXPECT_TRUE(with_deleted[0].deleted);
  EXPECT_EQ(with_deleted[0].uid, "u1");
  EXPECT_EQ(with_deleted[0].observed_at, clock_.now);
  EXPECT_EQ(store_->Delete(Pv("pv1", "").key, "u1").value(), 2u) << "once is enough";
  EXPECT_EQ(store_->Put(Pv("pv1", "u2")).value(), 3u) << "made anew";
  EXPECT_EQ(All().size(), 1u);
}

TEST_F(CatalogStoreTest, ADeletionKeepsNoResourceAndIsForgottenAfterItsTime) {
  ASSERT_TRUE(store_->Put(Pv("old", "u1", R"({"much":"text"})")).ok());
  ASSERT_TRUE(store_->Put(Pv("live", "u3")).ok());
  ASSERT_TRUE(store_->Delete(Pv("old", "").key, "u1").ok());
  ASSERT_EQ(All(true).size(), 2u);
  EXPECT_EQ(All(true)[1].resource, "{}");
  clock_.now += CatalogStore::kDeletedKept - absl::Hours(2);
  ASSERT_TRUE(store_->Put(Pv("later", "u2")).ok());
  EXPECT_EQ(store_->Delete(Pv("later", "").key, "u2").value(), 5u);
  EXPECT_EQ(All(true).size(), 3u) << "not yet";
  clock_.now += absl::Hours(3);
  ASSERT_TRUE(store_->Put(Pv("last", "u4")).ok());
  EXPECT_EQ(store_->Delete(Pv("last", "").key, "u4").value(), 7u);
  EXPECT_EQ(All(true).size(), 3u) << "live, later and last";
  clock_.now += 2 * CatalogStore::kDeletedKept;
  Reopen();
  EXPECT_EQ(All(true).size(), 1u);
  EXPECT_EQ(store_->Revision(), 7u) << "no revision comes twice";
  EXPECT_EQ(store_->Put(Pv("next", "u5")).value(), 8u);
}

TEST_F(CatalogStoreTest, DeletingAnotherOneOfThatNameIsNoDeletion) {
  ASSERT_TRUE(store_->Put(Pv("pv1", "new")).ok());
  EXPECT_TRUE(store_->Delete(Pv("pv1", "").key, "old").ok());
  EXPECT_EQ(All().size(), 1u);
  EXPECT_EQ(store_->Delete(Pv("missing", "").key, "").value(), 0u);
  EXPECT_TRUE(store_->Delete(Pv("pv1", "").key, "").ok());
  EXPECT_TRUE(All().empty());
}

TEST_F(CatalogStoreTest, PagesAreBoundedAndGoOnWhereTheyEnded) {
  const size_t count = wire::kMaxPageEntries + 10;
  for (size_t i = 0; i < count; ++i) ASSERT_TRUE(store_->Put(Pv("pv" + std::to_string(i), "u")).ok());
  const auto first = store_->List({}, 0);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->entries.size(), wire::kMaxPageEntries);
  EXPECT_TRUE(first->more);
  const auto second = store_->List({}, first->entries.back().revision);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->entries.size(), 10u);
  EXPECT_FALSE(second->more);
  EXPECT_EQ(second->entries.front().revision, first->entries.back().revision + 1);
}

TEST_F(CatalogStoreTest, PagesOfLargeEntriesEndEarly) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(store_->Put(Pv("pv" + std::to_string(i), "u", std::string(wire::kMaxPageBytes / 2, ' '))).ok());
  }
  const auto page = store_->List({}, 0);
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->entries.size(), 2u);
  EXPECT_TRUE(page->more);
}

TEST_F(CatalogStoreTest, ListsOneKind) {
  ASSERT_TRUE(store_->Put(Pv("pv1", "u")).ok());
  model::CatalogEntry claim = Pv("c", "u");
  claim.key = {model::ObjectKind::kPersistentVolumeClaim, "shop", "c"};
  ASSERT_TRUE(store_->Put(claim).ok());
  const auto page = store_->List({.kind = model::ObjectKind::kPersistentVolumeClaim, .include_deleted = false}, 0);
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->entries.size(), 1u);
  EXPECT_EQ(page->entries[0].key, claim.key);
}

TEST_F(CatalogStoreTest, AChangeWakesWhoWaits) {
  EXPECT_FALSE(store_->WaitForChange(0, absl::ZeroDuration()));
  bool woken = false;
  std::thread waiter([&] { woken = store_->WaitForChange(0, absl::Seconds(60)); });
  ASSERT_TRUE(store_->Put(Pv("pv1", "u")).ok());
  waiter.join();
  EXPECT_TRUE(woken);
}

}  // namespace
}  // namespace understudy::dr
