#include "control/commands/sync_service.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace understudy::control {
namespace {

// Refused before any cluster is asked: what is configured is shop, and no pair goes the other way.
TEST(SyncEngineTest, WhatGoesBackNeedsNoConfiguredNamespace) {
  const tests::TempDir folder;
  std::ofstream(folder.File("kubeconfig")) << R"({"current-context": "it",
    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
    "clusters": [{"name": "it", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"name": "me", "user": {}}]})";
  config::ControlConfig config;
  config.namespaces = {"shop"};
  config.clusters.primary.emplace().kubeconfig = folder.File("kubeconfig");
  config.clusters.dr.emplace().kubeconfig = folder.File("kubeconfig");
  const auto engine = SyncEngine::Create(config);
  ASSERT_TRUE(engine.ok()) << engine.status();
  const auto state = SyncState::Open(folder.File("state"));
  ASSERT_TRUE(state.ok()) << state.status();
  const auto lease = (*state)->Lease();
  ASSERT_TRUE(lease.ok()) << lease.status();
  const auto run = [&](const SyncRequest& request) {
    return (*engine)->Run(*lease, request, **state, {}, [](const RunProgress&) {}).status().code();
  };
  EXPECT_EQ(run({.namespaces = {"bank"}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(run({.namespaces = {"bank"}, .only_to_primary = true}), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace understudy::control
