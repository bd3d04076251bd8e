#include "op/named_trees_testing.h"

namespace cachalot::op {
namespace {

using llb::CacheSharing;

TEST_F(NamedTreesTest, SharedUsersMeetAndPrivateOnesDoNot) {
  const NamedTrees::LeasePtr one = Take("a", CacheSharing::kShared), two = Take("a", CacheSharing::kShared);
  EXPECT_EQ(one->snapshot(), two->snapshot());
  EXPECT_NE(Take("a", CacheSharing::kPrivate)->snapshot(), one->snapshot());
}

TEST_F(NamedTreesTest, SharedUsersSeeOneMount) {
  const snapshot::SnapshotPtr base = *snapshots_->Commit(*snapshots_->Prepare(nullptr, {"base"}));
  const NamedTrees::LeasePtr one = *trees_->Acquire("a", CacheSharing::kShared, base, {"test"}, {});
  const NamedTrees::LeasePtr two = *trees_->Acquire("a", CacheSharing::kShared, base, {"test"}, {});
  const auto mount = *one->Mount();
  EXPECT_EQ((*two->Mount())->path(), mount->path());
}

TEST_F(NamedTreesTest, TreesStayForTheNextUser) {
  const snapshot::SnapshotId id = Take("a", CacheSharing::kLocked)->snapshot()->id();
  EXPECT_EQ(Take("a", CacheSharing::kLocked)->snapshot()->id(), id);
}

TEST_F(NamedTreesTest, ForgottenOnesAreMadeAnew) {
  NamedTrees::LeasePtr before = Take("a", CacheSharing::kShared);
  const snapshot::SnapshotId nested = Take("a:base", CacheSharing::kShared)->snapshot()->id(),
                             other = Take("ab", CacheSharing::kShared)->snapshot()->id();
  ASSERT_TRUE(trees_->Forget("a").ok());
  NamedTrees::LeasePtr after = Take("a", CacheSharing::kShared);
  EXPECT_NE(after->snapshot(), before->snapshot());
  EXPECT_NE(Take("a:base", CacheSharing::kShared)->snapshot()->id(), nested);
  EXPECT_EQ(Take("ab", CacheSharing::kShared)->snapshot()->id(), other);
  // The end of an earlier use gives nothing of the later one away.
  before.reset();
  EXPECT_EQ(Take("a", CacheSharing::kShared)->snapshot(), after->snapshot());
}

}  // namespace
}  // namespace cachalot::op
