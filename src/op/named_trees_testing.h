// A store of snapshots with named trees, for tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "base/worker_pool.h"
#include "op/named_trees.h"
#include "os/scratch_testing.h"
#include "store/local_blobs.h"
#include "store/schema.h"

namespace cachalot::op {

class NamedTreesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!os::CanMount()) GTEST_SKIP() << "needs root for overlay mounts";
    database_ = *store::OpenMetadata(scratch_.path());
    blobs_ = *store::LocalBlobs::Open(scratch_.path(), database_.get());
    snapshots_ = *snapshot::OpenSnapshots({scratch_.path(), blobs_.get(), database_.get(), &cpu_});
    trees_ = std::make_unique<NamedTrees>(snapshots_.get());
  }
  NamedTrees::LeasePtr Take(const std::string& name, llb::CacheSharing sharing) { return *trees_->Acquire(name, sharing, nullptr, {"test"}, {}); }

  os::Scratch scratch_;
  WorkerPool cpu_{"cpu", 1};
  std::unique_ptr<store::Database> database_;
  std::unique_ptr<store::LocalBlobs> blobs_;
  std::unique_ptr<snapshot::Snapshots> snapshots_;
  std::unique_ptr<NamedTrees> trees_;
};

}  // namespace cachalot::op
