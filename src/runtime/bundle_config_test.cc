#include "runtime/bundle_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "os/scratch_testing.h"
#include "runtime/seccomp.h"

namespace cachalot::runtime {
namespace {

TEST(BundleConfigTest, IsJsonWithEveryPart) {
  ContainerSpec spec;
  spec.id = "x";
  spec.rootfs = "/root \"fs\"\n";
  spec.process.args = {"sh", "-c", "echo \"\\\t\x01\xc3\xa9\""};
  spec.process.env = {"A=b"};
  spec.process.rlimits = {{"nofile", 1, -1}};
  spec.mounts = {{"data/../x/./y", {"bind", "/src", {"rbind"}}, true}, {"/dev/shm", {"tmpfs", "shm", {"size=1"}}, false}};
  BundleInput input;
  input.host_network = false;
  input.network_namespace = "/run/netns/a";
  input.cgroup_path = "/buildkit/x";
  input.seccomp = SeccompProfileJson();
  input.seccomp_program = "AAAA";
  nlohmann::json json = nlohmann::json::parse(BundleConfig(spec, {1, 2, {2, 3}}, input));
  EXPECT_EQ(json["ociVersion"], "1.0.2");
  EXPECT_EQ(json["root"]["path"], spec.rootfs);
  EXPECT_EQ(json["process"]["args"][2], spec.process.args[2]);
  EXPECT_EQ(json["process"]["user"]["additionalGids"], nlohmann::json({2, 3}));
  EXPECT_EQ(json["process"]["rlimits"][0]["type"], "RLIMIT_NOFILE");
  EXPECT_EQ(json["process"]["rlimits"][0]["hard"], 18446744073709551615u);
  EXPECT_EQ(json["process"]["capabilities"]["bounding"].size(), 14u);
  EXPECT_EQ(json["linux"]["namespaces"].back()["path"], "/run/netns/a");
  EXPECT_EQ(json["linux"]["seccomp"]["syscalls"][0]["action"], "SCMP_ACT_ALLOW");
  EXPECT_EQ(json["annotations"]["run.oci.seccomp_bpf_data"], "AAAA");
  const nlohmann::json& mounts = json["mounts"];
  EXPECT_EQ(mounts.back()["destination"], "/x/y");
  EXPECT_EQ(mounts.back()["options"], nlohmann::json({"rbind", "ro"}));
  EXPECT_EQ(mounts[3]["destination"], "/dev/shm");
  EXPECT_EQ(mounts[3]["options"], nlohmann::json({"size=1"}));
}

TEST(BundleConfigTest, PrivilegedHasNoWalls) {
  ContainerSpec spec;
  spec.privileged = true;
  BundleInput input;
  input.seccomp = "{}";
  nlohmann::json json = nlohmann::json::parse(BundleConfig(spec, {}, input));
  EXPECT_FALSE(json["linux"].contains("seccomp"));
  EXPECT_FALSE(json["linux"].contains("maskedPaths"));
  EXPECT_GT(json["linux"]["devices"].size(), 10u);
  EXPECT_FALSE(json.contains("annotations"));
}

TEST(SeccompTest, CompilesToAProgram) {
  os::Scratch scratch;
  std::string base64 = SeccompProgramBase64(scratch.path()).value();
  // Kept, and made again when what is kept cannot be right.
  std::vector<os::DirectoryEntry> kept = os::ListDirectory(scratch.path()).value();
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(SeccompProgramBase64(scratch.path()).value(), base64);
  ASSERT_TRUE(os::WriteFileAtomic(scratch / kept[0].name, "damaged").ok());
  EXPECT_EQ(SeccompProgramBase64(scratch.path()).value(), base64);
  std::string program;
  ASSERT_TRUE(absl::Base64Unescape(base64, &program));
  EXPECT_EQ(program.size() % 8, 0u);  // whole instructions
  EXPECT_GT(program.size(), 1000u);
}

TEST(BundleConfigTest, ControlGroupsStayInTheHierarchy) {
  EXPECT_EQ(CgroupPath("", "id"), "/buildkit/id");
  EXPECT_EQ(CgroupPath("a/b", "id"), "/a/b/buildkit/id");
  EXPECT_EQ(CgroupPath("../../a", "id"), "/a/buildkit/id");
  EXPECT_EQ(CgroupPath("system.slice:build:", "id"), "/system.slice:build:id");
  EXPECT_EQ(CgroupPath("../../etc/a.slice/x:", "id"), "/etc/a.slice/x:id");
  EXPECT_EQ(CgroupPath("a.slice/../../../etc:", "id"), "/etc:id");
}

}  // namespace
}  // namespace cachalot::runtime
