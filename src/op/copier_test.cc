#include "op/copier.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
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
  // That two trees hold the same. Names that share a file in one share one in the other, and no file is in both.
  void ExpectSame(const std::string& a, const std::string& b) {
    const struct stat x = St(a), y = St(b);
    EXPECT_EQ(x.st_mode, y.st_mode) << a;
    EXPECT_EQ(x.st_mtim.tv_sec, y.st_mtim.tv_sec) << a;
    EXPECT_EQ(x.st_mtim.tv_nsec, y.st_mtim.tv_nsec) << a;
    EXPECT_NE(x.st_ino, y.st_ino) << a;
    if (!S_ISDIR(x.st_mode)) {
      EXPECT_EQ(x.st_nlink, y.st_nlink) << a;
      EXPECT_EQ(inodes_.try_emplace(x.st_ino, y.st_ino).first->second, y.st_ino) << a;
      if (S_ISREG(x.st_mode)) {
        EXPECT_EQ(Get(a), Get(b)) << a;
      }
      return;
    }
    auto names = [&](const std::string& path) {
      std::set<std::string> set;
      const auto entries = os::ListDirectory(scratch_ / path);
      EXPECT_TRUE(entries.ok()) << entries.status();
      for (const os::DirectoryEntry& entry : entries.value_or(std::vector<os::DirectoryEntry>())) set.insert(entry.name);
      return set;
    };
    ASSERT_EQ(names(a), names(b)) << a;
    for (const std::string& name : names(a)) ExpectSame(absl::StrCat(a, "/", name), absl::StrCat(b, "/", name));
  }
  os::Scratch scratch_;
  std::unique_ptr<TreeWriter> writer_;
  std::map<ino_t, ino_t> inodes_;  // of the source's files: the target's
};

TEST_F(CopierTest, FileIntoMissingDirectoryIsAFileOfItsOwn) {
  Put("src/a", "hello", 0640);
  const timespec times[2] = {{1'000'000'000, 1}, {1'600'000'000, 2}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (scratch_ / "src/a").c_str(), times, 0), 0);
  ASSERT_TRUE(Copy("/a", "/x/y/").ok());
  EXPECT_EQ(St("upper/x/y/a").st_atim.tv_sec, St("src/a").st_mtim.tv_sec) << "a file's time of access may be a client's mark";
  EXPECT_EQ(Get("upper/x/y/a"), "hello");
  EXPECT_NE(St("upper/x/y/a").st_ino, St("src/a").st_ino);
  EXPECT_EQ(St("upper/x/y/a").st_nlink, 1u);
  EXPECT_EQ(St("upper/x/y/a").st_mode & 07777, 0640u);
  EXPECT_EQ(St("upper/x/y/a").st_mtim.tv_nsec, St("src/a").st_mtim.tv_nsec);
  EXPECT_EQ(St("upper/x").st_mode & 07777, 0755u);
}

TEST_F(CopierTest, HolesStayHoles) {
  constexpr off_t kSize = 64 << 20;
  Put("src/sparse", "begin");
  const UniqueFd fd(::open((scratch_ / "src/sparse").c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::pwrite(fd.get(), "middle", 6, 5'000'000), 6);
  ASSERT_EQ(::ftruncate(fd.get(), kSize), 0);
  ASSERT_TRUE(Copy("/sparse", "/sparse").ok());
  EXPECT_EQ(St("upper/sparse").st_size, kSize);
  EXPECT_LE(St("upper/sparse").st_blocks, St("src/sparse").st_blocks);
  auto read = [&](const char* path) { return *os::ReadFile(scratch_ / path, kSize + 1); };
  EXPECT_TRUE(read("upper/sparse") == read("src/sparse"));
}

// A random tree arrives whole: kinds, contents, modes, times, and which names share a file. SEED repeats a run.
TEST_F(CopierTest, RandomTreesArriveWhole) {
  const char* given = std::getenv("SEED");
  const unsigned first = given != nullptr ? std::strtoul(given, nullptr, 10) : 1, count = given != nullptr ? 1 : 6;
  for (unsigned seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(absl::StrCat("SEED=", seed));
    std::mt19937 random(seed);
    const std::string name = absl::StrCat("t", seed);
    std::vector<std::string> directories = {"src/" + name}, files;
    ASSERT_TRUE(os::MakeDirectories(scratch_ / directories[0]).ok());
    for (unsigned i = 0, entries = random() % 600; i < entries; ++i) {
      const std::string path = absl::StrCat(directories[random() % directories.size()], "/", i);
      const unsigned kind = random() % 10;
      if (kind == 0) {
        ASSERT_EQ(::mkdir((scratch_ / path).c_str(), 0700), 0);
        directories.push_back(path);
      } else if (kind == 1) {
        ASSERT_EQ(::symlink("nowhere", (scratch_ / path).c_str()), 0);
      } else if (kind == 2 && !files.empty()) {
        ASSERT_EQ(::link((scratch_ / files[random() % files.size()]).c_str(), (scratch_ / path).c_str()), 0);
      } else {
        Put(path, std::string(random() % 5 == 0 ? random() % 200'000 : random() % 100, static_cast<char>('a' + random() % 26)), random() % 01000);
        files.push_back(path);
      }
    }
    for (const std::string& path : directories) {
      ASSERT_EQ(::chmod((scratch_ / path).c_str(), random() % 010000), 0);
      const timespec times[2] = {{0, UTIME_OMIT}, {static_cast<time_t>(random()), static_cast<long>(random() % 1'000'000'000)}};
      ASSERT_EQ(::utimensat(AT_FDCWD, (scratch_ / path).c_str(), times, 0), 0);
    }
    ASSERT_TRUE(Copy("/" + name, "/" + name).ok());
    ExpectSame("src/" + name, "upper/" + name);
  }
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

TEST_F(CopierTest, DirectoryOnTheWayToAPatternTakesTheSourcesMode) {
  Put("lower/t/old/x");
  Put("src/old/a");
  Put("src/new/a");
  ASSERT_EQ(::chmod((scratch_ / "lower/t/old").c_str(), 0711), 0);
  ASSERT_EQ(::chmod((scratch_ / "src/old").c_str(), 01755), 0);
  CopyRules rules;
  rules.include = *PatternMatcher::Create({"*/a"});
  rules.symbolic_mode = *SymbolicMode::Parse("go-rwx");
  rules.directory_contents = true;
  ASSERT_TRUE(Copy("/", "/t", std::move(rules)).ok());
  EXPECT_EQ(St("upper/t/old").st_mode & 07777, 01755u);
  EXPECT_EQ(St("upper/t/new").st_mode & 07777, 0700u);
  EXPECT_EQ(St("upper/t/old/a").st_mode & 07777, 0600u);
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
  EXPECT_EQ(apply("u+s,+t", S_IFREG | 0644), 05644u);
  EXPECT_EQ(apply("+xt", S_IFREG | 0644), 01755u);
  EXPECT_EQ(apply("o+st", S_IFREG | 0644), 0644u) << "others have no special bits";
  EXPECT_EQ(apply("u+x,g=X", S_IFREG | 0644), 0704u) << "X asks for the mode before all changes";
  EXPECT_EQ(apply("g=u", S_IFREG | 02750), 02770u) << "copies leave special bits alone";
  EXPECT_EQ(apply("u=rwx", S_IFDIR | 07700), 03700u);
  EXPECT_EQ(apply("a=rx", S_IFDIR | 01777), 01555u);
  EXPECT_EQ(apply("g=u-w", S_IFREG | 0640), 0640u);
  EXPECT_EQ(apply("-X", S_IFREG | 0755), 0644u);
  EXPECT_FALSE(SymbolicMode::Parse("u~x").ok());
  EXPECT_FALSE(SymbolicMode::Parse("u").ok());
}

}  // namespace
}  // namespace cachalot::op
