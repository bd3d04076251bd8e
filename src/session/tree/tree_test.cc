// Both ends of the file tree protocol, joined within the process.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "fsutil/wire.pb.h"
#include "os/scratch_testing.h"
#include "session/rpc/call.h"
#include "session/tree/receive.h"
#include "session/tree/send.h"

namespace cachalot::session {
namespace {

namespace fs = std::filesystem;
using fsutil::types::Packet;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kMethod[] = "/moby.filesync.v1.FileSync/DiffCopy";

void Write(const std::string& path, const std::string& content) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << content;
}
std::string Read(const std::string& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}
struct stat Lstat(const std::string& path) {
  struct stat st {};
  EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
  return st;
}
void SetTime(const std::string& path, std::int64_t nanoseconds) {
  const timespec times[2] = {TimespecOf(nanoseconds), TimespecOf(nanoseconds)};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
}
// Everything below `root`, one line each: path, mode, size or target, modification time, content.
std::vector<std::string> Listing(const std::string& root) {
  std::vector<std::string> lines;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const std::string path = entry.path();
    const struct stat st = Lstat(path);
    std::string line = absl::StrCat(path.substr(root.size() + 1), " ", absl::Hex(st.st_mode), " ", ModTimeOf(st));
    if (S_ISREG(st.st_mode)) absl::StrAppend(&line, " ", st.st_size, " ", st.st_nlink, " ", Read(path));
    if (S_ISLNK(st.st_mode)) absl::StrAppend(&line, " -> ", fs::read_symlink(path).string());
    lines.push_back(line);
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}
std::vector<std::string> Paths(const std::string& root) {
  std::vector<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator(root)) paths.push_back(entry.path().string().substr(root.size() + 1));
  std::sort(paths.begin(), paths.end());
  return paths;
}

class TreeTest : public testing::Test {
 protected:
  TreeTest() : source_(scratch_ / "source"), dest_(scratch_ / "dest") {
    fs::create_directory(source_);
    fs::create_directory(dest_);
  }
  // Runs `serve` at the far end of one call, and receives from it.
  absl::StatusOr<SyncStats> ReceiveFrom(RpcHandler serve, const ReceiveOptions& options = {}) {
    const RpcHandlers handlers = {{kMethod, std::move(serve)}};
    auto [near, far] = ByteStreamPair();
    CancelSource quit;
    std::thread serving([&, &far = far] { ServeRpc(*far, handlers, quit.token()).IgnoreError(); });
    const auto connection = RpcConnection::Create(RpcConnection::Role::kCalls);
    std::thread running([&, &near = near] { connection->Run(*near).IgnoreError(); });
    auto result = [&]() -> absl::StatusOr<SyncStats> {
      ASSIGN_OR_RETURN(const RpcCall call, RpcCall::Start(*connection, kMethod, {}, CancelToken()));
      ASSIGN_OR_RETURN(const SyncStats stats, ReceiveTree(*call, dest_, options));
      RETURN_IF_ERROR(call->Finish());
      return stats;
    }();
    quit.Cancel();
    serving.join();
    running.join();
    return result;
  }
  absl::StatusOr<SyncStats> Sync(TreeFilter::Patterns patterns = {}, const ReceiveOptions& options = {}) {
    TreeSource source;
    source.directory = source_;
    source.patterns = std::move(patterns);
    source.marks_changes = marks_changes_;
    return ReceiveFrom([source](RpcStream& stream) { return SendTrees(stream, {source}); }, options);
  }
  // A sender that says just this and waits for the end.
  absl::Status ReceivePackets(const std::vector<Packet>& packets) {
    return ReceiveFrom([&](RpcStream& stream) -> absl::Status {
             for (const Packet& packet : packets) {
               RETURN_IF_ERROR(WriteMessage(stream, packet));
             }
             Packet answer;
             for (;;) {
               ASSIGN_OR_RETURN(const bool more, ReadMessage(stream, answer));
               if (!more || answer.type() == Packet::PACKET_ERR) return absl::OkStatus();
             }
           })
        .status();
  }
  static Packet StatPacket(const std::string& path, std::uint32_t mode, const std::string& linkname = "") {
    Packet packet;
    packet.mutable_stat()->set_path(path);
    packet.mutable_stat()->set_mode(mode);
    packet.mutable_stat()->set_linkname(linkname);
    packet.mutable_stat()->set_uid(getuid());
    packet.mutable_stat()->set_gid(getgid());
    return packet;
  }
  static Packet DataPacket(std::uint32_t id, const std::string& data) {
    Packet packet;
    packet.set_type(Packet::PACKET_DATA);
    packet.set_id(id);
    packet.set_data(data);
    return packet;
  }

  os::Scratch scratch_;
  const std::string source_, dest_;
  bool marks_changes_ = false;
};

// The size and the time say nothing of these changes; the marks of our own client do.
TEST_F(TreeTest, MarksShowChangesThatKeepSizeAndTime) {
  marks_changes_ = true;
  constexpr std::int64_t kTime = 1'600'000'000'123'456'789;
  for (const char* name : {"edited", "swapped", "other", "just"}) {
    Write(source_ + "/" + name, absl::StrCat("first ", name).substr(0, 8));
    SetTime(source_ + "/" + name, kTime);
  }
  ASSERT_TRUE(Sync().ok());
  while (absl::Now() < absl::TimeFromTimespec(Lstat(source_ + "/just").st_ctim) + absl::Milliseconds(25)) usleep(5'000);
  ASSERT_TRUE(Sync().ok());  // anew where they were looked at too soon after they were made
  EXPECT_EQ(Sync()->files, 0);
  Write(source_ + "/edited", "second e");
  SetTime(source_ + "/edited", kTime);
  fs::rename(source_ + "/swapped", source_ + "/tmp");
  fs::rename(source_ + "/other", source_ + "/swapped");
  fs::rename(source_ + "/tmp", source_ + "/other");
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Listing(dest_), Listing(source_));
  // Twice within a tick.
  Write(source_ + "/just", "third ju");
  SetTime(source_ + "/just", kTime);
  ASSERT_TRUE(Sync().ok());
  Write(source_ + "/just", "fourth j");
  SetTime(source_ + "/just", kTime);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Listing(dest_), Listing(source_));
}

// Whoever holds a lease is asked to give it back; the file does not travel empty.
TEST_F(TreeTest, LeasedFilesAreWaitedFor) {
  Write(source_ + "/leased", "content");
  int ready[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  const pid_t holder = fork();
  if (holder == 0) {
    const int fd = open((source_ + "/leased").c_str(), O_RDWR | O_CLOEXEC);
    const char leased = fcntl(fd, F_SETLEASE, F_WRLCK) == 0 ? 'y' : 'n';
    (void)!write(ready[1], &leased, 1);
    for (;;) pause();  // the signal that asks for the lease ends it
  }
  char leased = 'n';
  ASSERT_EQ(read(ready[0], &leased, 1), 1);
  const bool can_lease = leased == 'y';
  if (can_lease) {
    EXPECT_TRUE(Sync().ok());
    EXPECT_EQ(Listing(dest_), Listing(source_));
  }
  kill(holder, SIGKILL);
  waitpid(holder, nullptr, 0);
  for (const int end : ready) close(end);
  if (!can_lease) GTEST_SKIP() << "this file system has no leases";
}

TEST_F(TreeTest, DeepTreesTravel) {
  std::string path = source_;
  while (path.size() < 3900) fs::create_directory(path += "/dddd");
  Write(path + "/file", "content");
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Listing(dest_), Listing(source_));
}

TEST_F(TreeTest, ColdUnchangedChangedDeleted) {
  Write(source_ + "/a/one", "1");
  Write(source_ + "/a/two", std::string(300'000, '2'));
  Write(source_ + "/b/deep/er/three", "3");
  Write(source_ + "/empty", "");
  fs::create_directory(source_ + "/hollow");
  fs::create_symlink("a/one", source_ + "/link");
  ASSERT_EQ(chmod((source_ + "/a/one").c_str(), 04751), 0);
  ASSERT_EQ(chmod((source_ + "/b").c_str(), 0555), 0);
  SetTime(source_ + "/a/one", 1'234'567'890'123'456'789);
  SetTime(source_ + "/b", 1'000'000'000);
  SetTime(source_ + "/link", 5);

  auto stats = Sync();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->files, 4);
  EXPECT_EQ(Listing(dest_), Listing(source_));

  stats = Sync();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->files, 0);
  EXPECT_TRUE(stats->changed_directories.empty());
  EXPECT_EQ(Listing(dest_), Listing(source_));

  Write(source_ + "/a/one", "changed");
  Write(source_ + "/b/new", "n");
  fs::remove_all(source_ + "/b/deep");
  fs::remove(source_ + "/link");
  Write(source_ + "/link/now/a/directory", "x");
  fs::remove(source_ + "/hollow");
  Write(source_ + "/hollow", "now a file");
  stats = Sync();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->files, 4);
  const std::set<std::string> changed(stats->changed_directories.begin(), stats->changed_directories.end());
  EXPECT_EQ(changed, (std::set<std::string>{"", "a", "b", "link", "link/now", "link/now/a"}));
  EXPECT_EQ(Listing(dest_), Listing(source_));
}

TEST_F(TreeTest, OnlyTheTimeOrModeChanged) {
  Write(source_ + "/f", "same");
  Write(source_ + "/g", "same");
  ASSERT_TRUE(Sync().ok());
  SetTime(source_ + "/f", 42);
  ASSERT_EQ(chmod((source_ + "/g").c_str(), 0600), 0);
  const auto stats = Sync();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->files, 2);
  EXPECT_EQ(Listing(dest_), Listing(source_));
}

TEST_F(TreeTest, HardLinks) {
  Write(source_ + "/d/first", "shared");
  fs::create_hard_link(source_ + "/d/first", source_ + "/d/second");
  fs::create_hard_link(source_ + "/d/first", source_ + "/e");
  auto stats = Sync();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->files, 1);
  EXPECT_EQ(Listing(dest_), Listing(source_));
  EXPECT_EQ(Lstat(dest_ + "/d/first").st_ino, Lstat(dest_ + "/e").st_ino);

  const auto kept = Lstat(dest_ + "/d/first").st_ino;
  stats = Sync();
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->files, 0);
  EXPECT_EQ(Lstat(dest_ + "/e").st_ino, kept);

  // No longer a link, though nothing else about it changed.
  const std::int64_t time = ModTimeOf(Lstat(source_ + "/e"));
  fs::remove(source_ + "/e");
  Write(source_ + "/e", "shared");
  SetTime(source_ + "/e", time);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Listing(dest_), Listing(source_));
  EXPECT_NE(Lstat(dest_ + "/d/first").st_ino, Lstat(dest_ + "/e").st_ino);
}

TEST_F(TreeTest, ReplacesFilesThatOthersLinkTo) {
  Write(source_ + "/f", "old");
  ASSERT_TRUE(Sync().ok());
  fs::create_hard_link(dest_ + "/f", scratch_ / "snapshot");
  Write(source_ + "/f", "new!");
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(Read(dest_ + "/f"), "new!");
  EXPECT_EQ(Read(scratch_ / "snapshot"), "old");
}

TEST_F(TreeTest, IncludesExcludesAndFollowedLinks) {
  Write(source_ + "/src/main.c", "m");
  Write(source_ + "/src/skip/x.o", "o");
  Write(source_ + "/src/keep/y.c", "y");
  Write(source_ + "/other/z", "z");
  Write(source_ + "/target/file", "t");
  fs::create_symlink("/target", source_ + "/link");
  ASSERT_TRUE(Sync({.include = {"src", "**/z"}, .exclude = {"src/skip", "other", "!other/z"}}).ok());
  EXPECT_THAT(Paths(dest_), ElementsAre("other", "other/z", "src", "src/keep", "src/keep/y.c", "src/main.c"));
  ASSERT_TRUE(Sync({.follow = {"link/file", "src/*.c"}}).ok());
  EXPECT_THAT(Paths(dest_), ElementsAre("link", "src", "src/main.c", "target", "target/file"));
  ASSERT_TRUE(Sync({.follow = {"."}}).ok());
  EXPECT_EQ(Paths(dest_), Paths(source_));
}

TEST_F(TreeTest, MetadataOnly) {
  Write(source_ + "/a/wanted", "w");
  Write(source_ + "/a/left", "l");
  Write(source_ + "/b/left", "l");
  ReceiveOptions options;
  options.metadata_only = true;
  options.wanted = [](const std::string& path) { return path == "a/wanted"; };
  const auto stats = Sync({}, options);
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_THAT(Paths(dest_), ElementsAre(".fsutil-metadata", "a", "a/wanted"));
  const std::string bytes = Read(dest_ + "/.fsutil-metadata");
  std::vector<std::string> paths;
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint32_t size = 0;
    for (int i = 0; i < 4; ++i) size |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
    Stat stat;
    ASSERT_TRUE(stat.ParseFromArray(bytes.data() + at + 4, static_cast<int>(size)));
    paths.push_back(stat.path());
    at += 4 + size;
  }
  EXPECT_THAT(paths, ElementsAre("a", "a/left", "a/wanted", "b", "b/left"));
}

TEST_F(TreeTest, MergeKeepsWhatIsThere) {
  Write(source_ + "/d/new", "n");
  Write(dest_ + "/d/old", "o");
  Write(dest_ + "/e", "e");
  ReceiveOptions options;
  options.merge = true;
  options.owner = {getuid(), getgid()};
  ASSERT_TRUE(Sync({}, options).ok());
  EXPECT_THAT(Paths(dest_), ElementsAre("d", "d/new", "d/old", "e"));
}

TEST_F(TreeTest, SeveralTreesWithExtraFiles) {
  Write(source_ + "/bin/tool", "t");
  fs::create_symlink("/bin/tool", source_ + "/abs");
  const auto stats = ReceiveFrom([&](RpcStream& stream) {
    TreeSource second{.directory = source_, .subdirectory = "linux_arm64", .modification_time = 7'000'000'000};
    TreeSource first{.directory = source_, .subdirectory = "linux_amd64", .extra_files = {{"attestation.json", "{}"}, {"zz", ""}}};
    return SendTrees(stream, {second, first});
  });
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_THAT(Paths(dest_), ElementsAre("linux_amd64", "linux_amd64/abs", "linux_amd64/attestation.json", "linux_amd64/bin", "linux_amd64/bin/tool",
                                        "linux_amd64/zz", "linux_arm64", "linux_arm64/abs", "linux_arm64/bin", "linux_arm64/bin/tool"));
  EXPECT_EQ(fs::read_symlink(dest_ + "/linux_amd64/abs"), "/linux_amd64/bin/tool");
  EXPECT_EQ(Read(dest_ + "/linux_amd64/attestation.json"), "{}");
  EXPECT_EQ(ModTimeOf(Lstat(dest_ + "/linux_arm64/bin/tool")), 7'000'000'000);
}

TEST_F(TreeTest, SenderErrorsArrive) {
  const auto stats = ReceiveFrom([&](RpcStream& stream) { return SendTrees(stream, {{.directory = scratch_ / "none"}}); });
  EXPECT_EQ(stats.status().code(), absl::StatusCode::kNotFound);
}

// Root reads what it likes, unless it gives that up. For the calling thread and those that it starts.
void ReadAsTheModeSays() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  ASSERT_EQ(syscall(SYS_capget, &header, data), 0);
  data[0].effective &= ~(1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH);
  ASSERT_EQ(syscall(SYS_capset, &header, data), 0);
}

TEST_F(TreeTest, UnreadableFilesAreNamed) {
  TreeSource source;
  source.directory = source_;
  const RpcHandler serve = [&source](RpcStream& stream) {
    ReadAsTheModeSays();
    return SendTrees(stream, {source});
  };
  for (const char* name : {".dockerignore", "a/secret"}) {
    const std::string path = source_ + "/" + name;
    Write(path, "text");
    ASSERT_EQ(chmod(path.c_str(), 0), 0);
    EXPECT_THAT(std::string(ReceiveFrom(serve).status().message()), HasSubstr(absl::StrCat("open ", name, ": permission denied")));
    fs::remove(path);
  }
}

TEST_F(TreeTest, RefusesPathsThatEscapeOrJump) {
  const Packet end;
  for (const std::vector<Packet>& packets : std::vector<std::vector<Packet>>{
           {StatPacket("../evil", 0644)},
           {StatPacket("a", kModeDir | 0755), StatPacket("a/../../evil", 0644)},
           {StatPacket("/evil", 0644)},
           {StatPacket("a//b", 0644)},
           {StatPacket(".", kModeDir | 0755)},
           {StatPacket("..", kModeDir | 0755)},
           {StatPacket("", 0644), StatPacket("x", 0644)},
           {StatPacket("b", 0644), StatPacket("a", 0644)},
           {StatPacket("a", 0644), StatPacket("a", 0644)},
           {StatPacket("a", 0644), StatPacket("a/b", 0644)},
           {StatPacket("missing/b", 0644)},
           {StatPacket("a", kModeDir | 0755), StatPacket("b", kModeDir | 0755), StatPacket("a/c", 0644)},
           {StatPacket(std::string(300, 'n'), 0644)},
           {StatPacket(std::string("nul\0byte", 8), 0644)},
           {StatPacket("s", kModeSocket | 0644)},
       }) {
    EXPECT_EQ(ReceivePackets(packets).code(), absl::StatusCode::kInvalidArgument) << packets.back().ShortDebugString();
  }
  EXPECT_FALSE(fs::exists(scratch_ / "evil"));
}

TEST_F(TreeTest, NeverWritesThroughLinks) {
  const std::string outside = scratch_ / "outside";
  fs::create_directory(outside);
  // A link that the sender made itself is no directory.
  EXPECT_FALSE(ReceivePackets({StatPacket("l", kModeSymlink | 0777, outside), StatPacket("l/evil", 0644)}).ok());
  // One that was there before is replaced.
  fs::create_directory_symlink(outside, dest_ + "/d");
  Write(source_ + "/d/file", "f");
  ASSERT_TRUE(Sync().ok());
  EXPECT_TRUE(fs::is_regular_file(dest_ + "/d/file"));
  EXPECT_FALSE(fs::is_symlink(dest_ + "/d"));
  fs::remove_all(dest_ + "/d");
  fs::create_directory_symlink(outside, dest_ + "/d");
  ReceiveOptions merge;
  merge.merge = true;
  ASSERT_TRUE(Sync({}, merge).ok());
  EXPECT_THAT(Paths(outside), IsEmpty());
}

// A sender's paths, links and extended attributes reached files outside of the directory: whatever it says, all stays inside.
// TREE_SEED replays.
TEST_F(TreeTest, Ghsag2h8_426c_7976_and_Ghsaw26x_xg27_7qjc) {
  std::uint64_t seed = std::random_device()();
  if (const char* text = std::getenv("TREE_SEED"); text != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &seed));
  }
  std::printf("TREE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  const std::string outside = scratch_ / "outside";
  Write(outside + "/file", "outside");
  fs::create_directory(outside + "/d");
  const std::vector<std::string> before = Listing(outside);
  const std::vector<std::string> names = {"a", "b", "l", "..", ".", "", "file", "d", "../outside", "a/..", "l/..", outside.substr(1), "a\\..\\.."};
  for (int round = 0; round < 300; ++round) {
    std::vector<Packet> packets;
    for (int i = 0, count = 1 + static_cast<int>(random() % 6); i < count; ++i) {
      std::string path = names[random() % names.size()];
      while (random() % 2 == 0) absl::StrAppend(&path, "/", names[random() % names.size()]);
      const std::uint32_t modes[] = {0644, kModeDir | 0755, kModeSymlink | 0777, kModeNamedPipe | 0644};
      const std::string links[] = {"", outside, outside + "/file", "../outside", "a", "l/file", "../outside/d"};
      Packet packet = StatPacket(path, modes[random() % 4], links[random() % 7]);
      if (random() % 2 == 0) {
        auto& xattrs = *packet.mutable_stat()->mutable_xattrs();
        xattrs["user.mark"] = "x";
        xattrs["trusted.overlay.opaque"] = "y";
        xattrs["trusted.mark"] = "x";
      }
      packets.push_back(packet);
    }
    // In the order that is asked for, half of the time.
    if (random() % 2 == 0) {
      std::sort(packets.begin(), packets.end(), [](const Packet& a, const Packet& b) { return a.stat().path() < b.stat().path(); });
    }
    packets.emplace_back();  // the end of the list
    packets.back().set_type(Packet::PACKET_STAT);
    (void)ReceiveFrom([&](RpcStream& stream) -> absl::Status {
      for (const Packet& packet : packets) RETURN_IF_ERROR(WriteMessage(stream, packet));
      Packet answer;
      while (true) {
        ASSIGN_OR_RETURN(const bool more, ReadMessage(stream, answer));
        if (!more || answer.type() == Packet::PACKET_ERR) return absl::OkStatus();
        if (answer.type() == Packet::PACKET_REQ) {
          RETURN_IF_ERROR(WriteMessage(stream, DataPacket(answer.id(), "evil")));
          RETURN_IF_ERROR(WriteMessage(stream, DataPacket(answer.id(), "")));
        } else if (answer.type() == Packet::PACKET_FIN) {
          return WriteMessage(stream, answer);
        }
      }
    });
    ASSERT_EQ(Listing(outside), before) << "round " << round;
    for (const char* path : {"", "/file", "/d"}) {
      char list[256];
      ASSERT_EQ(::llistxattr((outside + path).c_str(), list, sizeof list), 0) << "round " << round;
    }
  }
}

TEST_F(TreeTest, RefusesWrongLinksAndData) {
  Packet end;
  EXPECT_THAT(std::string(ReceivePackets({StatPacket("a", 0644, "/etc/passwd")}).message()), HasSubstr("unknown path"));
  EXPECT_THAT(std::string(ReceivePackets({DataPacket(0, "x")}).message()), HasSubstr("invalid file request 0"));
  EXPECT_THAT(std::string(ReceivePackets({StatPacket("d", kModeDir | 0755), DataPacket(0, "x")}).message()), HasSubstr("invalid file request 0"));
  EXPECT_THAT(std::string(ReceivePackets({StatPacket("a", 0644), DataPacket(0, ""), DataPacket(0, "x")}).message()),
              HasSubstr("invalid file request 0"));
  Packet fin;
  fin.set_type(Packet::PACKET_FIN);
  EXPECT_FALSE(ReceivePackets({fin}).ok());
  Packet error;
  error.set_type(Packet::PACKET_ERR);
  error.set_data("no way");
  EXPECT_EQ(ReceivePackets({error}).message(), "error from sender: no way");
}

TEST_F(TreeTest, RefusesAFileThatNeverEnds) {
  const auto status = ReceiveFrom([](RpcStream& stream) -> absl::Status {
                        RETURN_IF_ERROR(WriteMessage(stream, StatPacket("a", 0644)));
                        RETURN_IF_ERROR(WriteMessage(stream, Packet()));
                        for (;;) {
                          RETURN_IF_ERROR(WriteMessage(stream, DataPacket(0, std::string(1 << 20, 'x'))));
                        }
                      }).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

TEST_F(TreeTest, TwentyThousandFiles) {
  for (int d = 0; d < 200; ++d) {
    const std::string directory = absl::StrCat(source_, "/dir", d);
    fs::create_directory(directory);
    for (int f = 0; f < 100; ++f) {
      std::ofstream(absl::StrCat(directory, "/file", f)) << std::string(2000, 'x') << d << f;
    }
  }
  const auto timed = [&](const char* what, std::int64_t files) {
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t cpu_begin = std::clock();
    const auto stats = Sync();
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
    ASSERT_TRUE(stats.ok()) << stats.status();
    EXPECT_EQ(stats->files, files);
    std::printf("20,000 files, %s: %d ms, both ends' processor time %d ms, %lld bytes on the wire\n", what, static_cast<int>(took.count()),
                static_cast<int>((std::clock() - cpu_begin) * 1000 / CLOCKS_PER_SEC), static_cast<long long>(stats->bytes));
  };
  timed("cold", 20000);
  timed("unchanged", 0);
  Write(source_ + "/dir7/file7", "changed");
  timed("one changed", 1);
}

}  // namespace
}  // namespace cachalot::session
