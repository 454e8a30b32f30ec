// switch_fixture.h: an export switch over the backend of the kernel's server, whose exportfs is tests/support's.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "core/exports/export_switch.h"
#include "core/exports/knfsd_backend.h"
#include "core/exports/none_backend.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace understudy::exports {

class SwitchFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_symlink(tests::SourcePath("tests/support/fake_exportfs.sh"), dir_.File("exportfs"));
    std::filesystem::create_directories(Path("a"));
    std::filesystem::create_directories(Path("b"));
  }

  std::string Path(const std::string& name) const { return dir_.File("srv/" + name); }
  std::string OwnFile() const { return Read("exports.d/understudy-test.exports"); }

  std::string Read(const std::string& name) const {
    std::ifstream file(dir_.File(name), std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_.File(name), std::ios::binary) << text;
  }
  // As tests/support/fake_exportfs.sh says; empty: as it should.
  void Behave(const std::string& behaviour) const { Write("behaviour", behaviour); }

  std::unique_ptr<KnfsdBackend> MakeKnfsd(absl::Duration timeout = absl::Seconds(20)) const {
    return std::make_unique<KnfsdBackend>(KnfsdOptions{.program = "understudy-test",
                                                       .exports_dir = dir_.File("exports.d"),
                                                       .exportfs = dir_.File("exportfs"),
                                                       .etab = dir_.File("etab"),
                                                       .timeout = timeout});
  }
  // No thread looks by itself: the test calls Reconcile.
  void Start(absl::Duration timeout = absl::Seconds(20), const std::string& backend = "knfsd") {
    switch_.reset();
    std::vector<std::unique_ptr<ExportBackend>> backends;
    backends.push_back(std::make_unique<NoneBackend>());
    backends.push_back(MakeKnfsd(timeout));
    auto started = ExportSwitch::Start({.database = dir_.File("exports.db"),
                                        .places = {{dir_.File("srv"), backend, {{"10.0.0.0/8"}, {"sec=sys"}}}},
                                        .interval = absl::InfiniteDuration()},
                                       std::move(backends));
    ASSERT_TRUE(started.ok()) << started.status();
    switch_ = *std::move(started);
    switch_->Reconcile();
  }

  tests::TempDir dir_;
  std::unique_ptr<ExportSwitch> switch_;
};

}  // namespace understudy::exports
