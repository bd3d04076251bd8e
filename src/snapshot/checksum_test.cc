#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "snapshot/checksum_tree.h"
#include "snapshot/snapshots_testing.h"

namespace cachalot::snapshot {
namespace {

class ChecksumTest : public SnapshotsTest {
 protected:
  std::string Sum(const SnapshotPtr& snapshot, const Snapshots::ChecksumOptions& options) {
    auto digest = snapshots_->Checksum(snapshot, options);
    return digest.ok() ? digest->str() : std::string(digest.status().message());
  }
  std::string Sum(const SnapshotPtr& snapshot, const std::string& path, bool follow = true) {
    Snapshots::ChecksumOptions options;
    options.path = path;
    options.follow_links = follow;
    return Sum(snapshot, options);
  }
  std::string Glob(const SnapshotPtr& snapshot, const std::string& path, bool follow = false) {
    Snapshots::ChecksumOptions options;
    options.path = path;
    options.wildcard = true;
    options.follow_links = follow;
    return Sum(snapshot, options);
  }
  std::string Filter(const SnapshotPtr& snapshot, std::vector<std::string> include, std::vector<std::string> exclude = {},
                     const std::string& path = "/") {
    Snapshots::ChecksumOptions options;
    options.path = path;
    options.include_patterns = std::move(include);
    options.exclude_patterns = std::move(exclude);
    return Sum(snapshot, options);
  }
  SnapshotPtr Script(const std::string& script, const SnapshotPtr& parent = nullptr) {
    return Make(parent, [&](const std::string& root) { Shell(root, "umask 022; " + script); });
  }
};

// The values are BuildKit's own for the same trees.
constexpr char kData0[] = "sha256:cd8e75bca50f2d695f220d0cb0997d8ead387e4f926e8669a92d7f104cc9885b";
constexpr char kData1[] = "sha256:c2b5e234f5f38fc5864da7def04782f82501a40d46192e4207d5b3f0c3c4732b";
constexpr char kDirectory[] = "sha256:d47454417d2c554067fbefe5f5719edc49f3cfe969c36b62e34a187a4da0cc9a";
constexpr char kDirectoryByFile[] = "sha256:6b612ad5c13159112ae26357ef7bd34df29916941ba40ec2ce38dfb70c6c60c3";
constexpr char kNothing[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST_F(ChecksumTest, EqualsBuildKitsValues) {
  const SnapshotPtr tree = Script("printf data0 >foo; printf data1 >bar; mkdir d0; printf data0 >d0/abc; ln -s abc d0/def; ln -s nosuchfile d0/ghi");
  EXPECT_EQ(Sum(tree, "foo"), kData0);
  EXPECT_EQ(Sum(tree, "bar"), kData1);
  EXPECT_EQ(Sum(tree, "d0/abc"), kData0);
  EXPECT_EQ(Sum(tree, "d0/def"), kData0);
  EXPECT_NE(Sum(tree, "d0/def", false), kData0);
  EXPECT_EQ(Sum(tree, "nosuch"), "\"/nosuch\": not found");
  EXPECT_EQ(Sum(tree, "d0/ghi"), "\"/d0/ghi\": not found");
  EXPECT_EQ(Sum(tree, "d0"), kDirectory);
  EXPECT_EQ(Sum(tree, "/"), "sha256:427c9cf9ae98c0f81fb57a3076b965c7c149b6b0a85625ad4e884236649a42c6");
  EXPECT_EQ(Sum(Script("printf data0 >abc; ln -s abc def; ln -s nosuchfile ghi"), "/"), kDirectory);
  EXPECT_EQ(Sum(Script("printf data0 >abc; ln -s abc def"), "/"), "sha256:555ffa3028630d97ba37832b749eda85ab676fd64ffb629fbf0f4ec8c1e3bff1");
  EXPECT_EQ(Sum(nullptr, "/"), kNothing);
  EXPECT_EQ(Sum(nullptr, "/x"), "/x: no such file or directory");
}

TEST_F(ChecksumTest, WildcardsEqualBuildKitsValues) {
  const SnapshotPtr tree = Script(
      "printf data1 >bar; printf data0 >foo; printf data2 >fox; mkdir -p x/d0; printf data0 >x/d0/abc; ln -s abc x/d0/def; ln -s nosuchfile "
      "x/d0/ghi; ln -s foo y1; ln -s fox y2");
  EXPECT_EQ(Glob(tree, "f*o"), oci::Digest::Of(absl::StrCat(absl::string_view("\0foo", 4), kData0)).str());
  EXPECT_EQ(Glob(tree, "f*"), "sha256:0b6731924f0a32a812bf8a729202e55e54ded331f9e4ff2397f681e43694e086");
  EXPECT_EQ(Glob(tree, "x/d?"), kDirectoryByFile);
  EXPECT_EQ(Glob(tree, "x/d?/def", true), kData0);
  EXPECT_EQ(Glob(tree, "y*", true), "sha256:982153600b9653a1decb0f961e09e2bc1be335cfcaac9b39dbd1120b65fdf92c");
  EXPECT_EQ(Glob(tree, "nothing*"), kNothing);
}

TEST_F(ChecksumTest, FiltersSelect) {
  const SnapshotPtr tree = Script("printf data0 >foo; printf data1 >bar; mkdir d0 d1; printf abc >d0/abc; printf def >d1/def");
  const SnapshotPtr other = Script("printf data0 >foo; printf new >bar; mkdir d0 d1 d2; printf abc >d0/abc; printf new >d1/def");
  EXPECT_EQ(Filter(tree, {"foo"}), Filter(other, {"foo"}));
  EXPECT_NE(Filter(tree, {"foo", "bar"}), Filter(other, {"foo", "bar"}));
  EXPECT_EQ(Filter(tree, {"d0"}), Filter(other, {"d0"}));
  EXPECT_EQ(Filter(tree, {"**/abc"}), Filter(other, {"**/abc"}));
  EXPECT_NE(Filter(tree, {"d1/*"}), Filter(other, {"d1/*"}));
  EXPECT_EQ(Filter(tree, {}, {"bar", "d1", "d2"}), Filter(other, {}, {"bar", "d1", "d2"}));
  EXPECT_NE(Filter(tree, {}, {"bar", "d1"}), Filter(other, {}, {"bar", "d1"}));
  EXPECT_EQ(Filter(tree, {"nothing"}), kNothing);
  EXPECT_EQ(Filter(tree, {"abc"}, {}, "/d0"), Filter(other, {"abc"}, {}, "/d0"));
  Snapshots::ChecksumOptions bad;
  bad.include_patterns = {"[a"};
  EXPECT_FALSE(snapshots_->Checksum(tree, bad).ok());
}

TEST_F(ChecksumTest, WhatCounts) {
  const std::string base = Sum(Script("mkdir d; echo x >d/f"), "/d");
  EXPECT_EQ(Sum(Script("mkdir d; echo x >d/f; touch -d @1000000000 d/f d"), "/d"), base) << "times do not";
  EXPECT_NE(Sum(Script("mkdir d; echo x >d/f; chmod 600 d/f"), "/d"), base);
  EXPECT_NE(Sum(Script("mkdir d; echo x >d/f; chown 5 d/f"), "/d"), base);
  EXPECT_NE(Sum(Script("mkdir d; echo x >d/f; chmod 700 d"), "/d"), base);
  EXPECT_NE(Sum(Script("mkdir d; echo x >d/g"), "/d"), base);
  EXPECT_NE(Sum(Script("mkdir d; echo x >d/f; mkdir d/e"), "/d"), base);
  const SnapshotPtr attribute = Make(nullptr, [](const std::string& root) {
    Shell(root, "umask 022; mkdir d; echo x >d/f");
    ASSERT_EQ(setxattr((root + "/d/f").c_str(), "trusted.x", "1", 1, 0), 0);
  });
  EXPECT_NE(Sum(attribute, "/d"), base);
}

TEST_F(ChecksumTest, LayersLinksAndRestart) {
  const SnapshotPtr base = Script("mkdir -p usr/lib a; echo 1 >usr/lib/x; echo 2 >usr/lib/y; ln -s usr/lib lib; ln -s /lib a/up; ln -s loop loop");
  const SnapshotPtr top = Script("rm usr/lib/y; echo 3 >usr/lib/z", base);
  const SnapshotPtr flat = Script("mkdir -p usr/lib; echo 1 >usr/lib/x; echo 3 >usr/lib/z");
  EXPECT_EQ(Sum(top, "/usr/lib"), Sum(flat, "/usr/lib"));
  EXPECT_EQ(Sum(top, "/a/up/x"), Sum(flat, "/usr/lib/x"));
  EXPECT_EQ(Sum(top, "/lib"), Sum(flat, "/usr/lib"));
  EXPECT_EQ(Glob(top, "/lib/*"), Glob(flat, "/usr/lib/*"));
  EXPECT_NE(Sum(top, "/usr/lib"), Sum(base, "/usr/lib"));
  EXPECT_FALSE(snapshots_->Checksum(top, {"/loop/x", false, true, {}, {}}).ok());
}

TEST_F(ChecksumTest, ActiveTreesAreLookedAtAgain) {
  const SnapshotPtr active = *snapshots_->Prepare(nullptr, {"checkout", "source.git.checkout"});
  ASSERT_TRUE(snapshots_->Keep(active).ok() && snapshots_->SetName(active, "git/x").ok());
  const auto tree = *snapshots_->MountTree(active, false);
  Shell(tree->path(), "umask 022; for i in $(seq 300); do echo $i >f$i; done; mkdir d; echo x >d/x");
  const std::string before = Sum(active, "/");
  EXPECT_EQ(Sum(active, "/"), before);
  Shell(tree->path(), "echo y >d/x");
  const std::string after = Sum(active, "/");
  EXPECT_NE(after, before);
  Shell(tree->path(), "echo x >d/x; touch new");
  EXPECT_NE(Sum(active, "/"), before);
  Shell(tree->path(), "rm new");
  EXPECT_EQ(Sum(active, "/"), before);
}

class ClientTreeTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::mkdir((scratch_ / "context").c_str(), 0755), 0); }
  std::string Digest() {
    tree_.Begin([&] { return scratch_ / "context"; }, ChecksumTree::Origin::kClientDirectory, &pool_);
    ChecksumNode* const root = tree_.Resolve("/", false, nullptr).value();
    const std::string text = tree_.DigestOf(root, "").value();
    tree_.End();
    return text;
  }
  void Note(const std::vector<std::string>& directories) { tree_.NoteChanges(&directories); }

  os::Scratch scratch_;
  WorkerPool pool_{"test", 2};
  ChecksumTree tree_{false};
};

// COPY links the files of a client's directory into layers.
TEST_F(ClientTreeTest, AFileThatWasLinkedIsNotReadAgain) {
  WriteFile(scratch_ / "context/f", "one");
  struct stat made;
  ASSERT_EQ(::stat((scratch_ / "context/f").c_str(), &made), 0);
  while (absl::Now() < absl::TimeFromTimespec(made.st_ctim) + absl::Milliseconds(25)) ::usleep(5'000);  // a younger one would be read again
  const std::string before = Digest();
  const std::size_t hashed = tree_.hashed();
  ASSERT_EQ(::link((scratch_ / "context/f").c_str(), (scratch_ / "layer").c_str()), 0);
  tree_.NoteChanges(nullptr);
  EXPECT_EQ(Digest(), before);
  EXPECT_EQ(tree_.hashed(), hashed);
  // Replaced by one with the same size and time.
  struct stat old;
  ASSERT_EQ(::stat((scratch_ / "context/f").c_str(), &old), 0);
  WriteFile(scratch_ / "new", "two");
  const timespec times[2] = {old.st_atim, old.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, (scratch_ / "new").c_str(), times, 0), 0);
  ASSERT_EQ(::rename((scratch_ / "new").c_str(), (scratch_ / "context/f").c_str()), 0);
  tree_.NoteChanges(nullptr);
  EXPECT_NE(Digest(), before);
}

TEST_F(ClientTreeTest, ChangesAreSeenWhereTheyAreNoted) {
  ASSERT_TRUE(os::MakeDirectories(scratch_ / "context/a/b").ok());
  WriteFile(scratch_ / "context/a/b/f", "one");
  WriteFile(scratch_ / "context/a/g", "one");
  const std::string before = Digest();
  const auto replace = [&](const std::string& path, const std::string& text) {
    ASSERT_EQ(::unlink((scratch_ / path).c_str()), 0);
    WriteFile(scratch_ / path, text);
  };
  replace("context/a/b/f", "two");
  Note({});
  EXPECT_EQ(Digest(), before) << "nothing was noted";
  Note({"a/b"});
  const std::string changed = Digest();
  EXPECT_NE(changed, before);
  ASSERT_TRUE(os::MakeDirectories(scratch_ / "context/a/c/d").ok());
  WriteFile(scratch_ / "context/a/c/d/new", "x");
  Note({"a/c/d", "a/c", "a"});
  const std::string added = Digest();
  EXPECT_NE(added, changed);
  replace("context/a/b/f", "one");
  ASSERT_TRUE(os::RemoveTree(scratch_ / "context/a/c").ok());
  tree_.NoteChanges(nullptr);
  EXPECT_EQ(Digest(), before);
}

// Random changes of a client's directory, each with an end, with one that does not say where, or without one, while engines come and go:
// what is remembered of the directory never outlives what it was.
TEST_F(ChecksumTest, AClientsDirectoryIsWhatItIsNow) {
  const char* const given = std::getenv("CACHALOT_SEED");
  const unsigned seed = given != nullptr ? std::stoul(given) : std::random_device()();
  SCOPED_TRACE(absl::StrCat("CACHALOT_SEED=", seed));
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  SnapshotPtr active = *snapshots_->Prepare(nullptr, {"context", "source.local"});
  ASSERT_TRUE(snapshots_->Keep(active).ok() && snapshots_->SetName(active, "local:x").ok());
  std::string root = (*snapshots_->MountTree(active, false))->path();
  Shell(root, "umask 022; for d in a a/b c; do mkdir $d; for i in $(seq 100); do echo $i >$d/f$i; done; done");
  for (int round = 0; round < 60; ++round) {
    ASSERT_TRUE(snapshots_->BeginChanges(active).ok());
    std::vector<std::string> changed;
    for (int i = below(4); i > 0; --i) {
      const std::string directory = std::vector<std::string>{"", "a", "a/b", "c"}[below(4)];
      const std::string file = absl::StrCat(root, "/", directory, "/f", below(120));
      ::unlink(file.c_str());  // a client's files are replaced, never changed
      if (below(4) > 0) WriteFile(file, absl::StrCat(below(1000)));
      changed.push_back(directory);
    }
    if (const int end = below(4); end > 0) {
      ASSERT_TRUE(snapshots_->EndChanges(active, end > 1 ? &changed : nullptr).ok());
    }
    if (below(3) == 0) {
      const SnapshotId id = active->id();
      active = nullptr;
      Reopen();
      active = *snapshots_->Get(id);
      root = (*snapshots_->MountTree(active, false))->path();
    }
    if (below(3) == 0) continue;  // several changes between two looks
    ChecksumTree fresh(false);
    fresh.Begin([&] { return root; }, ChecksumTree::Origin::kClientDirectory, &cpu_);
    ChecksumNode* const node = fresh.Resolve("/", false, nullptr).value();
    ASSERT_EQ(Sum(active, "/"), fresh.DigestOf(node, "").value()) << "round " << round;
  }
}

TEST_F(ChecksumTest, RemembersAcrossRestart) {
  std::string before;
  SnapshotId id;
  {
    const SnapshotPtr tree = Script("for i in $(seq 500); do echo $i >f$i; done");
    before = Sum(tree, "/");
    id = tree->id();
  }
  Reopen();
  const SnapshotPtr tree = *snapshots_->Get(id);
  // A committed snapshot does not change; this test does it to see that nothing is read again.
  Shell(View(tree)->path(), "echo other >f7");
  EXPECT_EQ(Sum(tree, "/"), before);
}

}  // namespace
}  // namespace cachalot::snapshot
