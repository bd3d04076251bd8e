#include "runtime/etc_files.h"

#include <gtest/gtest.h>

#include "os/file.h"
#include "os/scratch_testing.h"

namespace cachalot::runtime {
namespace {

constexpr char kHost[] =
    "# comment\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nnameserver bad\nnameserver fe80::1%eth0\ndomain old\nsearch a.example b.example\n"
    "options edns0\noptions ndots:2\nsortlist 1.2.3.4\n";

TEST(ResolvConfTest, ForTheHostNetworkIsTheHosts) {
  EXPECT_EQ(
      ResolvConf(kHost, {}, true).value(),
      "nameserver 127.0.0.53\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions edns0 ndots:2\nsortlist 1.2.3.4\n");
}

TEST(ResolvConfTest, ForOtherNetworksLeavesLoopbackOut) {
  EXPECT_EQ(ResolvConf(kHost, {}, false).value(),
            "nameserver 10.0.0.1\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions edns0 ndots:2\nsortlist 1.2.3.4\n");
  EXPECT_EQ(ResolvConf("nameserver ::1\n", {}, false).value(),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n");
  EXPECT_NE(ResolvConf("", {}, true).value(), "");
}

TEST(ResolvConfTest, TakesOverrides) {
  DnsConfig dns{{"127.0.0.1"}, {".", "c.example"}, {"ndots:1"}};
  EXPECT_EQ(ResolvConf(kHost, dns, false).value(), "nameserver 127.0.0.1\nsearch c.example\noptions ndots:1\nsortlist 1.2.3.4\n");
  EXPECT_EQ(ResolvConf(kHost, {{"one.one.one.one"}, {}, {}}, false).status().message(), "bad nameserver address: \"one.one.one.one\"");
}

TEST(EtcFilesTest, FollowsTheHostsFile) {
  os::Scratch scratch;
  ASSERT_TRUE(os::WriteFileAtomic(scratch / "source", "nameserver 10.0.0.1\n").ok());
  EtcFiles files(scratch.path(), scratch / "source", {});
  std::string path = files.ResolvConfPath(true).value();
  EXPECT_EQ(os::ReadFile(path, 100).value(), "nameserver 10.0.0.1\n");
  struct stat first = os::Lstat(path).value();
  EXPECT_EQ(files.ResolvConfPath(true).value(), path);
  EXPECT_EQ(os::Lstat(path)->st_ino, first.st_ino);  // not made again
  ASSERT_TRUE(os::WriteFileAtomic(scratch / "source", "nameserver 10.0.0.22\n").ok());
  EXPECT_EQ(os::ReadFile(files.ResolvConfPath(true).value(), 100).value(), "nameserver 10.0.0.22\n");
  EXPECT_NE(files.ResolvConfPath(false).value(), path);
}

}  // namespace
}  // namespace cachalot::runtime
