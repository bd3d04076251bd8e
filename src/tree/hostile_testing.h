// Hostile trees, names and races, and something outside that has to stay as it is. For the tests of every room that touches trees:
//
//   RunApart([] {                      in a process whose root is a scratch directory: what climbs out meets the canary, not the host
//     Hostile hostile(seed);           one seed, one sequence of names, links, attributes and choices
//     Canary canary("/", {"work"});    what no operation may read, change or link
//     hostile.Grow(directory_fd, 40);  files, links, pipes, devices, hard links, attributes beneath a directory
//     Churn churn(seed, {fd...});      swaps what is beneath the directories for links while operations run
//     ...
//     return canary.Difference();
//   });
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/unique_fd.h"
#include "os/file.h"
#include "os/scratch_testing.h"

namespace cachalot::tree {

inline std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* const text = ::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// A tree with every kind of entry. Access times count: they are set to before the modification times, so that any reading changes them.
class Canary {
 public:
  static constexpr char kSecret[] = "the canary's secret, which must not be found in any tree";

  // Fills the directory; `except` are names in it that do not count.
  explicit Canary(std::string directory, std::vector<std::string> except = {}) : directory_(std::move(directory)), except_(std::move(except)) {
    EXPECT_TRUE(os::MakeDirectories(directory_ + "/a/b").ok());
    EXPECT_TRUE(os::MakeDirectories(directory_ + "/etc").ok());
    for (const char* name : {"/file", "/a/x", "/a/b/f", "/etc/passwd"}) {
      EXPECT_TRUE(os::WriteFileAtomic(directory_ + name, kSecret, 0640).ok());
      EXPECT_EQ(::setxattr((directory_ + name).c_str(), "user.canary", "1", 1, 0), 0);
      EXPECT_EQ(::chown((directory_ + name).c_str(), 77, 78), 0);
    }
    EXPECT_EQ(::symlink("file", (directory_ + "/link").c_str()), 0);
    EXPECT_EQ(::mkfifo((directory_ + "/pipe").c_str(), 0600), 0);
    for (const char* name : {"/file", "/a/x", "/a/b/f", "/etc/passwd", "/link", "/pipe", "/a/b", "/etc", "/a", ""}) {
      const timespec times[2] = {{1000, 0}, {2'000'000'000, 5}};
      EXPECT_EQ(::utimensat(AT_FDCWD, (directory_ + name).c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
    }
    before_ = Listing();
  }

  // What is not as it was, or "".
  std::string Difference() const {
    const std::map<std::string, std::string> now = Listing();
    std::string text;
    for (const auto& [path, line] : before_) {
      const auto found = now.find(path);
      if (found == now.end()) {
        absl::StrAppend(&text, path, " is gone\n");
      } else if (found->second != line) {
        absl::StrAppend(&text, path, ": ", line, " became ", found->second, "\n");
      }
    }
    for (const auto& [path, line] : now) {
      if (before_.count(path) == 0) absl::StrAppend(&text, path, " is new: ", line, "\n");
    }
    return text;
  }

  // The paths beneath `directory` of files that hold the canary's data, or are the canary's.
  static std::vector<std::string> Leaks(int directory, const std::string& prefix = "") {
    std::vector<std::string> leaks;
    const auto entries = os::ListDirectory(directory);
    if (!entries.ok()) return leaks;
    for (const auto& entry : *entries) {
      struct stat st;
      if (::fstatat(directory, entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (S_ISDIR(st.st_mode)) {
        const UniqueFd below(::openat(directory, entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!below.valid()) continue;
        for (std::string& leak : Leaks(below.get(), absl::StrCat(prefix, "/", entry.name))) leaks.push_back(std::move(leak));
      } else if (S_ISREG(st.st_mode) && st.st_size == sizeof(kSecret) - 1) {
        const UniqueFd file(::openat(directory, entry.name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
        if (file.valid() && os::ReadAll(file.get(), 1000, entry.name).value_or("") == kSecret) leaks.push_back(absl::StrCat(prefix, "/", entry.name));
      }
    }
    return leaks;
  }

 private:
  std::map<std::string, std::string> Listing() const {
    std::map<std::string, std::string> lines;
    const UniqueFd root(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC));
    if (root.valid()) List(root.get(), "", lines);
    return lines;
  }
  void List(int directory, const std::string& path, std::map<std::string, std::string>& lines) const {
    struct stat st = {};
    ::fstat(directory, &st);
    lines[path.empty() ? "/" : path] = Line(st, directory);
    const auto entries = os::ListDirectory(directory);
    if (!entries.ok()) return;
    for (const auto& entry : *entries) {
      if (path.empty() && std::find(except_.begin(), except_.end(), entry.name) != except_.end()) continue;
      const std::string below = absl::StrCat(path, "/", entry.name);
      ::fstatat(directory, entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW);
      const int type = S_ISDIR(st.st_mode) ? O_DIRECTORY : 0;
      UniqueFd fd;
      if (type != 0 || S_ISREG(st.st_mode)) fd.reset(::openat(directory, entry.name.c_str(), O_RDONLY | O_NOATIME | O_NOFOLLOW | O_CLOEXEC | type));
      if (type != 0 && fd.valid()) {
        List(fd.get(), below, lines);
      } else {
        lines[below] = Line(st, fd.get());
      }
    }
  }
  static std::string Line(const struct stat& st, int fd) {
    std::string line =
        absl::StrCat(st.st_ino, " ", absl::Hex(st.st_mode), " ", st.st_uid, ":", st.st_gid, " links ", st.st_nlink, " size ", st.st_size);
    for (const timespec& time : {st.st_atim, st.st_mtim, st.st_ctim}) absl::StrAppend(&line, " ", time.tv_sec, ".", time.tv_nsec);
    char names[1024];
    const ssize_t size = fd < 0 ? 0 : ::flistxattr(fd, names, sizeof names);
    if (size > 0) absl::StrAppend(&line, " ", std::string(names, static_cast<std::size_t>(size)));
    if (S_ISREG(st.st_mode) && fd >= 0) absl::StrAppend(&line, " ", os::ReadAll(fd, 10000, "canary").value_or("unreadable"));
    return line;
  }

  const std::string directory_;
  const std::vector<std::string> except_;
  std::map<std::string, std::string> before_;
};

// Runs `body` in a process of its own, whose root is an empty directory with /proc and /work. Returns what it returns: "" when all is well.
inline std::string RunApart(const std::function<std::string()>& body) {
  os::Scratch scratch;
  for (const char* name : {"proc", "work"}) EXPECT_TRUE(os::MakeDirectories(scratch / name).ok());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return "pipe failed";
  const pid_t child = ::fork();
  if (child == 0) {
    std::string text = "cannot enter a root directory of its own";
    if (::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
        ::mount("/proc", (scratch / "proc").c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0 && ::chroot(scratch.path().c_str()) == 0 &&
        ::chdir("/") == 0) {
      text = body();
    }
    (void)os::WriteAll(ends[1], text, "result");
    ::_exit(0);
  }
  UniqueFd result(ends[0]);
  ::close(ends[1]);
  std::string text = os::ReadAll(result.get(), 1 << 20, "result").value_or("no result");
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0 ? text : absl::StrCat("ended with status ", status, ": ", text);
}

// The source of everything that an attacker chooses.
class Hostile {
 public:
  explicit Hostile(std::uint64_t seed) : random_(seed) {}

  std::size_t Below(std::size_t n) { return n == 0 ? 0 : random_() % n; }
  bool Once(std::size_t in) { return Below(in) == 0; }
  template <typename T>
  const T& Pick(const std::vector<T>& choices) {
    return choices[Below(choices.size())];
  }

  // A name; mostly one of few, so that entries meet.
  std::string Name() {
    static const std::vector<std::string> kFew = {"a", "b", "c", "etc", "file", "x"};
    static const std::vector<std::string> kOdd = {".",
                                                  "..",
                                                  "",
                                                  "new\nline",
                                                  ".wh.a",
                                                  ".wh..wh..opq",
                                                  ".wh..",
                                                  ".wh...",
                                                  ".wh.",
                                                  "...",
                                                  std::string(255, 'n'),
                                                  std::string(256, 'm'),
                                                  "\xff\xfe",
                                                  "*",
                                                  "[a",
                                                  "a b",
                                                  "nope",
                                                  ":,\\",
                                                  std::string("..\0x", 4),
                                                  std::string("a\0b", 3)};
    return Once(8) ? Pick(kOdd) : Pick(kFew);
  }
  // A name that the file system takes.
  std::string PlainName() {
    while (true) {
      std::string name = Name();
      if (!name.empty() && name != "." && name != ".." && name.size() < 256 && name.find('\0') == std::string::npos) return name;
    }
  }
  // A path of several names, of every form.
  std::string Path() {
    if (Once(20)) return absl::StrCat(Climb(), Name());
    if (Once(20)) return absl::StrCat("nope/../", Name(), "/", Name());
    std::string path = Once(2) ? "/" : "";
    for (std::size_t i = 0, n = 1 + Below(4); i < n; ++i) absl::StrAppend(&path, i == 0 ? "" : Once(10) ? "//" : "/", Name());
    if (Once(10)) path += Pick<std::string>({"/", "/.", "/..", "//"});
    if (Once(60)) path = absl::StrJoin(std::vector<std::string>(600, "deep/name"), "/");
    return path;
  }
  // What a link holds.
  std::string LinkTarget() {
    switch (Below(11)) {
      case 0: return Pick<std::string>({"/a", "/file", "/a/b", "/etc", "/none", "/etc/passwd"});
      case 1: return absl::StrCat(Climb(), Pick<std::string>({"", "a", "file", "etc/passwd"}));
      case 2:
      case 9: return absl::StrCat("nope/", Once(2) ? "" : "more/../", "../", Name(), "/", Pick<std::string>({"a", "etc", "file", "new"}));
      case 3: return absl::StrCat(Name(), "/", Name(), "/../../", Climb(), Name());
      case 4:
      case 10: return "/";
      case 5: return Name().empty() ? "." : Name() + "/..";
      case 6: return Pick<std::string>({".", "..", "a", "b", "link", "/a/link", "../a", "/proc/self/root", "/proc/self/cwd", "/dev/null"});
      case 7: return Path().empty() ? "/" : absl::StrCat("/", Path());
      default: return absl::StrCat(Name(), "/", Name());
    }
  }
  std::pair<std::string, std::string> Xattr() {
    return Pick<std::pair<std::string, std::string>>({{"user.x", "1"},
                                                      {"trusted.overlay.opaque", "y"},
                                                      {"trusted.overlay.redirect", "/etc"},
                                                      {"trusted.overlay.metacopy", ""},
                                                      {"user.overlay.opaque", "y"},
                                                      {"security.capability", std::string("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20)},
                                                      {"trusted.mine", std::string(3000, 'v')}});
  }
  mode_t Mode() { return Pick<mode_t>({0644, 0755, 0600, 0, 04755, 01777, 02711, 0777}); }
  uid_t Id() { return Pick<uid_t>({0, 0, 1, 1000, 65534, 0x7fffffff}); }

  // Makes entries beneath `root` as somebody would who may do anything there; what does not work is left out.
  void Grow(int root, int entries) {
    for (int i = 0; i < entries; ++i) {
      const UniqueFd directory = Wander(root);
      const std::string name = PlainName();
      GrowOne(root, directory.get(), name);
      if (Once(4)) {
        const auto [key, value] = Xattr();
        (void)::lsetxattr(absl::StrCat(os::DescriptorPath(directory.get()), "/", name).c_str(), key.c_str(), value.data(), value.size(), 0);
      }
      if (Once(4)) (void)::fchownat(directory.get(), name.c_str(), Id(), Id(), AT_SYMLINK_NOFOLLOW);
    }
  }
  // A directory at or beneath `root`, reached without following links.
  UniqueFd Wander(int root) {
    UniqueFd at(::openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    while (!Once(3)) {
      UniqueFd next(::openat(at.get(), PlainName().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!next.valid()) break;
      at = std::move(next);
    }
    return at;
  }

 private:
  std::string Climb() {
    std::string up;
    const std::string step = Once(4) ? std::string("..\0x/", 5) : "../";  // the kernel sees two dots in both
    for (std::size_t i = 0, n = 1 + Below(12); i < n; ++i) up += step;
    return up;
  }
  void GrowOne(int root, int directory, const std::string& name) {
    const char* const c = name.c_str();
    switch (Below(10)) {
      case 0:
      case 1:
      case 2: (void)::symlinkat(LinkTarget().c_str(), directory, c); break;
      case 3:
      case 4:
      case 5: (void)::mkdirat(directory, c, 0755); break;
      case 6: {
        const UniqueFd other = Wander(root);
        (void)::linkat(other.get(), PlainName().c_str(), directory, c, 0);
        break;
      }
      case 7: (void)::mknodat(directory, c, Pick<mode_t>({S_IFIFO, S_IFSOCK, S_IFCHR}) | 0600, Once(2) ? makedev(0, 0) : makedev(1, 3)); break;
      default: {
        const UniqueFd file(::openat(directory, c, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
        if (file.valid()) (void)os::WriteAll(file.get(), std::string(Below(300), 'z'), name);
        if (file.valid()) (void)::fchmod(file.get(), Mode());
      }
    }
  }

  std::mt19937_64 random_;
};

// While it lives, entries beneath the directories are exchanged with links and moved about.
class Churn {
 public:
  Churn(std::uint64_t seed, std::vector<int> directories) {
    for (std::size_t i = 0; i < directories.size(); ++i) {
      threads_.emplace_back([this, seed, i, fd = directories[i]] {
        Hostile hostile(seed * 31 + i);
        while (!stop_) Turn(hostile, fd);
      });
    }
  }
  ~Churn() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  static void Turn(Hostile& hostile, int root) {
    const UniqueFd one = hostile.Wander(root), two = hostile.Wander(root);
    const std::string name = hostile.PlainName(), other = hostile.PlainName();
    switch (hostile.Below(4)) {
      case 0:
      case 1: {
        const std::string link = absl::StrCat(".swap", hostile.Below(4));
        (void)::symlinkat(hostile.LinkTarget().c_str(), one.get(), link.c_str());
        (void)::renameat2(one.get(), name.c_str(), one.get(), link.c_str(), RENAME_EXCHANGE);
        if (hostile.Once(2)) (void)::renameat2(one.get(), name.c_str(), one.get(), link.c_str(), RENAME_EXCHANGE);
        (void)::unlinkat(one.get(), link.c_str(), 0);
        break;
      }
      case 2: (void)::renameat2(one.get(), name.c_str(), two.get(), other.c_str(), hostile.Once(2) ? RENAME_EXCHANGE : RENAME_NOREPLACE); break;
      default: hostile.Grow(root, 1);
    }
  }

  std::atomic<bool> stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace cachalot::tree
