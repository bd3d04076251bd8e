// Hostile senders, and hostile trees that are sent, over real transfers. As op/hostile_test.cc: HOSTILE_SEED, HOSTILE_TRANSFERS, HOSTILE_SECONDS.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "absl/strings/match.h"
#include "fsutil/wire.pb.h"
#include "os/mount.h"
#include "session/rpc/call.h"
#include "session/tree/receive.h"
#include "session/tree/send.h"
#include "tree/hostile_testing.h"

namespace cachalot::session {
namespace {

using fsutil::types::Packet;
using tree::Canary;
using tree::Hostile;

constexpr char kLies[] = "/test/Lies", kSends[] = "/test/Sends";
constexpr int kTransfersPerWorld = 10;

// What an honest sender could say, mostly.
std::vector<Packet> Lies(Hostile& hostile) {
  std::vector<std::string> paths;
  for (std::size_t i = 0, n = 1 + hostile.Below(12); i < n; ++i) {
    std::string path = hostile.Once(6) ? hostile.Path() : hostile.PlainName();
    for (std::size_t depth = hostile.Below(3); depth > 0 && !path.empty(); --depth) {
      paths.push_back(path);
      path = absl::StrCat(path, "/", hostile.PlainName());
    }
    paths.push_back(path);
  }
  if (!hostile.Once(5)) {
    std::sort(paths.begin(), paths.end());
    paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
  }
  std::vector<Packet> packets;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    Stat& stat = *packets.emplace_back().mutable_stat();
    stat.set_path(paths[i]);
    const bool leads = i + 1 < paths.size() && absl::StartsWith(paths[i + 1], paths[i] + "/");
    const std::uint32_t type =
        leads && !hostile.Once(6)
            ? kModeDir
            : hostile.Pick<std::uint32_t>({0, 0, kModeSymlink, kModeDir, kModeNamedPipe, kModeDevice | kModeCharDevice, kModeSocket});
    stat.set_mode(type | (hostile.Mode() & 0777));
    if (type == kModeSymlink) stat.set_linkname(hostile.LinkTarget());
    if (type == 0 && hostile.Once(4)) stat.set_linkname(hostile.Once(2) ? hostile.Pick(paths) : hostile.Path());
    stat.set_uid(hostile.Id());
    stat.set_gid(hostile.Id());
    stat.set_size(4);
    if (hostile.Once(3)) stat.mutable_xattrs()->insert({hostile.Xattr().first, "v"});
  }
  packets.emplace_back();
  for (std::size_t i = 0; i < paths.size(); ++i) {
    Packet data;
    data.set_type(Packet::PACKET_DATA);
    data.set_id(static_cast<std::uint32_t>(i));
    if (!hostile.Once(3)) {
      data.set_data("data");
      packets.push_back(data);
    }
    data.clear_data();
    packets.push_back(data);
  }
  return packets;
}

class Transfers {
 public:
  explicit Transfers(std::uint64_t seed) : hostile_(seed) {
    for (const char* name : {"source", "dest"}) {
      (void)os::RemoveTree(Path(name));
      EXPECT_TRUE(os::MakeDirectories(Path(name)).ok());
      roots_.push_back(*os::OpenDirectory(Path(name)));
      hostile_.Grow(roots_.back().get(), 25);
    }
    std::tie(near_, far_) = ByteStreamPair();
    const RpcHandlers handlers = {{kLies, [this](RpcStream& stream) { return Tell(stream); }},
                                  {kSends, [this](RpcStream& stream) { return SendTrees(stream, {source_}); }}};
    serving_ = std::thread([this, handlers] { ServeRpc(*far_, handlers, quit_.token()).IgnoreError(); });
    running_ = std::thread([this] { connection_->Run(*near_).IgnoreError(); });
  }
  ~Transfers() {
    quit_.Cancel();
    serving_.join();
    running_.join();
  }

  std::vector<int> descriptors() const { return {roots_[0].get(), roots_[1].get()}; }

  void Transfer() {
    ReceiveOptions options;
    options.merge = hostile_.Once(2);
    options.compare = hostile_.Once(2);
    if (hostile_.Once(2)) options.owner = {0, 0};
    options.metadata_only = hostile_.Once(5);
    options.wanted = [](const std::string& path) { return path.size() % 2 == 0; };
    packets_ = Lies(hostile_);
    source_ = {.directory = Path("source")};
    source_.subdirectory = hostile_.Once(3) ? hostile_.Name() : "";
    if (hostile_.Once(3)) source_.patterns.follow = {hostile_.Path(), hostile_.Name() + "/*"};
    const auto call = RpcCall::Start(*connection_, hostile_.Once(2) ? kLies : kSends, {}, CancelToken());
    if (call.ok()) ReceiveTree(**call, Path("dest"), options).IgnoreError();
  }

  std::string Leaks() const {
    std::string text;
    for (const std::string& path : Canary::Leaks(roots_[1].get())) absl::StrAppend(&text, "the canary's data came to ", path, "\n");
    return text;
  }

 private:
  static std::string Path(absl::string_view name) { return absl::StrCat("/work/", name); }
  absl::Status Tell(RpcStream& stream) {
    const std::vector<Packet> packets = packets_;
    for (const Packet& packet : packets) RETURN_IF_ERROR(WriteMessage(stream, packet));
    Packet answer;
    while (true) {
      ASSIGN_OR_RETURN(const bool more, ReadMessage(stream, answer));
      if (!more || answer.type() == Packet::PACKET_ERR || answer.type() == Packet::PACKET_FIN) return absl::OkStatus();
    }
  }

  Hostile hostile_;
  std::vector<UniqueFd> roots_;
  std::vector<Packet> packets_;
  TreeSource source_;
  std::unique_ptr<ByteStream> near_, far_;
  const std::shared_ptr<RpcConnection> connection_ = RpcConnection::Create(RpcConnection::Role::kCalls);
  CancelSource quit_;
  std::thread serving_, running_;
};

std::string Worlds(bool races, const std::function<bool(int transfers)>& enough) {
  const Canary canary("/", {"work", "proc"});
  int transfers = 0;
  for (std::uint64_t seed = tree::FromEnvironment("HOSTILE_SEED", 1);; ++seed) {
    std::string fault;
    {
      Transfers world(seed);
      std::unique_ptr<tree::Churn> churn;
      if (races) churn = std::make_unique<tree::Churn>(seed, world.descriptors());
      for (int i = 0; i < kTransfersPerWorld; ++i, ++transfers) world.Transfer();
      churn.reset();
      fault = canary.Difference() + world.Leaks();
    }
    if (!fault.empty()) return absl::StrCat("HOSTILE_SEED=", seed, "\n", fault);
    if (enough(transfers)) return "";
  }
}

TEST(HostileTransferTest, NothingOutsideChanges) {
  if (!os::CanMount()) GTEST_SKIP() << "needs root for a root directory of its own";
  const int wanted = static_cast<int>(tree::FromEnvironment("HOSTILE_TRANSFERS", 100));
  EXPECT_EQ(tree::RunApart([&] { return Worlds(false, [&](int transfers) { return transfers >= wanted; }); }), "");
}

TEST(HostileTransferTest, NothingOutsideChangesWhileTreesChange) {
  if (!os::CanMount()) GTEST_SKIP() << "needs root for a root directory of its own";
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(tree::FromEnvironment("HOSTILE_SECONDS", 3));
  EXPECT_EQ(tree::RunApart([&] { return Worlds(true, [&](int) { return std::chrono::steady_clock::now() > end; }); }), "");
}

}  // namespace
}  // namespace cachalot::session
