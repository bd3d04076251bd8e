#include "build/entitlements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "os/file.h"
#include "os/scratch_testing.h"

namespace cachalot::build {
namespace {

std::vector<std::string> Names(const std::vector<llb::CdiDevice>& devices) {
  std::vector<std::string> names;
  for (const llb::CdiDevice& device : devices) names.push_back(device.name);
  return names;
}

class DevicesTest : public testing::Test {
 protected:
  DevicesTest() {
    EXPECT_TRUE(os::WriteFileAtomic(scratch_ / "a.yaml", "cdiVersion: 1\nkind: v.org/x\ndevices: [{name: a}, {name: b}]").ok());
    EXPECT_TRUE(os::WriteFileAtomic(scratch_ / "b.yaml",
                                    "cdiVersion: 1\nkind: v.org/free\ndevices: [{name: a, annotations: "
                                    "{org.mobyproject.buildkit.device.autoallow: true}}]")
                    .ok());
    runtime::CdiDevices::Config config;
    config.spec_dirs = {scratch_.path()};
    catalog_ = runtime::CdiDevices(config).Read();
  }
  absl::StatusOr<std::vector<llb::CdiDevice>> Allow(const std::vector<std::string>& asked, const std::vector<llb::CdiDevice>& requests) {
    return Entitlements::Grant(asked, {"device"})->AllowDevices(requests, catalog_);
  }
  os::Scratch scratch_;
  runtime::CdiCatalog catalog_;
};

TEST_F(DevicesTest, OnlyGrantedOnesAreAllowed) {
  EXPECT_EQ(Allow({}, {{"v.org/x=*"}}).status().message(), "devices v.org/x=a, v.org/x=b are requested by the build but not allowed");
  EXPECT_EQ(Allow({"device=v.org/x=a"}, {{"v.org/x=*"}}).status().message(), "device v.org/x=b is requested by the build but not allowed");
  EXPECT_THAT(Names(*Allow({"device=v.org/x=*"}, {{"v.org/x"}})), testing::ElementsAre("v.org/x=a"));
  EXPECT_THAT(Names(*Allow({"device"}, {{"v.org/x=*"}})), testing::ElementsAre("v.org/x=*"));
}

TEST_F(DevicesTest, SomeNeedNoGrant) { EXPECT_THAT(Names(*Allow({}, {{"v.org/free"}})), testing::ElementsAre("v.org/free=a")); }

TEST_F(DevicesTest, AliasesStandForDevices) {
  EXPECT_THAT(Names(*Allow({"device=v.org/x=b,alias=gpu"}, {{"gpu"}})), testing::ElementsAre("v.org/x=b"));
  EXPECT_FALSE(Entitlements::Grant({"device=v.org/x=b,name=gpu"}, {"device"}).ok());
}

TEST_F(DevicesTest, OptionalOnesMayBeMissing) {
  EXPECT_TRUE(Allow({}, {{"v.org/none", true}})->empty());
  EXPECT_FALSE(Allow({}, {{"v.org/none", false}}).ok());
}

TEST(EntitlementsTest, DaemonAndClientMustAgree) {
  EXPECT_EQ(Entitlements::Grant({"network.host"}, {"device"}).status().message(),
            "granting entitlement network.host is not allowed by build daemon configuration");
  EXPECT_EQ(Entitlements::Grant({"network.all"}, {}).status().message(), "unknown entitlement network.all");
  llb::Vertex vertex;
  vertex.op = llb::ExecOp{};
  std::get<llb::ExecOp>(vertex.op).network = llb::NetMode::kHost;
  EXPECT_EQ(Entitlements().Check(vertex).message(), "network.host is not allowed");
  EXPECT_TRUE(Entitlements::Grant({"network.host"}, {"network.host"})->Check(vertex).ok());
  std::get<llb::ExecOp>(vertex.op).security = llb::SecurityMode::kInsecure;
  EXPECT_EQ(Entitlements::Grant({"network.host"}, {"network.host"})->Check(vertex).message(), "security.insecure is not allowed");
}

}  // namespace
}  // namespace cachalot::build
