#include "daemon/leases.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <optional>
#include <random>

#include "absl/strings/str_cat.h"
#include "build/root_lock.h"
#include "os/scratch_testing.h"

namespace cachalot::daemon {
namespace {

// An engine that serves by answering each connection with one byte, and clients of it.
class LeasesTest : public testing::Test {
 protected:
  LeasesTest() {
    build::RootLock root = build::LockRoot(scratch_.path()).value();
    lock_ = std::move(root.lock);
    leases_.emplace(std::move(root.listener), [this](UniqueFd connection) {
      ++served_;
      EXPECT_EQ(::send(connection.get(), "!", 1, MSG_NOSIGNAL), 1);
    });
  }
  static std::pair<UniqueFd, UniqueFd> Pair() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
  }
  absl::StatusOr<UniqueFd> Take() {
    auto owner = build::ConnectToOwner(scratch_.path());
    if (!owner.ok()) return owner.status();
    auto [ours, theirs] = Pair();
    absl::StatusOr<UniqueFd> lease = TakeLease(*std::move(owner), std::move(theirs), -1);
    char byte = 0;
    if (!lease.ok()) return lease;
    EXPECT_EQ(::recv(ours.get(), &byte, 1, 0), 1);
    return lease;
  }
  UniqueFd First() {
    auto [ours, theirs] = Pair();
    leases_->Add(std::move(theirs), Pair().second);
    return std::move(ours);
  }

  os::Scratch scratch_;
  UniqueFd lock_;
  std::atomic<int> served_ = 0;
  std::optional<Leases> leases_;
};

TEST_F(LeasesTest, AnOwnerIsFoundAndNamed) {
  EXPECT_TRUE(Take().ok());
  EXPECT_EQ(build::LockRoot(scratch_.path()).status().message(), absl::StrCat(scratch_.path(), " is in use by process ", ::getpid()));
  leases_.reset();
  EXPECT_TRUE(absl::IsUnavailable(Take().status()));
}

// Random clients take leases, give them back or die: the engine stays exactly as long as there is one.
TEST_F(LeasesTest, TheEngineStaysForTheLast) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  std::vector<UniqueFd> clients;
  clients.push_back(First());
  UniqueFd never(::eventfd(0, EFD_CLOEXEC));
  std::future<void> last = std::async(std::launch::async, [&] { leases_->AwaitLast(never.get()); });
  for (int i = 0; i < 300; ++i) {
    if (random() % 2 == 0 || clients.size() < 2) {
      auto lease = Take();
      ASSERT_TRUE(lease.ok()) << lease.status();
      clients.push_back(*std::move(lease));
      continue;
    }
    std::swap(clients[random() % clients.size()], clients.back());
    UniqueFd gone = std::move(clients.back());
    clients.pop_back();
    if (random() % 2 == 0) {
      EXPECT_FALSE(EndLease(std::move(gone))) << "others remain";
    }
    EXPECT_NE(last.wait_for(std::chrono::seconds(0)), std::future_status::ready);
  }
  for (; clients.size() > 1; clients.pop_back()) EXPECT_FALSE(EndLease(std::move(clients.back())));
  // The last one waits for the end of the process: here for as long as its socket is open.
  ::shutdown(clients.back().get(), SHUT_WR);
  last.wait();
  EXPECT_TRUE(absl::IsUnavailable(Take().status()));
  char byte;
  EXPECT_EQ(::recv(clients.back().get(), &byte, 1, MSG_DONTWAIT), -1);
}

// Clients come in the very moment in which the last one leaves: each is served or told to come back, none waits for ever.
TEST_F(LeasesTest, NobodyIsForgottenAtTheEnd) {
  UniqueFd first = First();
  UniqueFd never(::eventfd(0, EFD_CLOEXEC));
  std::vector<std::future<bool>> clients;
  std::future<void> last = std::async(std::launch::async, [&] { leases_->AwaitLast(never.get()); });
  for (int i = 0; i < 20; ++i) clients.push_back(std::async(std::launch::async, [&] { return Take().ok(); }));
  first.reset();
  int taken = 0;
  for (std::future<bool>& client : clients) taken += client.get();
  last.wait();
  EXPECT_EQ(taken + 1, served_.load());
  EXPECT_TRUE(absl::IsUnavailable(Take().status()));
}

TEST_F(LeasesTest, TheStartIsTold) {
  auto [ours, theirs] = Pair();
  ReportStart(theirs.get(), absl::OkStatus());
  EXPECT_TRUE(AwaitStart(ours.get(), -1).ok());
  ReportStart(theirs.get(), absl::DataLossError("what\nhas happened"));
  theirs.reset();
  EXPECT_EQ(AwaitStart(ours.get(), -1), absl::DataLossError("what\nhas happened"));
  EXPECT_TRUE(absl::IsAborted(AwaitStart(ours.get(), -1)));
  UniqueFd stop(::eventfd(1, EFD_CLOEXEC));
  const auto silent = Pair();
  EXPECT_TRUE(absl::IsCancelled(AwaitStart(silent.first.get(), stop.get())));
}

}  // namespace
}  // namespace cachalot::daemon
