#include "op/source_tree.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "os/scratch_testing.h"
#include "snapshot/snapshots_testing.h"

namespace cachalot::op {
namespace {

using ::testing::ElementsAre;

// Layers "top" over "middle" over "bottom".
class SourceTreeTest : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_ROOT();
    for (const char* layer : {"top", "middle", "bottom"}) ASSERT_EQ(::mkdir((scratch_ / layer).c_str(), 0755), 0);
  }
  void Put(const std::string& path, const std::string& data) {
    const std::string full = scratch_ / path;
    ASSERT_TRUE(os::MakeDirectories(full.substr(0, full.rfind('/'))).ok());
    ASSERT_TRUE(os::WriteFileAtomic(full, data).ok());
  }
  void Delete(const std::string& path) { ASSERT_EQ(::mknod((scratch_ / path).c_str(), S_IFCHR, makedev(0, 0)), 0); }
  void MakeOpaque(const std::string& path) {
    ASSERT_TRUE(os::MakeDirectories(scratch_ / path).ok());
    ASSERT_EQ(::setxattr((scratch_ / path).c_str(), "trusted.overlay.opaque", "y", 1, 0), 0);
  }
  std::unique_ptr<SourceTree> Tree() { return *SourceTree::Over({scratch_ / "top", scratch_ / "middle", scratch_ / "bottom"}); }
  std::string Read(SourceTree& tree, const std::string& path) {
    const absl::StatusOr<UniqueFd> fd = tree.OpenFile(path);
    return fd.ok() ? *os::ReadAll(fd->get(), 1000, path) : std::string(fd.status().message());
  }

  os::Scratch scratch_;
};

TEST_F(SourceTreeTest, TheTopmostEntryCounts) {
  Put("top/d/a", "top");
  Put("bottom/d/a", "bottom");
  Put("bottom/d/b", "bottom");
  const auto tree = Tree();
  EXPECT_EQ(Read(*tree, "/d/a"), "top");
  EXPECT_EQ(Read(*tree, "/d/b"), "bottom");
  EXPECT_THAT(*tree->List("/d"), ElementsAre("a", "b"));
  EXPECT_EQ(tree->Locate("/d/b")->layer, 2);
}

TEST_F(SourceTreeTest, DeletionsAndOpaqueDirectoriesHide) {
  Put("bottom/gone", "x");
  Delete("middle/gone");
  Put("bottom/d/old", "x");
  MakeOpaque("middle/d");
  Put("top/d/new", "x");
  const auto tree = Tree();
  EXPECT_FALSE(tree->TryLstat("/gone")->has_value());
  EXPECT_FALSE(tree->TryLstat("/d/old")->has_value());
  EXPECT_THAT(*tree->List("/"), ElementsAre("d"));
  EXPECT_THAT(*tree->List("/d"), ElementsAre("new"));
}

TEST_F(SourceTreeTest, AFileHidesADirectoryAndWhatIsBelowIt) {
  Put("bottom/x/deep", "x");
  Put("middle/x", "file");
  Put("bottom/y/deep", "x");
  Delete("middle/y");
  Put("top/y/new", "x");
  const auto tree = Tree();
  EXPECT_EQ(tree->Lstat("/x/deep").status().message(), "lstat /x/deep: not a directory");
  EXPECT_FALSE(tree->TryLstat("/x/deep")->has_value());
  EXPECT_THAT(*tree->List("/y"), ElementsAre("new"));
  EXPECT_EQ(tree->Lstat("/none/deep").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SourceTreeTest, LinksOfALayerLeadNowhereElse) {
  Put("secret/key", "secret");
  ASSERT_EQ(::symlink((scratch_ / "secret").c_str(), (scratch_ / "bottom/d").c_str()), 0);
  Put("top/d/own", "x");
  const auto hidden = Tree();
  EXPECT_FALSE(hidden->TryLstat("/d/key")->has_value());
  const auto bottom = *SourceTree::Over({scratch_ / "bottom"});
  EXPECT_FALSE(bottom->OpenFile("/d/key").ok());
  EXPECT_EQ(*bottom->Resolve("/d/key", true), scratch_ / "secret/key") << "a path inside the tree, where nothing is";
}

TEST_F(SourceTreeTest, SeesMoreDirectoriesThanItKeepsOpen) {
  for (int i = 0; i < 700; ++i) Put("bottom/d" + std::to_string(i) + "/f", std::to_string(i));
  const auto tree = Tree();
  for (int i = 0; i < 700; ++i) EXPECT_EQ(Read(*tree, "/d" + std::to_string(i) + "/f"), std::to_string(i));
  EXPECT_EQ(tree->List("/")->size(), 700u);
}

TEST_F(SourceTreeTest, NoLayersAreNothing) {
  const auto tree = *SourceTree::Over({});
  EXPECT_FALSE(tree->TryLstat("/a")->has_value());
  EXPECT_TRUE(tree->List("/")->empty());
}

}  // namespace
}  // namespace cachalot::op
