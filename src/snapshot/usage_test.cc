#include <algorithm>

#include "absl/strings/str_cat.h"
#include "snapshot/snapshots_testing.h"
#include "snapshot/usage_filter.h"
#include "store/cache_index.h"

namespace cachalot::snapshot {
namespace {

TEST(UsageFilterTest, ContainerdSyntax) {
  UsageRecord record;
  record.id = "abc123";
  record.parents = {"p1", "p2"};
  record.label = {"pulled from docker.io/library/x", "regular"};
  const auto matches = [&](std::vector<std::string> filters) {
    auto filter = UsageFilter::Parse(filters);
    EXPECT_TRUE(filter.ok()) << filter.status();
    return filter.ok() && filter->Matches(record);
  };
  EXPECT_TRUE(matches({}));
  EXPECT_TRUE(matches({""}));
  EXPECT_TRUE(matches({"id==abc123"}));
  EXPECT_TRUE(matches({"type==regular,id~=^abc"}));
  EXPECT_FALSE(matches({"type==regular,id~=^bc"}));
  EXPECT_TRUE(matches({"type==frontend", "id==\"abc123\""}));
  EXPECT_TRUE(matches({"type!=frontend"}));
  EXPECT_TRUE(matches({"immutable"}));
  EXPECT_FALSE(matches({"mutable"}));
  EXPECT_FALSE(matches({"inuse"}));
  EXPECT_TRUE(matches({"private"}));
  EXPECT_TRUE(matches({"parents~=/p\\d;p/"}));
  EXPECT_TRUE(matches({"description~='pulled from'"}));
  EXPECT_FALSE(matches({"nothing"}));
  EXPECT_TRUE(matches({"nothing!=x"}));
  for (const char* bad : {"id=", "id==", "id=abc", ",", "id==a b", "id~=(", "==x", "id==\"x"}) {
    EXPECT_EQ(UsageFilter::Parse({bad}).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

class FakeClock : public Clock {
 public:
  absl::Time Now() override { return now; }
  absl::Time now = absl::FromUnixSeconds(1'700'000'000);
};

class UsageTest : public SnapshotsTest {
 protected:
  std::vector<UsageRecord> Usage(const std::vector<std::string>& filters = {}) {
    auto usage = snapshots_->DiskUsage(filters);
    EXPECT_TRUE(usage.ok()) << usage.status();
    std::sort(usage->begin(), usage->end(), [](const auto& a, const auto& b) { return a.size < b.size; });
    return *usage;
  }
  std::vector<SnapshotId> Prune(const PrunePolicy& policy) {
    std::vector<SnapshotId> deleted;
    const absl::Status status = snapshots_->Prune(policy, [&](const UsageRecord& record) { deleted.push_back(record.id); });
    EXPECT_TRUE(status.ok()) << status;
    return deleted;
  }
  SnapshotPtr Big(int kilobytes, const SnapshotPtr& parent = nullptr) {
    return Make(parent, [&](const std::string& root) { WriteFile(absl::StrCat(root, "/", kilobytes), std::string(kilobytes * 1024, 'x')); });
  }
};

TEST_F(UsageTest, SizesAreExact) {
  const SnapshotPtr one = Big(1000);
  {
    const SnapshotPtr two = Make(one, [&](const std::string& root) { WriteFile(root + "/x", std::string(500 * 1024, 'x')); });
    const std::vector<UsageRecord> usage = Usage();
    ASSERT_EQ(usage.size(), 2U);
    EXPECT_NEAR(usage[0].size, 500 * 1024, 8192);
    EXPECT_NEAR(usage[1].size, 1000 * 1024, 8192);
    EXPECT_EQ(usage[0].parents, std::vector<SnapshotId>{one->id()});
    EXPECT_TRUE(usage[0].in_use);
    EXPECT_EQ(usage[0].label.description, "test");
  }
  EXPECT_EQ(Usage({"inuse"}).size(), 1U);
  EXPECT_EQ(Usage({"id==" + one->id()}).size(), 1U);
  ASSERT_TRUE(snapshots_->Layers(one, {""}, false, fetcher_, {}).ok());
  EXPECT_NEAR(Usage({"id==" + one->id()})[0].size, 2000 * 1024, 16384) << "the blob counts too";
}

TEST_F(UsageTest, PruneTakesWhatNobodyUses) {
  SnapshotPtr base = Big(10);
  SnapshotId chain;
  store::CacheIndex index(database_.get());
  {
    const SnapshotPtr a = Big(20, base), b = Big(30, a);
    chain = b->id();
    ASSERT_TRUE(snapshots_->Layers(b, {}, false, fetcher_, {}).ok());
    EXPECT_EQ(Prune({true}).size(), 0U) << "all in use";
  }
  ASSERT_TRUE(index.SaveResult("key", {chain, absl::Now()}).ok());
  EXPECT_EQ(Prune({true, {}, 0, 0, 0, {"id==other"}}).size(), 0U);
  EXPECT_EQ(Prune({true}).size(), 2U);
  EXPECT_FALSE(index.ResultOf("key")->has_value());
  EXPECT_EQ(Usage().size(), 1U);
  EXPECT_EQ(*snapshots_->Get(chain), nullptr);
  EXPECT_EQ(ReadFile(View(base)->path() + "/10").size(), 10240U);
  EXPECT_EQ(os::ListDirectory(scratch_ / "blobs/sha256")->size(), 1U) << "the base's layer is still named";
  base.reset();
  Reopen();
  EXPECT_EQ(Usage().size(), 1U);
}

TEST_F(UsageTest, APruneThatFailsLosesNothing) {
  { const SnapshotPtr top = Big(20, Big(10)); }
  const auto run = [&](const char* statement) {
    ASSERT_TRUE(database_->Write([&](store::Connection& connection) { return connection.Run(statement); }).ok());
  };
  run("CREATE TRIGGER faulty BEFORE DELETE ON snapshots BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END");
  for (int i = 0; i < 2; ++i) {
    const auto pruned = snapshots_->Prune({true}, nullptr);
    EXPECT_FALSE(pruned.ok());
    EXPECT_EQ(Usage().size(), 2U);
  }
  run("DROP TRIGGER faulty");
  Reopen();
  EXPECT_EQ(Usage().size(), 2U);
  EXPECT_EQ(Prune({true}).size(), 2U);
}

// As an older program left it.
TEST_F(UsageTest, ARowWithoutItsParentIsDropped) {
  { const SnapshotPtr top = Big(30, Big(20, Big(10))); }
  ASSERT_TRUE(database_->Write([&](store::Connection& connection) { return connection.Run("DELETE FROM snapshots WHERE parent = ''"); }).ok());
  Reopen();
  EXPECT_EQ(Usage().size(), 0U);
}

TEST_F(UsageTest, WhatStandsOnAFailedStepsTreeIsNotKept) {
  const absl::StatusOr<SnapshotPtr> failed = snapshots_->Prepare(nullptr, {});
  ASSERT_TRUE(failed.ok()) << failed.status();
  const SnapshotPtr tree = snapshots_->CommitUnrecorded(*failed);
  const absl::StatusOr<SnapshotPtr> above = snapshots_->Prepare(tree, {});
  ASSERT_TRUE(above.ok()) << above.status();
  EXPECT_EQ(snapshots_->Keep(*above).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(UsageTest, PoliciesBound) {
  Close();
  FakeClock clock;
  auto database = store::OpenMetadata(scratch_.path());
  database_ = *std::move(database);
  blobs_ = *store::LocalBlobs::Open(scratch_.path(), database_.get());
  snapshots_ = *OpenSnapshots({scratch_.path(), blobs_.get(), database_.get(), &cpu_, &clock});
  std::vector<SnapshotId> ids;
  for (int i = 0; i < 5; ++i) {
    clock.now += absl::Hours(1);
    ids.push_back(Big(1000)->id());
  }
  { auto internal = snapshots_->Commit(*snapshots_->Prepare(nullptr, {"x", "internal"})); }
  EXPECT_EQ(Prune({false, absl::Hours(10)}).size(), 0U);
  PrunePolicy bound;
  bound.max_used_space = 3 << 20;
  EXPECT_EQ(Prune(bound), (std::vector<SnapshotId>{ids[0], ids[1]})) << "the oldest first, until below the bound";
  bound.max_used_space = 1;
  bound.reserved_space = 100 << 20;
  EXPECT_TRUE(Prune(bound).empty());
  PrunePolicy old;
  old.keep_duration = absl::Minutes(30);
  EXPECT_EQ(Prune(old).size(), 2U);
  EXPECT_EQ(Prune({}), std::vector<SnapshotId>{ids[4]}) << "internal ones stay";
  EXPECT_EQ(Prune({true}).size(), 1U);
  EXPECT_TRUE(Usage().empty());
  snapshots_.reset();
}

TEST_F(UsageTest, KeptOnesAreMutable) {
  {
    auto cache = snapshots_->Prepare(nullptr, {"cache", "exec.cachemount"});
    ASSERT_TRUE(snapshots_->Keep(*cache).ok() && snapshots_->SetName(*cache, "m").ok());
    WriteFile((*snapshots_->MountTree(*cache, false))->path() + "/x", std::string(100000, 'x'));
    EXPECT_EQ(Usage()[0].size, 0) << "it is changing";
  }
  const std::vector<UsageRecord> usage = Usage({"type==exec.cachemount"});
  ASSERT_EQ(usage.size(), 1U);
  EXPECT_TRUE(usage[0].mutable_);
  EXPECT_FALSE(usage[0].in_use);
  EXPECT_NEAR(usage[0].size, 100000, 9000);
  EXPECT_EQ(Prune({}).size(), 1U);
  EXPECT_EQ(*snapshots_->FindNamed("m"), nullptr);
}

}  // namespace
}  // namespace cachalot::snapshot
