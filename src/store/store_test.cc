#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "os/file.h"
#include "os/scratch_testing.h"
#include "store/cache_index.h"
#include "store/durability.h"
#include "store/local_blobs.h"
#include "store/schema.h"

namespace cachalot::store {
namespace {

TEST(DatabaseTest, MigratesAndRefusesTheFuture) {
  os::Scratch scratch;
  const std::string path = scratch / "x.db";
  const std::vector<std::string> one = {"CREATE TABLE a (x)"}, two = {one[0], "ALTER TABLE a ADD COLUMN y"};
  { ASSERT_TRUE(Database::Open(path, one).ok()); }
  auto database = Database::Open(path, two);
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_TRUE((*database)->Write([](Connection& c) { return c.Run("INSERT INTO a VALUES (1, 2)"); }).ok());
  EXPECT_FALSE((*database)->Write([](Connection& c) { return c.Run("INSERT INTO nowhere VALUES (1)"); }).ok());
  database->reset();
  EXPECT_EQ(Database::Open(path, one).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(DatabaseTest, MigrationKeepsChecksumsAndBuilds) {
  os::Scratch scratch;
  const std::string path = scratch / "x.db";
  {
    auto before = Database::Open(path, {Migrations().begin(), Migrations().begin() + 4});
    ASSERT_TRUE(before.ok()) << before.status();
    EXPECT_TRUE((*before)
                    ->Write([](Connection& c) -> absl::Status {
                      EXPECT_TRUE(c.Run("INSERT INTO snapshot_checksums VALUES ('a', ?1)", Bytes{std::string(5000, 'x')}).ok());
                      return c.Run("INSERT INTO builds VALUES ('b', 3, 1, ?1)", Bytes{"record"});
                    })
                    .ok());
  }
  auto after = Database::Open(path, Migrations());
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_TRUE((*after)
                  ->Read([](Connection& c) -> absl::Status {
                    auto query =
                        c.Prepare("SELECT length(tree), ref, completed_us, pinned, record FROM snapshot_checksums, builds WHERE snapshot = 'a'");
                    EXPECT_TRUE(query.ok() && *query->Step());
                    EXPECT_EQ(query->Int(0), 5000);
                    EXPECT_EQ(query->Text(1) + query->Text(2) + query->Text(3) + query->Text(4), "b31record");
                    return absl::OkStatus();
                  })
                  .ok());
}

TEST(DatabaseTest, RollsBackAndReadsWhileWriting) {
  os::Scratch scratch;
  auto database = Database::Open(scratch / "x.db", {"CREATE TABLE a (x)"});
  ASSERT_TRUE(database.ok());
  const auto count = [&] {
    std::int64_t n = -1;
    EXPECT_TRUE((*database)
                    ->Read([&](Connection& c) -> absl::Status {
                      auto query = c.Prepare("SELECT count(*) FROM a");
                      EXPECT_TRUE(query.ok() && query->Step().ok());
                      n = query->Int(0);
                      return absl::OkStatus();
                    })
                    .ok());
    return n;
  };
  const absl::Status failed = (*database)->Write([&](Connection& c) -> absl::Status {
    EXPECT_TRUE(c.Run("INSERT INTO a VALUES (?1)", "text").ok());
    EXPECT_EQ(count(), 0) << "a reader sees what was committed, and does not wait";
    return absl::CancelledError("no");
  });
  EXPECT_EQ(failed.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(count(), 0);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        EXPECT_TRUE((*database)->Write([&](Connection& c) { return c.Run("INSERT INTO a VALUES (?1)", i); }).ok());
        count();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count(), 200);
}

TEST(MetadataTest, SetsABrokenDatabaseAside) {
  os::Scratch scratch;
  const std::string path = scratch / "metadata.db";
  const auto boot_of = [&] {
    auto database = OpenMetadata(scratch.path());
    EXPECT_TRUE(database.ok()) << database.status();
    return database.ok();
  };
  const auto aside = [&] {
    int count = 0;
    const auto entries = *os::ListDirectory(scratch.path());
    for (const os::DirectoryEntry& entry : entries) {
      count += absl::StrContains(entry.name, ".broken-") && !absl::EndsWith(entry.name, "-wal") && !absl::EndsWith(entry.name, "-shm");
    }
    return count;
  };
  ASSERT_TRUE(boot_of());
  ASSERT_EQ(::unlink((path + "-wal").c_str()), 0);  // which would have put it right
  ASSERT_TRUE(os::WriteFileAtomic(path, std::string(9000, 'g')).ok());
  ASSERT_TRUE(boot_of());
  EXPECT_EQ(aside(), 1);
  ASSERT_TRUE(boot_of());
  EXPECT_EQ(aside(), 1) << "the new one is sound";
}

TEST(MetadataTest, LooksForDamageThatWasMet) {
  os::Scratch scratch;
  {
    auto database = OpenMetadata(scratch.path());
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE((*database)->Write([](Connection& c) { return c.Run("INSERT INTO meta VALUES ('here', '1')"); }).ok());
    EXPECT_FALSE((*database)->Read([](Connection&) { return absl::DataLossError("a page is broken"); }).ok());
  }
  EXPECT_TRUE(os::Lstat(scratch / "metadata.db.suspect").ok());
  auto database = OpenMetadata(scratch.path());
  ASSERT_TRUE(database.ok());
  EXPECT_FALSE(os::Lstat(scratch / "metadata.db.suspect").ok());
  EXPECT_TRUE((*database)
                  ->Read([](Connection& c) -> absl::Status {
                    auto query = c.Prepare("SELECT 1 FROM meta WHERE key = 'here'");
                    return query.ok() && *query->Step() ? absl::OkStatus() : absl::NotFoundError("it was set aside though it was sound");
                  })
                  .ok());
}

class BlobsTest : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    blobs_.reset();
    database_.reset();
    auto database = OpenMetadata(scratch_.path());
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
    auto blobs = LocalBlobs::Open(scratch_.path(), database_.get());
    ASSERT_TRUE(blobs.ok()) << blobs.status();
    blobs_ = *std::move(blobs);
  }
  void PretendReboot() {
    ASSERT_TRUE(database_->Write([](Connection& c) { return c.Run("UPDATE meta SET value = 'other' WHERE key = 'boot_id'"); }).ok());
  }

  os::Scratch scratch_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<LocalBlobs> blobs_;
};

TEST_F(BlobsTest, KeepsWhatWasCommitted) {
  auto digest = blobs_->Put("hello");
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(*digest, oci::Digest::Of("hello"));
  EXPECT_EQ(*blobs_->Read(*digest), "hello");
  EXPECT_EQ(*blobs_->Size(*digest), 5);
  EXPECT_TRUE(blobs_->Put("hello").ok()) << "twice is once";
  EXPECT_FALSE(blobs_->Has(oci::Digest::Of("other")));
  EXPECT_EQ(blobs_->Open(oci::Digest::Of("other")).status().code(), absl::StatusCode::kNotFound);
  Reopen();
  EXPECT_EQ(*blobs_->Read(*digest), "hello");
}

TEST_F(BlobsTest, RefusesWrongContent) {
  auto writer = blobs_->NewWriter();
  ASSERT_TRUE((*writer)->Write("abc").ok());
  const auto wrong = (*writer)->Commit(oci::Digest::Of("abd"));
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(wrong.status().message().find(oci::Digest::Of("abd").str()), absl::string_view::npos);
  auto other = blobs_->NewWriter();
  ASSERT_TRUE((*other)->Write("abc").ok());
  EXPECT_FALSE((*other)->Commit({}, 4).ok());
  other->reset();
  writer->reset();
  EXPECT_TRUE(os::ListDirectory(scratch_ / "blobs/tmp")->empty());
  EXPECT_TRUE(os::ListDirectory(scratch_ / "blobs/sha256")->empty());
}

TEST_F(BlobsTest, KnowsSourcesForAsLongAsTheBlob) {
  const oci::Digest digest = *blobs_->Put("document");
  EXPECT_FALSE(*blobs_->HasSource(digest, "docker.io/library/a"));
  ASSERT_TRUE(blobs_->AddSource(digest, "docker.io/library/a").ok());
  ASSERT_TRUE(blobs_->AddSource(oci::Digest::Of("not here"), "docker.io/library/a").ok());
  Reopen();
  EXPECT_TRUE(*blobs_->HasSource(digest, "docker.io/library/a"));
  EXPECT_FALSE(*blobs_->HasSource(digest, "docker.io/library/b"));
  EXPECT_FALSE(*blobs_->HasSource(oci::Digest::Of("not here"), "docker.io/library/a"));
  ASSERT_TRUE(blobs_->Collect(std::chrono::seconds(0)).ok());
  ASSERT_TRUE(blobs_->Put("document").ok());
  EXPECT_FALSE(*blobs_->HasSource(digest, "docker.io/library/a"));
}

TEST_F(BlobsTest, CollectsWhatNobodyNeeds) {
  const oci::Digest owned = *blobs_->Put("owned"), pinned = *blobs_->Put("pinned"), loose = *blobs_->Put("loose"), dropped = *blobs_->Put("dropped");
  ASSERT_TRUE(database_->Write([&](Connection& c) { return OwnBlob(c, "snapshot/x", owned); }).ok());
  auto pin = blobs_->Pin(pinned);
  EXPECT_EQ(*blobs_->Collect(std::chrono::seconds(60), {dropped}), 7);
  EXPECT_TRUE(blobs_->Has(loose)) << "just written: within the grace";
  EXPECT_FALSE(blobs_->Has(dropped));
  EXPECT_EQ(*blobs_->Collect(std::chrono::seconds(0)), 5);
  EXPECT_TRUE(blobs_->Has(pinned));
  EXPECT_TRUE(blobs_->Has(owned));
  pin.reset();
  ASSERT_TRUE(database_->Write([&](Connection& c) { return DisownBlobs(c, "snapshot/x"); }).ok());
  EXPECT_EQ(*blobs_->Collect(std::chrono::seconds(0)), 11);
  EXPECT_TRUE(os::ListDirectory(scratch_ / "blobs/sha256")->empty());
}

TEST_F(BlobsTest, SurvivesAKillButNotAPowerCut) {
  const oci::Digest a = *blobs_->Put("a");
  Reopen();
  EXPECT_TRUE(blobs_->Has(a)) << "a kill loses nothing";
  PretendReboot();
  Reopen();
  EXPECT_FALSE(blobs_->Has(a)) << "nobody knows whether it reached the disk";
  EXPECT_TRUE(os::ListDirectory(scratch_ / "blobs/sha256")->empty());
  const oci::Digest b = *blobs_->Put("b");
  ASSERT_TRUE(MarkDurable(*database_, scratch_.path()).ok());
  const oci::Digest c = *blobs_->Put("c");
  PretendReboot();
  Reopen();
  EXPECT_TRUE(blobs_->Has(b));
  EXPECT_FALSE(blobs_->Has(c));
  const oci::Digest d = *blobs_->Put("d");
  const auto number = NumberVolatile(*database_, scratch_.path(), Moment::kStop);
  ASSERT_TRUE(number.ok() && *number > 0) << number.status();
  const oci::Digest e = *blobs_->Put("e");
  blobs_.reset();
  database_.reset();
  ASSERT_TRUE(SyncLater(scratch_.path(), *number).ok());
  while (*LastSync(scratch_.path(), /*wait=*/true) < *number) std::this_thread::yield();
  Reopen();
  PretendReboot();
  Reopen();
  EXPECT_TRUE(blobs_->Has(d)) << "handed over at a stop";
  EXPECT_FALSE(blobs_->Has(e)) << "written after the stop was prepared";
}

TEST_F(BlobsTest, CacheIndexRemembers) {
  CacheIndex index(database_.get());
  const absl::Time created = absl::FromUnixMicros(1234567);
  EXPECT_FALSE(index.ResultOf("k")->has_value());
  ASSERT_TRUE(index.SaveResult("k", {"", created}).ok());
  EXPECT_EQ((*index.ResultOf("k"))->snapshot, "") << "scratch is a result";
  ASSERT_TRUE(index.SaveResult("k", {"snap", created}).ok());
  EXPECT_EQ((*index.ResultOf("k"))->snapshot, "snap");
  EXPECT_EQ((*index.ResultOf("k"))->created_at, created);
  ASSERT_TRUE(index.SaveAlias("d", "what it reads").ok());
  EXPECT_EQ(*index.Alias("d"), "what it reads");
  EXPECT_EQ(*index.Alias("e"), "");
  ASSERT_TRUE(database_->Write([](Connection& c) { return CacheIndex::DropSnapshot(c, "snap"); }).ok());
  EXPECT_FALSE(index.ResultOf("k")->has_value());
  EXPECT_EQ(*index.Alias("d"), "what it reads");
}

TEST_F(BlobsTest, PartsGoWithWhatTheyBelongTo) {
  CacheIndex index(database_.get());
  const auto any = [&](const std::vector<std::int64_t>& parts) { return *index.AnyHas(parts); };
  ASSERT_TRUE(index.SaveResult("k1", {"snap", absl::Now()}, {1, 2, -3}).ok());
  ASSERT_TRUE(index.SaveResult("k2", {"", absl::Now()}, {1, 4}).ok());
  ASSERT_TRUE(index.SaveAlias("d", "value", {5, 1}).ok());
  EXPECT_TRUE(any({1}) && any({2, 1}) && any({-3}) && any({1, 4}) && any({1, 5}));
  EXPECT_FALSE(any({2, 4}) || any({6}) || any({1, 6}));
  ASSERT_TRUE(database_->Write([](Connection& c) { return CacheIndex::DropSnapshot(c, "snap"); }).ok());
  EXPECT_FALSE(any({2}));
  EXPECT_TRUE(any({4}));
  ASSERT_TRUE(index.DropResult("k2").ok());
  EXPECT_FALSE(any({4}));
  ASSERT_TRUE(database_->Write([](Connection& c) { return c.Run("UPDATE cache_aliases SET created_us = 0"); }).ok());
  EXPECT_TRUE(any({5}));
  Reopen();
  EXPECT_FALSE(*CacheIndex(database_.get()).AnyHas({1}));
}

TEST_F(BlobsTest, OldAliasesGo) {
  CacheIndex index(database_.get());
  ASSERT_TRUE(index.SaveAlias("old", "1").ok());
  ASSERT_TRUE(index.SaveAlias("new", "2").ok());
  ASSERT_TRUE(database_->Write([](Connection& c) { return c.Run("UPDATE cache_aliases SET created_us = 0 WHERE key = 'old'"); }).ok());
  Reopen();
  CacheIndex reopened(database_.get());
  EXPECT_EQ(*reopened.Alias("old"), "");
  EXPECT_EQ(*reopened.Alias("new"), "2");
}

}  // namespace
}  // namespace cachalot::store
