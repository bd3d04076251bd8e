// What BuildKit's security advisories describe, tried on a whole engine. Each test has the name of its advisory.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "build/engine_testing.h"
#include "os/file.h"

namespace cachalot::build {
namespace {

class AdvisoriesTest : public EngineTest {
 protected:
  static llb::Mount MountOf(const std::string& dest, const std::string& id) {
    llb::Mount mount;
    mount.dest = dest;
    mount.result_id = id;
    return mount;
  }
  static ProcessRequest Script(const std::string& script) {
    ProcessRequest request;
    request.meta.args = {"/bin/sh", "-c", script};
    return request;
  }
  static absl::StatusOr<ContainerPtr> NewContainer(GatewayBuild& gateway, const std::string& id) {
    absl::StatusOr<llb::FrontendResult> root = Solve(gateway, Busybox());
    if (!root.ok()) return root.status();
    ContainerRequest request;
    request.id = id;
    request.mounts = {MountOf("/", gateway.Keep(root->ref))};
    if (absl::Status status = gateway.NewContainer(request, {}); !status.ok()) return status;
    return gateway.FindContainer(id);
  }
  void InBuild(const std::function<void(GatewayBuild&)>& test) {
    const absl::Status status = WithGateway([&](GatewayBuild& gateway) {
      test(gateway);
      return llb::FrontendResult();
    });
    EXPECT_TRUE(status.ok()) << status;
  }
};

// What another step of the same cache mount can do to it while mounts are made: directories, files and what they lie in become links to the
// host, and come back.
constexpr char kFlip[] = R"(
  cd /c
  turn() { /bin/busybox mv $1 x; /bin/busybox ln -s $2 $1; rm $1; /bin/busybox mv x $1; }
  while :; do turn d OUTSIDE; turn f OUTSIDE/of-the-host; turn p OUTSIDE; turn p/d OUTSIDE; turn d ../../../../../../../..OUTSIDE; done
)";
// Says by its exit code when one of the mounts shows the host; writes into all of them. What it writes may stay when directories move
// meanwhile: the host's file is known by what it holds.
constexpr char kLook[] = R"(
  for place in /t /u /u/d /u/p /u/p/d /u/d/e; do
    for file in $place/of-the-host $place; do
      [ -f $file ] && /bin/busybox grep -q "of the host" $file && exit 42
    done
    { echo written > $place/of-the-host; rm $place/of-the-host; echo written > $place; } 2>/dev/null
  done
  exit 0
)";

// Mounts of a shared cache while another step changes it (GHSA-m3r6-h7wv-7xxv): sources by a selector, and places in another mount of it.
// RACE_SECONDS is the long form; RACE_SEED replays the choices.
class MountRace : public AdvisoriesTest {
 protected:
  void SetUp() override {
    AdvisoriesTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(os::MakeDirectories(outside_ + "/d").ok());
    ASSERT_TRUE(os::WriteFileAtomic(outside_ + "/of-the-host", "of the host").ok());
    const std::string make = "mkdir -p /c/d/e /c/p/d; echo own > /c/f; echo own > /c/d/f";
    ASSERT_TRUE(Build(Run(busybox_, make, Cache({}, "/c", "")).Root()).ok());
  }
  static llb::RunOptions Cache(llb::RunOptions options, const std::string& dest, const std::string& selector) {
    llb::MountOptions mount;
    mount.cache.emplace().id = "shared";
    mount.selector = selector;
    options.AddMount(dest, State(), mount);
    return options;
  }
  llb::RunOptions AnyMounts() {
    const char* selectors[] = {"d", "/d", "d/../d", "f", "d/f", "./p/d", "p/../d/e", "p/d/../../f"};
    llb::RunOptions options = Cache({}, "/t", selectors[random_() % 8]);
    if (random_() % 2 == 0) return options;
    options = Cache(options, "/u", "");
    const char* places[] = {"/u/d/e", "/u/p/d", "/u/d/new/deep"};
    llb::MountOptions tmpfs;
    tmpfs.tmpfs_size = 0;
    if (random_() % 2 == 0) options.AddMount(places[random_() % 3], State(), tmpfs);
    if (random_() % 2 == 0) options = Cache(options, random_() % 2 == 0 ? "/u/f" : "/u/p/d/file", random_() % 2 == 0 ? "f" : "d/f");
    return options;
  }
  // Everything outside, with what a change would change.
  std::string Outside() {
    std::string all;
    for (const char* name : {"", "/d", "/of-the-host"}) {
      const struct stat st = *os::Lstat(outside_ + name);
      absl::StrAppend(&all, st.st_mode, " ", st.st_uid, " ", st.st_nlink, " ", st.st_mtim.tv_sec, ".", st.st_mtim.tv_nsec, " ", st.st_ctim.tv_nsec,
                      "\n");
    }
    return all + os::ReadFile(outside_ + "/of-the-host", 100).value_or("gone");
  }

  const std::string outside_ = scratch_ / "outside";
  const State busybox_ = Busybox();
  std::mt19937_64 random_;
};

TEST_F(MountRace, Ghsam3r6_h7wv_7xxv) {
  int seconds = 6;
  if (const char* text = std::getenv("RACE_SECONDS"); text != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &seconds));
  }
  std::uint64_t seed = std::random_device()();
  if (const char* text = std::getenv("RACE_SEED"); text != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &seed));
  }
  std::printf("RACE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  random_.seed(seed);
  const std::string before = Outside();
  CancelSource stop;
  std::thread flip([&] {
    BuildRequest request;
    request.ref = "flip";
    request.definition = *Run(busybox_, absl::StrReplaceAll(kFlip, {{"OUTSIDE", outside_}}), Cache({}, "/c", "")).Root().Marshal();
    (void)engine_->Build(request, stop.token());
  });
  int ran = 0, refused = 0, hits = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  for (int i = 0; ran == 0 || std::chrono::steady_clock::now() < end; ++i) {
    BuildRequest request;
    request.ref = absl::StrCat("look", i);
    request.definition = *Run(busybox_, absl::StrCat("# ", i, kLook), AnyMounts()).Root().Marshal();
    const absl::StatusOr<BuildResponse> response = engine_->Build(request, {});
    ++(response.ok() ? ran : refused);
    if (absl::StrContains(response.status().message(), "exit code: 42")) ++hits;
    ASSERT_EQ(Outside(), before) << "look " << i;
  }
  stop.Cancel();
  flip.join();
  std::printf("%d steps ran, %d were refused, %d saw the host\n", ran, refused, hits);
  EXPECT_EQ(hits, 0);
}

// A container of a frontend had privileges that nobody had granted.
TEST_F(AdvisoriesTest, Ghsawr6v_9f75_vh2g) {
  InBuild([&](GatewayBuild& gateway) {
    const absl::StatusOr<ContainerPtr> container = NewContainer(gateway, "c");
    ASSERT_TRUE(container.ok()) << container.status();
    ProcessRequest request = Script("true");
    request.security = llb::SecurityMode::kInsecure;
    EXPECT_EQ((*container)->Start(request, {}, {}).status().message(), "security.insecure is not allowed");
    EXPECT_FALSE((*container)->HasStarted());
  });
}

// The id that a frontend gives to a container was a part of a path.
TEST_F(AdvisoriesTest, Ghsa4c29_8rgm_jvjj) {
  const std::size_t entries = os::ListDirectory(scratch_.path())->size();
  InBuild([&](GatewayBuild& gateway) {
    for (const char* id : {"../../../../escaped", "/escaped", "..", "a/../../../escaped"}) {
      const absl::StatusOr<ContainerPtr> container = NewContainer(gateway, id);
      if (!container.ok()) continue;
      {
        const auto process = (*container)->Start(Script("true"), {}, {});
        ASSERT_TRUE(process.ok()) << process.status();
        EXPECT_TRUE((*process)->Wait({}).ok()) << id;
      }
      (void)gateway.ReleaseContainer(id);
    }
  });
  EXPECT_EQ(os::ListDirectory(scratch_.path())->size(), entries);
  EXPECT_FALSE(os::Lstat("/escaped").ok());
}

// A frontend that asks for containers and their files out of order, all at once, with numbers out of range.
TEST_F(AdvisoriesTest, Ghsa4hgw_qrhw_fhg8) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  InBuild([&](GatewayBuild& gateway) {
    for (int round = 0; round < 3; ++round) {
      const absl::StatusOr<ContainerPtr> made = NewContainer(gateway, "c");
      ASSERT_TRUE(made.ok()) << made.status();
      const ContainerPtr container = *made;
      std::atomic<bool> stop = false;
      std::vector<std::thread> threads;
      threads.emplace_back([&] {
        while (!stop) {
          auto process = container->Start(Script("exit 3"), {}, {});
          if (process.ok()) (void)(*process)->Wait({});
        }
      });
      threads.emplace_back([&] {
        while (!stop) {
          for (const int mount : {0, -1, 1, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
            (void)container->ReadFile(mount, "/bin/busybox", kMost, kMost);
            (void)container->ReadDir(mount, "/", "[");
            (void)container->StatFile(mount, "/../..");
          }
        }
      });
      std::this_thread::yield();
      EXPECT_EQ(container->ReadFile(0, "/bin/busybox", 1, kMost).value_or("").size(), container->StatFile(0, "/bin/busybox")->size - 1u);
      EXPECT_EQ(container->ReadFile(0, "/bin/busybox", kMost, kMost).value_or("?"), "");
      EXPECT_EQ(container->ReadFile(0, "/bin/busybox", -1, 1).status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_EQ(container->ReadFile(0, "/bin/busybox", 1, -1).status().code(), absl::StatusCode::kInvalidArgument);
      std::thread releasing([&] { (void)gateway.ReleaseContainer("c"); });
      (void)gateway.ReleaseContainer("c");
      releasing.join();
      stop = true;
      for (std::thread& thread : threads) thread.join();
      EXPECT_FALSE(container->StatFile(0, "/").ok());
    }
  });
}

// Files of a running container, while it turns directories and files into links to the host, pipes and devices.
TEST_F(AdvisoriesTest, Ghsa9728_qjrv_2xh2) {
  const std::string outside = scratch_ / "outside";
  ASSERT_TRUE(os::MakeDirectories(outside).ok());
  ASSERT_TRUE(os::WriteFileAtomic(outside + "/f", "of the host").ok());
  InBuild([&](GatewayBuild& gateway) {
    const absl::StatusOr<ContainerPtr> container = NewContainer(gateway, "c");
    ASSERT_TRUE(container.ok()) << container.status();
    const std::string script = absl::StrCat("mkdir -p /w/d; echo inside > /w/d/f; cd /w; while :; do /bin/busybox mv d x; /bin/busybox ln -s ",
                                            outside, " d; rm d; /bin/busybox mv x d; cd d; rm f; /bin/busybox mkfifo f; rm f; /bin/busybox ln -s ",
                                            outside, "/f f; rm f; echo inside > f; cd ..; done");
    std::thread running([&] {
      const auto process = (*container)->Start(Script(script), {}, {});
      if (process.ok()) (void)(*process)->Wait({});
    });
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    int read = 0;
    // However long it takes to start.
    while (read == 0 || std::chrono::steady_clock::now() < end) {
      const absl::StatusOr<std::string> text = (*container)->ReadFile(0, "/w/d/f", 0, 0);
      EXPECT_NE(text.value_or(""), "of the host");
      read += text.ok() ? 1 : 0;
      const absl::StatusOr<llb::FileStat> stat = (*container)->StatFile(0, "/w/d/f");
      EXPECT_FALSE(stat.ok() && stat->size == 11);
      const auto entries = (*container)->ReadDir(0, "/w/d", "");
      EXPECT_FALSE(entries.ok() && entries->size() > 1);
    }
    std::printf("%d reads\n", read);
    EXPECT_GT(read, 0);
    (void)gateway.ReleaseContainer("c");
    running.join();
  });
}

}  // namespace
}  // namespace cachalot::build
