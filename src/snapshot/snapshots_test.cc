#include "snapshot/snapshots.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include <atomic>
#include <filesystem>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "snapshot/snapshots_testing.h"

namespace cachalot::snapshot {
namespace {

using codec::TarType;

TEST_F(SnapshotsTest, PrepareCommitAndStack) {
  const SnapshotPtr base = Make(nullptr, [](const std::string& root) {
    WriteFile(root + "/a", "1");
    WriteFile(root + "/b", "2");
    Shell(root, "chmod 0711 . && mkdir d && echo x >d/x");
  });
  const SnapshotPtr top = Make(base, [](const std::string& root) {
    EXPECT_EQ(ReadFile(root + "/a"), "1");
    Shell(root, "rm a && echo 3 >c && rm -r d && mkdir d && sync d");
  });
  EXPECT_EQ(top->parent(), base);
  const auto view = View(top);
  EXPECT_EQ(ReadFile(view->path() + "/a"), "(none)");
  EXPECT_EQ(ReadFile(view->path() + "/b"), "2");
  EXPECT_EQ(ReadFile(view->path() + "/c"), "3\n");
  EXPECT_EQ(ReadFile(view->path() + "/d/x"), "(none)");
  struct stat status;
  ASSERT_EQ(stat(view->path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0755U) << "what one step does to the mode of the root, the next does not see";
  EXPECT_EQ(View(top), view) << "readers share a mount";
  EXPECT_EQ(ReadFile(View(base)->path() + "/a"), "1");
  EXPECT_FALSE(snapshots_->MountTree(top, false).ok()) << "committed";
  EXPECT_TRUE(os::ListDirectory(View(nullptr)->path())->empty());
}

TEST_F(SnapshotsTest, SurvivesRestartAndForgetsActives) {
  SnapshotId committed, active, kept;
  absl::Time created_at = absl::InfinitePast();
  const auto time_of_creation = [&] {
    const auto records = *snapshots_->DiskUsage({"id==" + committed});
    return records.size() == 1 ? records[0].created_at : absl::InfiniteFuture();
  };
  {
    const SnapshotPtr snapshot = Make(nullptr, [](const std::string& root) { WriteFile(root + "/a", "1"); });
    committed = Make(snapshot, [](const std::string& root) { WriteFile(root + "/b", "1"); })->id();
    created_at = time_of_creation();
    auto loose = snapshots_->Prepare(snapshot, {"loose"});
    active = (*loose)->id();
    EXPECT_NE(*snapshots_->Get(active), nullptr);
    auto cache = snapshots_->Prepare(nullptr, {"cache", "exec.cachemount"});
    ASSERT_TRUE(snapshots_->Keep(*cache).ok() && snapshots_->SetName(*cache, "mount/x").ok());
    WriteFile((*snapshots_->MountTree(*cache, false))->path() + "/data", "kept");
    kept = (*cache)->id();
  }
  EXPECT_EQ(*snapshots_->Get(active), nullptr) << "its last reference is gone";
  Reopen();
  EXPECT_EQ(*snapshots_->Get(active), nullptr);
  EXPECT_EQ(*snapshots_->Get("nothing"), nullptr);
  const SnapshotPtr again = *snapshots_->Get(committed);
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(time_of_creation(), created_at) << "images show it";
  EXPECT_EQ(ReadFile(View(again)->path() + "/a"), "1");
  const SnapshotPtr named = *snapshots_->FindNamed("mount/x");
  ASSERT_NE(named, nullptr);
  EXPECT_EQ(named->id(), kept);
  EXPECT_EQ(ReadFile((*snapshots_->MountTree(named, false))->path() + "/data"), "kept");
  EXPECT_EQ(*snapshots_->FindNamed("mount/y"), nullptr);
}

TEST_F(SnapshotsTest, WhatNobodyUsesComesBackFromItsRow) {
  const auto describe = [&](const SnapshotId& id, const std::string& description) {
    EXPECT_TRUE(
        database_->Write([&](store::Connection& c) { return c.Run("UPDATE snapshots SET description = ?2 WHERE id = ?1", id, description); }).ok());
  };
  const auto description_of = [&](const SnapshotId& id) { return snapshots_->DiskUsage({"id==" + id})->at(0).label.description; };
  const Layer layer = fetcher_.Add(TarBuilder().File("a", "1").Finish());
  SnapshotPtr base = *snapshots_->FromLayer(nullptr, layer, {"base"});
  ASSERT_TRUE(snapshots_->Materialize(base, fetcher_, {}).ok());
  SnapshotPtr top = Make(base, [](const std::string& root) { WriteFile(root + "/b", "2"); });
  const SnapshotId base_id = base->id(), top_id = top->id();
  ASSERT_TRUE(snapshots_->ReleaseMemory().ok());
  for (const SnapshotId& id : {base_id, top_id}) describe(id, "changed");
  EXPECT_EQ(description_of(base_id), "base") << "what is below one in use stays";
  EXPECT_EQ(description_of(top_id), "test") << "in use";
  base.reset();
  top.reset();
  ASSERT_TRUE(snapshots_->ReleaseMemory().ok());
  EXPECT_EQ(description_of(base_id), "changed");
  EXPECT_EQ(description_of(top_id), "changed");

  top = *snapshots_->Get(top_id);
  ASSERT_NE(top, nullptr);
  EXPECT_EQ(top->parent()->id(), base_id);
  EXPECT_EQ(ReadFile(View(top)->path() + "/a") + ReadFile(View(top)->path() + "/b"), "12");
  EXPECT_EQ(snapshots_->DiskUsage({"id==" + top_id})->at(0).usage_count, 2);
  EXPECT_EQ(snapshots_->KnownLayers(top->parent()).at(0).blob.digest, layer.blob.digest);
  top.reset();
  ASSERT_TRUE(snapshots_->ReleaseMemory().ok());
  base = *snapshots_->FromLayer(nullptr, layer, {"base"});
  EXPECT_EQ(base->id(), base_id) << "found by its content";
  ASSERT_TRUE(snapshots_->Prune({.all = true}, nullptr).ok());
  EXPECT_EQ(*snapshots_->Get(top_id), nullptr);
  EXPECT_EQ(snapshots_->DiskUsage({})->size(), 1u);
}

TEST_F(SnapshotsTest, RecordsComeAndGoWhileTheyAreUsed) {
  std::vector<SnapshotId> ids;
  SnapshotPtr below;
  for (int i = 0; i < 8; ++i) ids.push_back((below = Make(below, [](const std::string& root) { WriteFile(root + "/a", "1"); }))->id());
  below.reset();
  std::atomic<bool> stop = false;
  std::thread tidier([&] {
    while (!stop) EXPECT_TRUE(snapshots_->ReleaseMemory().ok());
  });
  std::thread reader([&] {
    while (!stop) EXPECT_EQ(snapshots_->DiskUsage({})->size(), ids.size());
  });
  std::minstd_rand random(1);
  for (int i = 0; i < 500; ++i) {
    const std::size_t at = random() % ids.size();
    const SnapshotPtr snapshot = *snapshots_->Get(ids[at]);
    ASSERT_NE(snapshot, nullptr);
    ASSERT_EQ(snapshot->parent() == nullptr ? "" : snapshot->parent()->id(), at == 0 ? "" : ids[at - 1]);
  }
  stop = true;
  tidier.join();
  reader.join();
  ASSERT_TRUE(snapshots_->Prune({.all = true}, nullptr).ok());
  for (const SnapshotId& id : ids) EXPECT_EQ(*snapshots_->Get(id), nullptr);
}

TEST_F(SnapshotsTest, ForgottenNamesLeaveTheirSnapshotsToPresentUsers) {
  std::map<std::string, SnapshotPtr> named;
  for (const char* key : {"m", "m:base", "m#1", "mm"}) {
    named[key] = *snapshots_->Prepare(nullptr, {"cache", "exec.cachemount"});
    ASSERT_TRUE(snapshots_->SetName(named[key], key).ok() && snapshots_->Keep(named[key]).ok());
  }
  const SnapshotId used = named["m"]->id(), idle = named["m#1"]->id(), other = named["mm"]->id();
  SnapshotPtr user = named["m"];
  named.clear();
  ASSERT_TRUE(snapshots_->ForgetNames("m").ok());
  for (const char* key : {"m", "m:base", "m#1"}) EXPECT_EQ(*snapshots_->FindNamed(key), nullptr) << key;
  EXPECT_EQ((*snapshots_->FindNamed("mm"))->id(), other);
  EXPECT_EQ(*snapshots_->Get(idle), nullptr) << "nobody used it";
  EXPECT_NE(*snapshots_->Get(used), nullptr);
  user.reset();
  EXPECT_EQ(*snapshots_->Get(used), nullptr);
  Reopen();
  EXPECT_EQ(*snapshots_->Get(used), nullptr);
  EXPECT_EQ((*snapshots_->FindNamed("mm"))->id(), other);
}

TEST_F(SnapshotsTest, WritableTreeCanBeMountedAgain) {
  const SnapshotPtr base = Make(nullptr, [](const std::string& root) { WriteFile(root + "/a", "1"); });
  const SnapshotPtr active = *snapshots_->Prepare(base, {"x"});
  for (int i = 0; i < 3; ++i) {
    auto tree = snapshots_->MountTree(active, false);
    ASSERT_TRUE(tree.ok()) << tree.status();
    WriteFile(absl::StrCat((*tree)->path(), "/", i), "x");
  }
  auto tree = snapshots_->MountTree(active, true);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(ReadFile((*tree)->path() + "/2"), "x");
}

TEST_F(SnapshotsTest, AHiddenDirectoryThatIsFilledAgainHasTheNewEntriesAlone) {
  const Layer one = fetcher_.Add(TarBuilder().Directory("d", 0750).File("d/old", "1").File("d/sub/old", "1").Finish());
  const Layer two = fetcher_.Add(TarBuilder().File(".wh.d", "").File("d/sub/new", "2").Finish());
  const SnapshotPtr top = *snapshots_->FromLayer(*snapshots_->FromLayer(nullptr, one, {}), two, {});
  const absl::Status done = snapshots_->Materialize(top, fetcher_, {});
  ASSERT_TRUE(done.ok()) << done;
  const auto view = View(top);
  EXPECT_EQ(ReadFile(view->path() + "/d/sub/new"), "2");
  EXPECT_FALSE(std::filesystem::exists(view->path() + "/d/old"));
  EXPECT_FALSE(std::filesystem::exists(view->path() + "/d/sub/old"));
}

TEST_F(SnapshotsTest, UnpacksLayersLazily) {
  codec::TarEntry capable = TarBuilder::Entry("usr/bin/ping", TarType::kFile, 04755);
  capable.xattrs = {{"security.capability", std::string("\1\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20)}, {"trusted.overlay.opaque", "y"}};
  capable.uid = 7;
  capable.gid = 8;
  codec::TarEntry null = TarBuilder::Entry("dev/null", TarType::kCharDevice, 0666);
  null.device_major = 1;
  null.device_minor = 3;
  const Layer one = fetcher_.Add(TarBuilder()
                                     .Directory("./", 0750)
                                     .Directory("usr", 0755)
                                     .Directory("usr/bin", 0700)
                                     .Link(TarType::kSymlink, "bin", "usr/bin")
                                     .Add(capable)
                                     .File("bin/through", "link")
                                     .Link(TarType::kHardLink, "again", "usr/bin/through")
                                     .Add(null)
                                     .File("old/keep", "1")
                                     .File("old/drop", "1")
                                     .File("dir/was", "1")
                                     .File("file", "1")
                                     .Finish());
  const Layer two = fetcher_.Add(TarBuilder()
                                     .File("old/.wh.drop", "")
                                     .File("dir/new", "2")
                                     .File("dir/.wh..wh..opq", "")
                                     .File("usr/bin/added", "2")
                                     .File(".wh.file", "")
                                     .Finish());
  const SnapshotPtr base = *snapshots_->FromLayer(nullptr, one, {"one"});
  const SnapshotPtr top = *snapshots_->FromLayer(base, two, {"two"});
  EXPECT_EQ(*snapshots_->FromLayer(base, two, {"two"}), top) << "the same chain is shared";
  EXPECT_EQ(fetcher_.fetches, 0);
  EXPECT_FALSE(snapshots_->MountTree(top, true).ok());

  std::vector<std::thread> builds;
  for (int i = 0; i < 4; ++i) builds.emplace_back([&] { EXPECT_TRUE(snapshots_->Materialize(top, fetcher_, {}).ok()); });
  for (std::thread& build : builds) build.join();
  EXPECT_EQ(fetcher_.fetches, 2);
  EXPECT_EQ(fetcher_.extracted, 2);

  const std::string root = View(top)->path();
  const auto view = View(top);
  struct stat status;
  ASSERT_EQ(lstat((view->path() + "/usr/bin/ping").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 04755U);
  EXPECT_EQ(status.st_uid, 7U);
  EXPECT_EQ(status.st_gid, 8U);
  EXPECT_EQ(status.st_mtim.tv_sec, 1600000000);
  char capability[64];
  EXPECT_EQ(getxattr((view->path() + "/usr/bin/ping").c_str(), "security.capability", capability, sizeof(capability)), 20);
  ASSERT_EQ(lstat((view->path() + "/usr/bin").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700U) << "an implied directory is as below";
  EXPECT_EQ(status.st_mtim.tv_sec, 1600000000);
  ASSERT_EQ(lstat(view->path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0755U) << "a layer's mode of the root is for that layer alone";
  EXPECT_EQ(ReadFile(view->path() + "/again"), "link");
  EXPECT_EQ(ReadFile(view->path() + "/usr/bin/added"), "2");
  ASSERT_EQ(lstat((view->path() + "/dev/null").c_str(), &status), 0);
  EXPECT_TRUE(S_ISCHR(status.st_mode));
  EXPECT_EQ(ReadFile(view->path() + "/old/keep"), "1");
  EXPECT_EQ(ReadFile(view->path() + "/old/drop"), "(none)");
  EXPECT_EQ(ReadFile(view->path() + "/dir/was"), "(none)");
  EXPECT_EQ(ReadFile(view->path() + "/dir/new"), "2");
  EXPECT_EQ(ReadFile(view->path() + "/file"), "(none)");
}

TEST_F(SnapshotsTest, UnpackingStaysBeneathItsRoot) {
  const std::string outside = scratch_ / "outside";
  ASSERT_EQ(mkdir(outside.c_str(), 0755), 0);
  WriteFile(outside + "/victim", "safe");
  const Layer layer = fetcher_.Add(TarBuilder()
                                       .Link(TarType::kSymlink, "out", outside)
                                       .File("out/evil", "x")
                                       .File("../../climb", "x")
                                       .Link(TarType::kSymlink, "up", "../../../..")
                                       .File("up/evil2", "x")
                                       .Link(TarType::kSymlink, "target", outside + "/victim")
                                       .File("target", "x")
                                       .Finish());
  const SnapshotPtr snapshot = *snapshots_->FromLayer(nullptr, layer, {"x"});
  ASSERT_TRUE(snapshots_->Materialize(snapshot, fetcher_, {}).ok());
  EXPECT_EQ(os::ListDirectory(outside)->size(), 1U);
  EXPECT_EQ(ReadFile(outside + "/victim"), "safe");
  EXPECT_EQ(ReadFile(View(snapshot)->path() + "/target"), "x");
  EXPECT_EQ(ReadFile(View(snapshot)->path() + "/climb"), "x") << ".. at the root is the root";
}

TEST_F(SnapshotsTest, WrongLayersAreRefused) {
  Layer wrong = fetcher_.Add(TarBuilder().File("a", "1").Finish());
  wrong.diff_id = oci::Digest::Of("other");
  const SnapshotPtr snapshot = *snapshots_->FromLayer(nullptr, wrong, {"x"});
  const absl::Status status = snapshots_->Materialize(snapshot, fetcher_, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  Layer missing = wrong;
  missing.blob.digest = oci::Digest::Of("missing");
  missing.diff_id = oci::Digest::Of("missing");
  EXPECT_EQ(snapshots_->Materialize(*snapshots_->FromLayer(nullptr, missing, {"x"}), fetcher_, {}).code(), absl::StatusCode::kNotFound);
}

// What an image says of its blobs is believed of this image alone.
TEST_F(SnapshotsTest, ABlobThatOnlyClaimsToHoldTheFilesIsNotTakenForThem) {
  for (const char* type : {"application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd"}) {
    for (const bool lie_first : {true, false}) {
      const std::string text = absl::StrCat("honest ", type, lie_first);
      const Layer honest = fetcher_.Add(TarBuilder().File("a", text).Finish());
      Layer lie = fetcher_.Add(TarBuilder().File("a", "a lie " + text).Finish());
      lie.diff_id = honest.diff_id;
      lie.blob.media_type = type;
      const SnapshotPtr first = *snapshots_->FromLayer(nullptr, lie_first ? lie : honest, {"x"});
      const SnapshotPtr second = *snapshots_->FromLayer(nullptr, lie_first ? honest : lie, {"x"});
      const SnapshotPtr good = lie_first ? second : first;
      EXPECT_EQ(snapshots_->KnownLayers(good)[0].blob.digest, honest.blob.digest);
      EXPECT_EQ(snapshots_->Materialize(lie_first ? first : second, fetcher_, {}).code(), absl::StatusCode::kDataLoss);
      ASSERT_TRUE(snapshots_->Materialize(good, fetcher_, {}).ok());
      EXPECT_EQ(ReadFile(View(good)->path() + "/a"), text);
      const auto layers = snapshots_->Layers(good, {"zstd"}, false, fetcher_, {});
      ASSERT_TRUE(layers.ok()) << layers.status();
      EXPECT_NE((*layers)[0].blob.digest, lie.blob.digest);
      EXPECT_EQ(*snapshots_->FromLayer(nullptr, honest, {"x"}), good);
    }
  }
}

TEST_F(SnapshotsTest, ALayerThatNobodyHasAnyMoreIsLost) {
  Layer layer = fetcher_.Add(TarBuilder().File("a", "1").Finish()), top = fetcher_.Add(TarBuilder().File("b", "2").Finish());
  layer.sources = top.sources = {"registry.test/cache"};
  const auto bytes = std::exchange(fetcher_.bytes, {});
  SnapshotPtr lazy = *snapshots_->FromLayer(nullptr, layer, {"x"});
  const SnapshotId id = (*snapshots_->FromLayer(lazy, top, {"x"}))->id();
  ASSERT_NE(*snapshots_->Get(id), nullptr);
  EXPECT_EQ(snapshots_->Materialize(lazy, fetcher_, {}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(*snapshots_->Get(id), nullptr) << "even while somebody still has what is below";
  lazy.reset();
  Reopen();
  EXPECT_EQ(*snapshots_->Get(id), nullptr);
  fetcher_.bytes = bytes;
  lazy = *snapshots_->FromLayer(nullptr, layer, {"x"});
  EXPECT_TRUE(snapshots_->Materialize(lazy, fetcher_, {}).ok());
}

TEST_F(SnapshotsTest, LazyLayersSurviveRestart) {
  Layer layer = fetcher_.Add(TarBuilder().File("a", "1").Finish());
  layer.sources = {"registry.example/one"};
  layer.blob.annotations = {{"k", "v"}};
  const SnapshotId id = (*snapshots_->FromLayer(nullptr, layer, {"x"}))->id();
  Reopen();
  const SnapshotPtr again = *snapshots_->FromLayer(nullptr, layer, {"x"});
  EXPECT_EQ(again->id(), id);
  ASSERT_TRUE(snapshots_->Materialize(again, fetcher_, {}).ok());
  EXPECT_EQ(ReadFile(View(again)->path() + "/a"), "1");
}

}  // namespace
}  // namespace cachalot::snapshot
