// What happens when files are not where rows say: after a loss of power, or when somebody removed them.
#include "absl/strings/str_cat.h"
#include "snapshot/snapshots_testing.h"
#include "store/durability.h"

namespace cachalot::snapshot {
namespace {

class LostFilesTest : public SnapshotsTest {
 protected:
  // The directory of a snapshot's layer.
  std::string LayerOf(const SnapshotPtr& snapshot) { return snapshots_->LayerDirectories(snapshot)->front(); }
  void Sync(store::Moment moment) {
    const auto number = store::NumberVolatile(*database_, scratch_.path(), moment);
    ASSERT_TRUE(number.ok()) << number.status();
    if (*number > 0) {
      ASSERT_TRUE(store::SyncNow(scratch_.path(), *number).ok());
    }
  }
  void ReopenAfterReboot() {
    ASSERT_TRUE(database_->Write([](store::Connection& c) { return c.Run("UPDATE meta SET value = 'other' WHERE key = 'boot_id'"); }).ok());
    Reopen();
  }
};

TEST_F(LostFilesTest, ASnapshotWithoutItsFolderIsGoneWithWhatStandsOnIt) {
  SnapshotPtr base = Make(nullptr, [](const std::string& root) { WriteFile(root + "/a", "1"); });
  SnapshotPtr middle = Make(base, [](const std::string& root) { WriteFile(root + "/b", "2"); });
  SnapshotPtr top = Make(middle, [](const std::string& root) { WriteFile(root + "/c", "3"); });
  const SnapshotId base_id = base->id(), middle_id = middle->id(), top_id = top->id();
  const std::string folder = LayerOf(middle);
  for (SnapshotPtr* snapshot : {&top, &middle, &base}) snapshot->reset();
  Close();
  ASSERT_TRUE(os::RemoveTree(folder).ok());
  Open();
  EXPECT_EQ(*snapshots_->Get(top_id), nullptr);
  EXPECT_EQ(*snapshots_->Get(middle_id), nullptr);
  EXPECT_NE(*snapshots_->Get(base_id), nullptr);
  EXPECT_EQ(snapshots_->DiskUsage({})->size(), 1U);
  Reopen();
  EXPECT_EQ(*snapshots_->Get(top_id), nullptr);
  EXPECT_NE(*snapshots_->Get(base_id), nullptr);
}

TEST_F(LostFilesTest, ANamedTreeWithoutItsFolderIsForgotten) {
  SnapshotPtr cache = *snapshots_->Prepare(nullptr, {"cache", "exec.cachemount"});
  ASSERT_TRUE(snapshots_->Keep(cache).ok() && snapshots_->SetName(cache, "mount/x").ok());
  const std::string folder = LayerOf(cache);
  cache.reset();
  Close();
  ASSERT_TRUE(os::RemoveTree(folder).ok());
  Open();
  EXPECT_EQ(*snapshots_->FindNamed("mount/x"), nullptr);
}

TEST_F(LostFilesTest, AnUnpackedLayerWithoutItsFolderIsUnpackedAgain) {
  const Layer layer = fetcher_.Add(TarBuilder().File("a", "1").Finish());
  SnapshotPtr image = *snapshots_->FromLayer(nullptr, layer, {"image"});
  ASSERT_TRUE(snapshots_->Materialize(image, fetcher_, {}).ok());
  const SnapshotId id = image->id();
  const std::string folder = LayerOf(image);
  image.reset();
  Close();
  ASSERT_TRUE(os::RemoveTree(folder).ok());
  Open();
  EXPECT_EQ(*snapshots_->Get(id), nullptr);
  image = *snapshots_->FromLayer(nullptr, layer, {"image"});
  ASSERT_TRUE(snapshots_->Materialize(image, fetcher_, {}).ok());
  EXPECT_EQ(ReadFile(View(image)->path() + "/a"), "1");
}

TEST_F(LostFilesTest, ALayerWhoseBlobIsLostIsMadeAgain) {
  const SnapshotPtr made = Make(nullptr, [](const std::string& root) { WriteFile(root + "/a", "1"); });
  const oci::Digest digest = snapshots_->Layers(made, {}, false, fetcher_, {})->at(0).blob.digest;
  const std::string path = absl::StrCat(scratch_.path(), "/blobs/sha256/", digest.hex()), bytes = *blobs_->Read(digest);
  const auto damages = std::vector<std::function<void()>>{[&] { ::unlink(path.c_str()); },
                                                          [&] { WriteFile(path, bytes.substr(0, bytes.size() / 2)); }, [&] { WriteFile(path, ""); }};
  for (const auto& damage : damages) {
    damage();
    EXPECT_FALSE(blobs_->Has(digest));
    EXPECT_FALSE(snapshots_->LayersAtHand(made, {})->has_value());
    EXPECT_TRUE(snapshots_->KnownLayers(made).empty());
    const auto layers = snapshots_->Layers(made, {}, false, fetcher_, {});
    ASSERT_TRUE(layers.ok()) << layers.status();
    EXPECT_EQ(*blobs_->Read(layers->at(0).blob.digest), bytes);
  }
  EXPECT_EQ(fetcher_.fetches, 0);
}

TEST_F(LostFilesTest, AFetchedBlobThatIsCutShortIsFetchedAgain) {
  const Layer layer = fetcher_.Add(TarBuilder().File("a", std::string(10000, 'x')).Finish());
  const SnapshotPtr image = *snapshots_->FromLayer(nullptr, layer, {"image"});
  ASSERT_TRUE(snapshots_->Layers(image, {}, false, fetcher_, {}).ok());
  WriteFile(absl::StrCat(scratch_.path(), "/blobs/sha256/", layer.blob.digest.hex()), "short");
  MemoryFetcher other;
  const Layer with_source = [&] {
    Layer known = layer;
    known.sources = {"registry/repository"};
    return known;
  }();
  const SnapshotPtr again = *snapshots_->FromLayer(nullptr, with_source, {"image"});
  ASSERT_TRUE(snapshots_->Materialize(again, fetcher_, {}).ok());
  EXPECT_EQ(fetcher_.fetches, 2);
  EXPECT_EQ(ReadFile(View(again)->path() + "/a").size(), 10000U);
}

TEST_F(LostFilesTest, PowerIsLostBeforeAndAfterTheSync) {
  SnapshotPtr synced = Make(nullptr, [](const std::string& root) { WriteFile(root + "/a", "1"); });
  Sync(store::Moment::kRunning);
  SnapshotPtr loose = Make(synced, [](const std::string& root) { WriteFile(root + "/b", "2"); });
  const SnapshotId synced_id = synced->id(), loose_id = loose->id();
  loose.reset();
  synced.reset();
  ReopenAfterReboot();
  EXPECT_EQ(*snapshots_->Get(loose_id), nullptr);
  synced = *snapshots_->Get(synced_id);
  ASSERT_NE(synced, nullptr);
  EXPECT_EQ(ReadFile(View(synced)->path() + "/a"), "1");
}

TEST_F(LostFilesTest, WhatStandsOnALayerThatWasUnpackedSinceTheSyncIsKept) {
  Layer layer = fetcher_.Add(TarBuilder().File("a", "1").Finish());
  layer.sources = {"registry/repository"};
  SnapshotPtr image = *snapshots_->FromLayer(nullptr, layer, {"image"});
  SnapshotPtr top = *snapshots_->Commit(*snapshots_->Prepare(image, {"needs no files of the image"}));
  const SnapshotId id = top->id();
  Sync(store::Moment::kRunning);
  ASSERT_TRUE(snapshots_->Materialize(image, fetcher_, {}).ok());
  const std::string folder = LayerOf(image);
  top.reset();
  image.reset();
  WriteFile(folder + "/a", "torn");
  ReopenAfterReboot();
  top = *snapshots_->Get(id);
  ASSERT_NE(top, nullptr);
  ASSERT_TRUE(snapshots_->Materialize(top, fetcher_, {}).ok());
  EXPECT_EQ(ReadFile(View(top)->path() + "/a"), "1");
}

TEST_F(LostFilesTest, AMutableTreeIsKeptUntilItIsAboutToChange) {
  SnapshotPtr cache = *snapshots_->Prepare(nullptr, {"cache", "exec.cachemount"});
  ASSERT_TRUE(snapshots_->Keep(cache).ok() && snapshots_->SetName(cache, "mount/x").ok());
  WriteFile((*snapshots_->MountTree(cache, false))->path() + "/data", "kept");
  cache.reset();
  Sync(store::Moment::kRunning);
  ReopenAfterReboot();
  EXPECT_EQ(*snapshots_->FindNamed("mount/x"), nullptr) << "it might have been changing";

  cache = *snapshots_->Prepare(nullptr, {"cache", "exec.cachemount"});
  ASSERT_TRUE(snapshots_->Keep(cache).ok() && snapshots_->SetName(cache, "mount/x").ok());
  WriteFile((*snapshots_->MountTree(cache, false))->path() + "/data", "kept");
  cache.reset();
  Sync(store::Moment::kStop);
  ReopenAfterReboot();
  cache = *snapshots_->FindNamed("mount/x");
  ASSERT_NE(cache, nullptr);
  EXPECT_EQ(ReadFile(View(cache)->path() + "/data"), "kept");
  cache.reset();
  ReopenAfterReboot();
  cache = *snapshots_->FindNamed("mount/x");
  ASSERT_NE(cache, nullptr) << "nobody has changed it";
  WriteFile((*snapshots_->MountTree(cache, false))->path() + "/data", "changing");
  cache.reset();
  ReopenAfterReboot();
  EXPECT_EQ(*snapshots_->FindNamed("mount/x"), nullptr);
}

}  // namespace
}  // namespace cachalot::snapshot
