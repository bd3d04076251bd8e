#include "runtime/cdi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "os/file.h"
#include "os/scratch_testing.h"
#include "runtime/cdi_edits.h"
#include "runtime/yaml.h"

namespace cachalot::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kGpus[] = R"(
cdiVersion: "0.6.0"
kind: "vendor.com/gpu"
annotations:
  org.mobyproject.buildkit.device.autoallow: true
containerEdits:
  env: ["GPUS=some"]
devices:
- name: one
  annotations:
    org.mobyproject.buildkit.device.class: fast
  containerEdits:
    env:
    - GPU=one
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/null
      permissions: rw
      fileMode: 0660
    mounts:
    - hostPath: /etc/passwd
      containerPath: /x
      options: [ro]
    hooks:
    - hookName: createContainer
      path: /bin/true
      args: [true]
      timeout: 3
    additionalGids: [7]
)";

class CdiTest : public testing::Test {
 protected:
  CdiTest() {
    for (const char* directory : {"low", "high"}) EXPECT_TRUE(os::MakeDirectories(scratch_ / directory).ok());
  }
  void Put(const std::string& name, const std::string& text) { ASSERT_TRUE(os::WriteFileAtomic(scratch_ / name, text).ok()); }
  CdiCatalog Read() {
    CdiDevices::Config config;
    config.spec_dirs = {scratch_ / "low", scratch_ / "missing", scratch_ / "high"};
    config.auto_allowed = auto_allowed_;
    return CdiDevices(config).Read();
  }
  static std::string One(const std::string& env) {
    return "{\"cdiVersion\": \"0.5.0\", \"kind\": \"v.org/x\", \"devices\": [{\"name\": \"d\", \"containerEdits\": {\"env\": [\"" + env + "\"]}}]}";
  }
  std::vector<std::string> auto_allowed_;
  os::Scratch scratch_;
};

TEST_F(CdiTest, FindsByNameKindWildcardAndClass) {
  Put("low/gpu.yaml", kGpus);
  const CdiCatalog catalog = Read();
  EXPECT_THAT(*catalog.Find("vendor.com/gpu=one", false), ElementsAre("vendor.com/gpu=one"));
  EXPECT_THAT(*catalog.Find("vendor.com/gpu", false), ElementsAre("vendor.com/gpu=all"));
  EXPECT_THAT(*catalog.Find("vendor.com/gpu=*", false), ElementsAre("vendor.com/gpu=all", "vendor.com/gpu=one"));
  EXPECT_THAT(*catalog.Find("fast", false), ElementsAre("vendor.com/gpu=one"));
  EXPECT_THAT(*catalog.Find("vendor.com/gpu=two", true), ElementsAre());
  EXPECT_EQ(catalog.Find("vendor.com/gpu=two", false).status().message(), "required device \"vendor.com/gpu=two\" is not registered");
  EXPECT_TRUE(catalog.AutoAllowed("vendor.com/gpu=one"));
  EXPECT_FALSE(catalog.AutoAllowed("vendor.com/gpu=two"));
}

TEST_F(CdiTest, EditsOfAFileCountOnce) {
  Put("low/gpu.yaml", kGpus);
  const DeviceEdits edits = Read().EditsOf({"vendor.com/gpu=one", "vendor.com/gpu=all", "vendor.com/gpu=one"});
  EXPECT_THAT(edits.env, ElementsAre("GPUS=some", "GPU=one"));
  ASSERT_EQ(edits.nodes.size(), 1u);
  EXPECT_EQ(edits.nodes[0].permissions, "rw");
  EXPECT_EQ(edits.nodes[0].file_mode, 0660u);
  DeviceNode node = edits.nodes[0];
  ASSERT_TRUE(CompleteNode(node).ok());
  EXPECT_EQ(node.type, "c");
  EXPECT_EQ(node.major, 1);
  EXPECT_EQ(node.minor, 3);
  ASSERT_EQ(edits.mounts.size(), 1u);
  EXPECT_EQ(edits.mounts[0].dest, "/x");
  EXPECT_THAT(edits.mounts[0].mount.options, ElementsAre("ro", "rbind"));
  ASSERT_EQ(edits.hooks.size(), 1u);
  EXPECT_EQ(edits.hooks[0].timeout_s, 3);
  EXPECT_THAT(edits.groups, ElementsAre(7u));
}

TEST_F(CdiTest, LaterDirectoriesWinAndTwinsLose) {
  Put("low/x.json", One("A=low"));
  Put("high/x.json", One("A=high"));
  EXPECT_THAT(Read().EditsOf({"v.org/x=d"}).env, ElementsAre("A=high"));
  Put("high/y.json", One("A=other"));
  EXPECT_TRUE(Read().List().empty());
}

TEST_F(CdiTest, BadFilesAreLeftOut) {
  Put("low/a.yaml", "kind: v.org/x\ndevices: [{name: d}]");
  Put("low/b.yaml", "cdiVersion: 1\nkind: nokind\ndevices: [{name: d}]");
  Put("low/c.yaml", "cdiVersion: 1\nkind: v.org/x\ndevices: [{name: d, containerEdits: {env: [noequals]}}]");
  Put("low/d.yaml", "&a [*a, *a]");
  Put("low/e.yml", One("A=b"));
  EXPECT_TRUE(Read().List().empty());
}

TEST_F(CdiTest, ConfigurationAllowsKinds) {
  auto_allowed_ = {"v.org/x"};
  Put("low/x.json", One("A=b"));
  ASSERT_EQ(Read().List().size(), 1u);
  EXPECT_TRUE(Read().List()[0].auto_allow);
}

TEST(YamlTest, ErrorsNameTheLine) {
  EXPECT_THAT(std::string(ParseYaml("a: b\na: c").status().message()), HasSubstr("line 2"));
  EXPECT_THAT(std::string(ParseYaml("a: [").status().message()), HasSubstr("line"));
  EXPECT_FALSE(ParseYaml("").ok());
  EXPECT_FALSE(ParseYaml(std::string(1000, '[')).ok());
}

}  // namespace
}  // namespace cachalot::runtime
