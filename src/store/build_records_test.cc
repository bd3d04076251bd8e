#include "store/build_records.h"

#include "gtest/gtest.h"
#include "os/scratch_testing.h"
#include "store/local_blobs.h"
#include "store/schema.h"

namespace cachalot::store {
namespace {

class BuildRecordsTest : public testing::Test {
 protected:
  void SetUp() override { Open(); }
  void Open() {
    records_.reset();
    blobs_.reset();
    database_.reset();
    database_ = OpenMetadata(scratch_.path()).value();
    blobs_ = LocalBlobs::Open(scratch_.path(), database_.get()).value();
    records_ = std::make_unique<BuildRecords>(database_.get());
  }
  void Save(const std::string& ref, int second, bool pinned = false) {
    ASSERT_TRUE(records_->Save({ref, absl::FromUnixSeconds(second), pinned, ref + "'s"}, {}).ok());
  }

  os::Scratch scratch_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<LocalBlobs> blobs_;
  std::unique_ptr<BuildRecords> records_;
};

TEST_F(BuildRecordsTest, RecordsOutliveTheProcess) {
  Save("a", 1);
  Save("b", 2);
  Save("a", 3, true);
  Open();
  const auto all = records_->All().value();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].ref, "a");
  EXPECT_EQ(all[0].record, "a's");
  EXPECT_TRUE(all[0].pinned);
  EXPECT_EQ(all[1].completed_at, absl::FromUnixSeconds(2));
  EXPECT_EQ(records_->Find("b").value()->record, "b's");
  EXPECT_FALSE(records_->Find("c").value().has_value());
}

TEST_F(BuildRecordsTest, OnlyOldUnpinnedOnesBeyondTheLimitExpire) {
  Save("oldest", 1);
  Save("pinned", 2, true);
  Save("old", 3);
  Save("new", 4);
  EXPECT_EQ(records_->Expired(1, absl::FromUnixSeconds(10)).value(), (std::vector<std::string>{"old", "oldest"}));
  EXPECT_EQ(records_->Expired(1, absl::FromUnixSeconds(2)).value(), std::vector<std::string>{"oldest"});
  EXPECT_TRUE(records_->Expired(3, absl::FromUnixSeconds(10)).value().empty());
}

TEST_F(BuildRecordsTest, BlobsLiveAsLongAsTheirRecord) {
  const oci::Digest blob = blobs_->Put("log").value();
  ASSERT_TRUE(records_->Save({"a", absl::UnixEpoch(), false, ""}, {blob}).ok());
  ASSERT_TRUE(blobs_->Collect(std::chrono::seconds(0)).ok());
  EXPECT_TRUE(blobs_->Has(blob));
  EXPECT_TRUE(records_->Delete("a").value());
  EXPECT_FALSE(records_->Delete("a").value());
  ASSERT_TRUE(blobs_->Collect(std::chrono::seconds(0)).ok());
  EXPECT_FALSE(blobs_->Has(blob));
}

TEST_F(BuildRecordsTest, ARecordThatLostABlobIsDropped) {
  const oci::Digest blob = blobs_->Put("log").value();
  ASSERT_TRUE(records_->Save({"a", absl::UnixEpoch(), false, ""}, {blob}).ok());
  Save("b", 1);
  ASSERT_TRUE(database_->Write([&](Connection& connection) { return connection.Run("DELETE FROM blobs WHERE digest = ?1", blob.str()); }).ok());
  Open();
  EXPECT_FALSE(records_->Find("a").value().has_value());
  EXPECT_TRUE(records_->Find("b").value().has_value());
}

}  // namespace
}  // namespace cachalot::store
