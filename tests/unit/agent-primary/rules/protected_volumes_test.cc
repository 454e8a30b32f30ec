// Volumes that the control plane had protected: remembered over a restart, forgotten when their object is deleted.
#include "agent-primary/rules/protected_volumes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/memory_volumes.h"
#include "tests/support/temp_dir.h"

namespace understudy::primary {
namespace {

using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

class ProtectedVolumesTest : public testing::Test {
 protected:
  ProtectedVolumesTest() { Start(); }

  // As an agent that was away: nothing is registered until it says so.
  void Start() {
    protected_.reset();
    volumes_ = std::make_unique<tests::MemoryVolumes>();
    auto opened = ProtectedVolumes::Open(folder_.File("protected.db"), *volumes_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    protected_ = *std::move(opened);
    ASSERT_EQ(protected_->RegisterAll(), absl::OkStatus());
  }
  static kube::NfsSource Source(const std::string& name) { return {.server = "nfs1", .path = "/export/" + name}; }

  tests::TempDir folder_;
  std::unique_ptr<tests::MemoryVolumes> volumes_;
  std::unique_ptr<ProtectedVolumes> protected_;
};

TEST_F(ProtectedVolumesTest, WhatIsProtectedIsSoAfterARestart) {
  ASSERT_EQ(protected_->Protect("db", Source("db")), absl::OkStatus());
  ASSERT_EQ(protected_->Protect("db", Source("db")), absl::OkStatus());
  ASSERT_EQ(protected_->Protect("web", Source("web")), absl::OkStatus());
  Start();
  EXPECT_THAT(volumes_->Registered(), UnorderedElementsAre(Pair("db", "/export/db"), Pair("web", "/export/web")));
}

TEST_F(ProtectedVolumesTest, WhatAnEventRegisteredIsntRemembered) {
  ASSERT_EQ(protected_->Register("db", {.path = "/export/db", .replica_path = "/replica/db"}), absl::OkStatus());
  Start();
  EXPECT_THAT(volumes_->Registered(), IsEmpty());
}

TEST_F(ProtectedVolumesTest, AVolumeIsForgottenWhenItsObjectsDeletionIsHandled) {
  ASSERT_EQ(protected_->Protect("db", Source("db")), absl::OkStatus());
  ASSERT_EQ(protected_->Unregister("db"), absl::OkStatus());
  EXPECT_THAT(volumes_->Registered(), IsEmpty());
  Start();
  EXPECT_THAT(volumes_->Registered(), IsEmpty());
}

TEST_F(ProtectedVolumesTest, AReleasedVolumeGoesToTheTrash) {
  ASSERT_EQ(protected_->Protect("db", Source("db")), absl::OkStatus());
  ASSERT_EQ(protected_->Release("db", Source("db")), absl::OkStatus());
  EXPECT_THAT(volumes_->Discarded(), UnorderedElementsAre(Pair("db", "/replica/db")));
  Start();
  EXPECT_THAT(volumes_->Registered(), IsEmpty());
}

TEST_F(ProtectedVolumesTest, WhatIsOnAnotherHostIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(protected_->Protect("db", {.server = "filer", .path = "/export/db"})));
  EXPECT_TRUE(absl::IsNotFound(protected_->Release("db", {.server = "filer", .path = "/export/db"})));
  volumes_->SetMissing("/export/db", true);
  EXPECT_TRUE(absl::IsNotFound(protected_->Protect("db", Source("db"))));
  Start();
  EXPECT_THAT(volumes_->Registered(), IsEmpty());
}

}  // namespace
}  // namespace understudy::primary
