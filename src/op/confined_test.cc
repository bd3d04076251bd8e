// What archives and links may not do, one case each; op/hostile_test.cc looks for more.
#include <gtest/gtest.h>
#include <sys/xattr.h>

#include "absl/strings/str_cat.h"
#include "codec/tar.h"
#include "op/copier.h"
#include "op/file_actions.h"
#include "os/scratch_testing.h"

namespace cachalot::op {
namespace {

class ConfinedTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"source", "upper", "lower", "outside"}) ASSERT_TRUE(os::MakeDirectories(scratch_ / name).ok());
    ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "outside/kept", "outside").ok());
    writer_ = *TreeWriter::OpenDirectories(scratch_ / "upper", {scratch_ / "lower"});
  }
  void Add(codec::TarType type, const std::string& path, const std::string& link = "", std::map<std::string, std::string> xattrs = {}) {
    codec::TarEntry entry;
    entry.path = path;
    entry.type = type;
    entry.link = link;
    entry.mode = 0755;
    entry.xattrs = std::move(xattrs);
    ASSERT_TRUE(tar_.Add(entry).ok());
  }
  absl::Status Unpack() {
    EXPECT_TRUE(tar_.Finish().ok());
    EXPECT_TRUE(os::WriteFileAtomic(scratch_ / "source/x.tar", sink_.bytes()).ok());
    const auto source = *SourceTree::Over({scratch_ / "source"});
    return UnpackAction(*source, "/x.tar", *writer_, "/", std::nullopt, std::nullopt, {}).status();
  }
  // Whether the tree has `name` below the path that the directory outside has on this host.
  bool Inside(const std::string& name) { return os::Lstat(absl::StrCat(scratch_ / "upper", scratch_ / "outside", "/", name)).ok(); }
  std::size_t Outside() { return os::ListDirectory(scratch_ / "outside")->size(); }

  os::Scratch scratch_;
  codec::StringSink sink_;
  codec::TarWriter tar_{&sink_};
  std::unique_ptr<TreeWriter> writer_;
};

TEST_F(ConfinedTest, ArchivesDoNotClimbOutOfDirectoriesThatDoNotExist) {
  const std::string outside = scratch_ / "outside";
  Add(codec::TarType::kSymlink, "b", "/");
  Add(codec::TarType::kSymlink, "a", absl::StrCat("nope/../b", outside));
  Add(codec::TarType::kSymlink, "c", absl::StrCat("x/y/../../../../b", outside));
  Add(codec::TarType::kFile, "a/one");
  Add(codec::TarType::kFile, "c/two");
  Add(codec::TarType::kFile, absl::StrCat("nope/../b", outside, "/three"));
  ASSERT_TRUE(Unpack().ok());
  EXPECT_EQ(Outside(), 1u);
  for (const char* name : {"one", "two", "three"}) EXPECT_TRUE(Inside(name)) << name;
}

TEST_F(ConfinedTest, FileOperationsDoNotClimbOutOfDirectoriesThatDoNotExist) {
  ASSERT_TRUE(MakeSymlinkAction({"/", "/b", {}, -1}, std::nullopt, *writer_).ok());
  ASSERT_TRUE(MakeSymlinkAction({absl::StrCat("nope/../b", scratch_ / "outside"), "/a", {}, -1}, std::nullopt, *writer_).ok());
  llb::FileMkdir mkdir;
  mkdir.path = "/a/made/deep";
  mkdir.mode = 0755;
  mkdir.make_parents = true;
  ASSERT_TRUE(MakeDirectoryAction(mkdir, std::nullopt, *writer_).ok());
  ASSERT_TRUE(MakeFileAction({"/a/file", "x", 0644, {}, -1}, std::nullopt, *writer_).ok());
  EXPECT_TRUE(Inside("made/deep"));
  EXPECT_TRUE(Inside("file"));
  ASSERT_TRUE(RemoveAction({"/a/kept", true, false}, *writer_).ok());
  ASSERT_TRUE(RemoveAction({"/a/*", true, true}, *writer_).ok());
  EXPECT_EQ(os::ReadFile(scratch_ / "outside/kept", 100).value(), "outside");
  EXPECT_EQ(Outside(), 1u);
}

TEST_F(ConfinedTest, ArchivesDoNotSteerOverlayfs) {
  if (!os::CanMount()) GTEST_SKIP() << "trusted attributes need root";
  Add(codec::TarType::kDirectory, "bin", "", {{"trusted.overlay.opaque", "y"}, {"trusted.overlay.redirect", "/etc"}, {"user.mine", "1"}});
  Add(codec::TarType::kFile, "file", "", {{"trusted.overlay.metacopy", "y"}, {"user.overlay.origin", "1"}, {"user.mine", "1"}});
  ASSERT_TRUE(Unpack().ok());
  char names[1000];
  for (const char* name : {"upper/bin", "upper/file"}) {
    const ssize_t size = ::llistxattr((scratch_ / name).c_str(), names, sizeof names);
    ASSERT_GE(size, 0);
    EXPECT_EQ(std::string(names, static_cast<std::size_t>(size)).find("overlay"), std::string::npos) << name;
    EXPECT_EQ(::lgetxattr((scratch_ / name).c_str(), "user.mine", names, sizeof names), 1) << name;
  }
}

}  // namespace
}  // namespace cachalot::op
