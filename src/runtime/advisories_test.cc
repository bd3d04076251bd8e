// What security advisories of BuildKit and of container runtimes describe, tried on this room. Each test has the name of its advisory.
#include <sys/stat.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/busybox_testing.h"
#include "runtime/cdi.h"
#include "runtime/user.h"

namespace cachalot::runtime {
namespace {

class AdvisoriesTest : public BusyboxTest {
 protected:
  void SetUp() override {
    BusyboxTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(os::MakeDirectories(outside_).ok());
    ASSERT_TRUE(os::WriteFileAtomic(outside_ + "/stub", "").ok());
    ASSERT_TRUE(os::WriteFileAtomic(outside_ + "/secret", "of the host").ok());
    ASSERT_TRUE(os::MakeDirectories(outside_ + "/empty").ok());
  }
  // Everything outside is as it was.
  void ExpectUntouched() {
    EXPECT_EQ(os::ListDirectory(outside_)->size(), 3u);
    EXPECT_EQ(os::ReadFile(outside_ + "/stub", 100).value_or("gone"), "");
    EXPECT_EQ(os::ReadFile(outside_ + "/secret", 100).value_or("gone"), "of the host");
    EXPECT_TRUE(os::ListDirectory(outside_ + "/empty").ok());
  }

  const std::string outside_ = scratch_ / "outside";
};

// The mount stub cleaner followed a link that the step had put in the place of a directory.
TEST_F(AdvisoriesTest, Ghsa4v98_7qmw_rqr8) {
  ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "file", "").ok());
  ContainerSpec spec =
      Shell(absl::StrCat("for d in s p/q; do /bin/busybox mv /$d /$d.away && /bin/busybox ln -s ", outside_, " /$d || exit 1; done"));
  spec.mounts.push_back({"/s/stub", {"bind", scratch_ / "file", {"rbind"}}});
  spec.mounts.push_back({"/p/q/empty", {"tmpfs", "tmpfs", {}}});
  spec.remove_stub_parents = true;
  const Outcome outcome = Run(spec);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.status();
  EXPECT_EQ(outcome.status->code, 0) << outcome.err;
  ExpectUntouched();
}

// A working directory among the descriptors of the runtime was one of the host's (GHSA-xr7r-f8xq-vfvv of runc).
TEST_F(AdvisoriesTest, Ghsaxr7r_f8xq_vfvv) {
  std::string up;
  for (int i = 0; i < 12; ++i) up += "../";
  for (int fd = 3; fd < 16; ++fd) {
    ContainerSpec spec = Shell(absl::StrCat("cat ", up, outside_.substr(1), "/secret; ls /proc/self/fd/", fd));
    spec.process.cwd = absl::StrCat("/proc/self/fd/", fd);
    const Outcome outcome = Run(spec);
    EXPECT_FALSE(absl::StrContains(outcome.out, "of the host")) << fd;
  }
  ExpectUntouched();
}

// A tree of the step's own at /proc made the runtime set security labels in files that it had brought.
TEST_F(AdvisoriesTest, Cve2019_16884) {
  ASSERT_EQ(::symlink("/proc/self", (scratch_ / "root/link").c_str()), 0);
  for (const char* point : {"/proc", "/proc/self/attr", "/link/attr"}) {
    ContainerSpec spec = Spec({"true"});
    spec.mounts.push_back({point, {"bind", outside_, {"rbind"}}});
    EXPECT_EQ(Run(spec).status.status().code(), absl::StatusCode::kInvalidArgument) << point;
  }
  ContainerSpec spec = Spec({"true"});
  spec.mounts.push_back({"/proc", {"tmpfs", "tmpfs", {}}});
  EXPECT_EQ(Run(spec).status.status().code(), absl::StatusCode::kInvalidArgument);
  // As runc has it.
  spec.mounts.front().dest = "/proc/sys";
  spec.mounts.push_back({"/proc/meminfo", {"bind", outside_ + "/secret", {"rbind"}}});
  EXPECT_TRUE(Run(spec).status.ok());
  ExpectUntouched();
}

// Devices were made where a link at /dev leads on the host (CVE-2026-47766 of crun).
TEST_F(AdvisoriesTest, Cve2026_47766) {
  ASSERT_EQ(::rmdir((scratch_ / "root/dev").c_str()), 0);
  ASSERT_EQ(::symlink((outside_ + "/empty").c_str(), (scratch_ / "root/dev").c_str()), 0);
  // The same path inside: what is mounted there is not what is opened.
  ASSERT_TRUE(os::MakeDirectories(absl::StrCat(scratch_ / "root", outside_, "/empty")).ok());
  EXPECT_EQ(Run(Spec({"true"})).status.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(os::ListDirectory(outside_ + "/empty")->empty());
  ExpectUntouched();
}

// Special files where files are expected: they block who opens them, or do what a device does.
TEST_F(AdvisoriesTest, Ghsa9728_qjrv_2xh2) {
  ASSERT_EQ(::mkfifo((scratch_ / "root/etc/hosts").c_str(), 0644), 0);
  const Outcome outcome = Run(Spec({"true"}));
  EXPECT_EQ(outcome.status.status().message(), "cannot mount on /etc/hosts: it is neither a file nor a directory");
  ASSERT_EQ(::unlink((scratch_ / "root/etc/hosts").c_str()), 0);
  for (const char* name : {"root/etc/passwd", "root/etc/group"}) {
    ASSERT_EQ(::unlink((scratch_ / name).c_str()), 0);
    ASSERT_EQ(::mkfifo((scratch_ / name).c_str(), 0644), 0);
  }
  ContainerSpec spec = Spec({"true"});
  spec.process.user = "alice";
  EXPECT_EQ(Run(spec).status.status().code(), absl::StatusCode::kNotFound);
}

// User and group files of any size, with any number of groups.
TEST_F(AdvisoriesTest, Ghsa72x6_4j93_7w86) {
  const UniqueFd root = *os::OpenDirectory(scratch_ / "root");
  std::string groups;
  for (int i = 0; i < 70000; ++i) absl::StrAppend(&groups, "g", i, ":x:", 2000 + i, ":alice\n");
  ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "root/etc/group", groups).ok());
  EXPECT_EQ(LookUpUser(root.get(), "alice").status().message(), "user alice is in more than 65535 groups");
  EXPECT_TRUE(LookUpUser(root.get(), "alice:g69999").ok());
  const UniqueFd file = *os::Open(scratch_ / "root/etc/group", O_WRONLY);
  ASSERT_EQ(::ftruncate(file.get(), std::int64_t{1} << 40), 0);
  EXPECT_EQ(LookUpUser(root.get(), "alice").status().code(), absl::StatusCode::kResourceExhausted);
}

// Devices asked for while there are none brought the daemon down.
TEST(CdiAdvisoriesTest, Ghsar456_g3gm_cvxf) {
  const CdiCatalog catalog = CdiDevices({.disabled = true}).Read();
  EXPECT_TRUE(catalog.Find("v.org/x=d", true)->empty());
  EXPECT_FALSE(catalog.Find("v.org/x=d", false).ok());
  EXPECT_TRUE(catalog.EditsOf({}).nodes.empty());
}

// A container's id was a part of a path, whatever it held.
TEST_F(AdvisoriesTest, Ghsa4c29_8rgm_jvjj) {
  for (const char* id : {"../../outside/x", "/x", "..", ".", "a/../../b", "", "a\nb", "-x"}) {
    ContainerSpec spec = Spec({"true"});
    spec.id = id;
    EXPECT_EQ(Run(spec).status.status().code(), absl::StatusCode::kInvalidArgument) << id;
  }
  ExpectUntouched();
}

}  // namespace
}  // namespace cachalot::runtime
