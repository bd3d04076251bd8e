#include "op/copier.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "os/scratch_testing.h"

namespace cachalot::op {
namespace {

// Source and target are plain directories; `lower` stands for what the target's parent snapshot has.
class CopierTest : public testing::Test {
 protected:
  CopierTest() {
    for (const char* name : {"src", "upper", "lower"}) ::mkdir((scratch_ / name).c_str(), 0755);
  }
  void Put(const std::string& path, const std::string& data = "data", mode_t mode = 0644) {
    const std::string full = scratch_ / path;
    ASSERT_TRUE(os::MakeDirectories(full.substr(0, full.rfind('/'))).ok());
    ASSERT_TRUE(os::WriteFileAtomic(full, data, mode).ok());
  }
  std::string Get(const std::string& path) {
    auto data = os::ReadFile(scratch_ / path, 1 << 20);
    return data.ok() ? *data : std::string(data.status().message());
  }
  struct stat St(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(::lstat((scratch_ / path).c_str(), &st), 0) << path;
    return st;
  }
  bool Exists(const std::string& path) {
    struct stat st;
    return ::lstat((scratch_ / path).c_str(), &st) == 0;
  }
  absl::Status Copy(const std::string& from, const std::string& to, CopyRules rules = {}) {
    const auto source = SourceTree::Over({scratch_ / "src"});
    if (writer_ == nullptr) writer_ = *TreeWriter::OpenDirectories(scratch_ / "upper", {scratch_ / "lower"});
    return Copier(**source, *writer_, std::move(rules), {}).Copy(from, to);
  }
  os::Scratch scratch_;
  std::unique_ptr<TreeWriter> writer_;
};

TEST_F(CopierTest, FileIntoMissingDirectoryIsLinked) {
  Put("src/a", "hello", 0640);
  ASSERT_TRUE(Copy("/a", "/x/y/").ok());
  EXPECT_EQ(Get("upper/x/y/a"), "hello");
  EXPECT_EQ(St("upper/x/y/a").st_ino, St("src/a").st_ino);
  EXPECT_EQ(St("upper/x").st_mode & 0777, 0755u);
}

TEST_F(CopierTest, SecondNameOfOneInodeIsACopy) {
  Put("src/a", "hello");
  ASSERT_TRUE(Copy("/a", "/x").ok());
  ASSERT_TRUE(Copy("/a", "/y").ok());
  EXPECT_NE(St("upper/x").st_ino, St("upper/y").st_ino);
  EXPECT_EQ(St("upper/x").st_mtim.tv_nsec, St("upper/y").st_mtim.tv_nsec);
}

TEST_F(CopierTest, HardLinksWithinTheSourceStay) {
  Put("src/d/a", "hello");
  ASSERT_EQ(::link((scratch_ / "src/d/a").c_str(), (scratch_ / "src/d/b").c_str()), 0);
  ASSERT_TRUE(Copy("/d", "/linked").ok());
  EXPECT_EQ(St("upper/linked/a").st_ino, St("upper/linked/b").st_ino);
  CopyRules rules;
  rules.mode = 0600;
  ASSERT_TRUE(Copy("/d", "/copied", std::move(rules)).ok());
  EXPECT_EQ(St("upper/copied/a").st_ino, St("upper/copied/b").st_ino);
  EXPECT_NE(St("upper/copied/a").st_ino, St("src/d/a").st_ino);
}

TEST_F(CopierTest, DirectoryGoesBesideOrBecomesTheTarget) {
  Put("src/d/a");
  ASSERT_TRUE(Copy("/d", "/new").ok());
  EXPECT_TRUE(Exists("upper/new/a"));
  ASSERT_TRUE(Copy("/d", "/new").ok());
  EXPECT_TRUE(Exists("upper/new/d/a"));
  CopyRules contents;
  contents.directory_contents = true;
  ASSERT_TRUE(Copy("/d", "/flat", contents).ok());
  ASSERT_TRUE(Copy("/d", "/flat", contents).ok());
  EXPECT_TRUE(Exists("upper/flat/a"));
  EXPECT_FALSE(Exists("upper/flat/d"));
}

TEST_F(CopierTest, ModeOwnerAndTime) {
  Put("src/d/a", "x", 0600);
  CopyRules rules;
  rules.symbolic_mode = *SymbolicMode::Parse("u=rwX,go=rX");
  if (::geteuid() == 0) rules.owner = Owner{12, 34};
  rules.time = timespec{1000, 5};
  ASSERT_TRUE(Copy("/d", "/t", std::move(rules)).ok());
  EXPECT_EQ(St("upper/t/a").st_mode & 07777, 0644u);
  EXPECT_EQ(St("upper/t").st_mode & 07777, 0755u);
  EXPECT_EQ(St("upper/t/a").st_mtim.tv_sec, 1000);
  EXPECT_EQ(St("upper/t").st_mtim.tv_nsec, 5);
  if (::geteuid() == 0) {
    EXPECT_EQ(St("upper/t/a").st_uid, 12u);
    EXPECT_EQ(St("upper/t").st_gid, 34u);
  }
}

TEST_F(CopierTest, DirectoriesOfTheLowerTreeKeepTheirAttributes) {
  Put("lower/usr/bin/tool", "old", 0755);
  ASSERT_EQ(::chmod((scratch_ / "lower/usr").c_str(), 0711), 0);
  Put("src/tool", "new", 0755);
  ASSERT_TRUE(Copy("/tool", "/usr/bin/").ok());
  EXPECT_EQ(Get("upper/usr/bin/tool"), "new");
  EXPECT_EQ(St("upper/usr").st_mode & 0777, 0711u);
  EXPECT_EQ(Get("lower/usr/bin/tool"), "old");
}

TEST_F(CopierTest, LinksOfTheTargetStayInside) {
  ASSERT_TRUE(os::MakeDirectories(scratch_ / "lower/real").ok());
  ASSERT_EQ(::symlink("/real", (scratch_ / "lower/link").c_str()), 0);
  ASSERT_EQ(::symlink("../../../../../../etc", (scratch_ / "lower/out").c_str()), 0);
  Put("src/a");
  ASSERT_TRUE(Copy("/a", "/link/").ok());
  EXPECT_TRUE(Exists("upper/real/a"));
  ASSERT_TRUE(Copy("/a", "/out/a").ok());
  EXPECT_TRUE(Exists("upper/etc/a"));
}

TEST_F(CopierTest, ExistingDirectoryOnTheWayTakesTheSourcesAttributes) {
  Put("lower/t/sub/old");
  Put("src/d/sub/new");
  ASSERT_EQ(::chmod((scratch_ / "src/d/sub").c_str(), 0700), 0);
  ASSERT_EQ(::chmod((scratch_ / "src/d").c_str(), 0700), 0);
  CopyRules contents;
  contents.directory_contents = true;
  ASSERT_TRUE(Copy("/d", "/t", contents).ok());
  EXPECT_EQ(St("upper/t").st_mode & 0777, 0755u);  // the root of the copy keeps its own
  EXPECT_EQ(St("upper/t/sub").st_mode & 0777, 0700u);
  EXPECT_EQ(St("upper/t").st_mtim.tv_sec, St("src/d").st_mtim.tv_sec);
}

TEST_F(CopierTest, PatternsMakeOnlyTheDirectoriesTheyNeed) {
  Put("src/a/b/keep.txt");
  Put("src/a/c/drop.md");
  Put("src/top.txt");
  CopyRules rules;
  rules.include = *PatternMatcher::Create({"**/*.txt"});
  rules.exclude = *PatternMatcher::Create({"top*"});
  rules.directory_contents = true;
  ASSERT_TRUE(Copy("/", "/t", std::move(rules)).ok());
  EXPECT_TRUE(Exists("upper/t/a/b/keep.txt"));
  EXPECT_FALSE(Exists("upper/t/a/c"));
  EXPECT_FALSE(Exists("upper/t/top.txt"));
}

TEST_F(CopierTest, KindsInTheWay) {
  Put("src/file");
  Put("src/d/x");
  Put("lower/t/file/inner");
  Put("lower/d");
  EXPECT_EQ(Copy("/file", "/t").message(), "cannot replace to directory /t/file with file");
  EXPECT_EQ(Copy("/d/", "/d/").message(), "mkdir /d: not a directory");
  CopyRules replace;
  replace.replace = true;
  ASSERT_TRUE(Copy("/file", "/t", replace).ok());
  EXPECT_EQ(Get("upper/t/file"), "data");
}

TEST_F(CopierTest, MissingSourceNamesIt) { EXPECT_EQ(Copy("/nothing", "/t").message(), "lstat /nothing: no such file or directory"); }

TEST_F(CopierTest, RemovalHidesTheLowerTree) {
  if (::geteuid() != 0) GTEST_SKIP() << "whiteouts need root";
  Put("lower/d/a");
  Put("lower/d/b");
  Put("src/n");
  ASSERT_TRUE(Copy("/n", "/d/n").ok());
  ASSERT_TRUE(writer_->Remove("/d").ok());
  EXPECT_TRUE(S_ISCHR(St("upper/d").st_mode));
  EXPECT_FALSE(writer_->Lstat("/d/a")->has_value());
  ASSERT_TRUE(Copy("/n", "/d/").ok());
  EXPECT_EQ(*writer_->List("/d"), std::vector<std::string>{"n"});
  EXPECT_FALSE(writer_->Lstat("/d/b")->has_value());
  ASSERT_TRUE(writer_->Remove("/d").ok());
  EXPECT_FALSE(writer_->Lstat("/d")->has_value());
}

TEST(SymbolicModeTest, Clauses) {
  auto apply = [](const char* text, mode_t mode) { return SymbolicMode::Parse(text)->Apply(mode) & 07777; };
  EXPECT_EQ(apply("+x", S_IFREG | 0644), 0755u);
  EXPECT_EQ(apply("go-w,u+s", S_IFREG | 0666), 04644u);
  EXPECT_EQ(apply("a=r", S_IFREG | 0777), 0444u);
  EXPECT_EQ(apply("g=u", S_IFREG | 0700), 0770u);
  EXPECT_EQ(apply("a+X", S_IFREG | 0600), 0600u);
  EXPECT_EQ(apply("a+X", S_IFDIR | 0600), 0711u);
  EXPECT_EQ(apply("+t", S_IFDIR | 0755), 01755u);
  EXPECT_FALSE(SymbolicMode::Parse("u~x").ok());
  EXPECT_FALSE(SymbolicMode::Parse("u").ok());
}

}  // namespace
}  // namespace cachalot::op
