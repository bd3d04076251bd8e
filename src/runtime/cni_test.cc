#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "os/file.h"
#include "os/network_namespace.h"
#include "os/scratch_testing.h"
#include "runtime/cni_plugins.h"
#include "runtime/network.h"

namespace cachalot::runtime {
namespace {

using testing::HasSubstr;

// Plugins that note how they are called: "<type> <command> <arguments>" and their input, a line each.
class CniTest : public testing::Test {
 protected:
  CniTest() {
    EXPECT_TRUE(os::MakeDirectories(scratch_ / "bin").ok());
    Plugin("first", "echo '{\"cniVersion\":\"1.0.0\",\"from\":\"first\"}'");
    Plugin("second", "echo '{\"cniVersion\":\"1.0.0\",\"from\":\"second\"}'");
  }
  void Plugin(const std::string& name, const std::string& answer) {
    const std::string script = absl::StrCat("#!/bin/sh\necho \"", name, " $CNI_COMMAND $CNI_IFNAME $CNI_ARGS\" >> ", scratch_ / "calls", "\ncat >> ",
                                            scratch_ / "calls", "\necho >> ", scratch_ / "calls", "\n", answer, "\n");
    ASSERT_TRUE(os::WriteFileAtomic(scratch_ / ("bin/" + name), script, 0755).ok());
  }
  CniPlugins Plugins() { return *CniPlugins::Parse(kList, scratch_ / "bin"); }
  std::string Calls() { return os::ReadFile(scratch_ / "calls", 1 << 20).value_or(""); }

  static constexpr char kList[] = R"({"cniVersion":"1.0.0","name":"net","plugins":[{"type":"first","key":1},{"type":"second"}]})";
  os::Scratch scratch_;
};

TEST_F(CniTest, ResultsGoFromPluginToPlugin) {
  const CniPlugins plugins = Plugins();
  const absl::StatusOr<std::string> result = plugins.Add({"id", "/ns", "web"});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(*result, "{\"cniVersion\":\"1.0.0\",\"from\":\"second\"}\n");
  ASSERT_TRUE(plugins.Delete({"id", "/ns", "web"}, *result).ok());
  EXPECT_EQ(Calls(), R"(first ADD eth0 K8S_POD_NAME=web;IgnoreUnknown=1
{"cniVersion":"1.0.0","key":1,"name":"net","type":"first"}
second ADD eth0 K8S_POD_NAME=web;IgnoreUnknown=1
{"cniVersion":"1.0.0","name":"net","prevResult":{"cniVersion":"1.0.0","from":"first"},"type":"second"}
second DEL eth0 K8S_POD_NAME=web;IgnoreUnknown=1
{"cniVersion":"1.0.0","name":"net","prevResult":{"cniVersion":"1.0.0","from":"second"},"type":"second"}
first DEL eth0 K8S_POD_NAME=web;IgnoreUnknown=1
{"cniVersion":"1.0.0","key":1,"name":"net","prevResult":{"cniVersion":"1.0.0","from":"second"},"type":"first"}
)");
}

TEST_F(CniTest, FailuresAreUndoneAndExplained) {
  Plugin("second", "[ $CNI_COMMAND = DEL ] || { echo '{\"code\":7,\"msg\":\"no addresses\",\"details\":\"left\"}'; exit 1; }");
  const absl::StatusOr<std::string> result = Plugins().Add({"id", "/ns", ""});
  EXPECT_EQ(result.status().message(), "CNI setup error: plugin type=\"second\" failed (ADD): no addresses; left");
  EXPECT_THAT(Calls(), HasSubstr("first DEL"));
}

TEST_F(CniTest, OneConfigurationIsAListOfOne) {
  const CniPlugins plugins = *CniPlugins::Parse(R"({"cniVersion":"0.3.1","name":"n","type":"first"})", scratch_ / "bin");
  ASSERT_TRUE(plugins.Add({"id", "/ns", ""}).ok());
  ASSERT_TRUE(plugins.Delete({"id", "/ns", ""}, "{}").ok());
  EXPECT_FALSE(absl::StrContains(Calls(), "prevResult"));
}

TEST_F(CniTest, BadConfigurationsAreRefused) {
  for (const char* text : {"", "[]", "{}", R"({"name":"n"})", R"({"name":"n","plugins":[]})", R"({"name":"n","type":"../x"})"}) {
    EXPECT_FALSE(CniPlugins::Parse(text, "/").ok()) << text;
  }
}

TEST_F(CniTest, NetworksAreKeptForTheNextContainerUnlessNamed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "net.conflist", kList).ok());
  CniConfig config;
  config.config_path = scratch_ / "net.conflist";
  config.plugin_dir = scratch_ / "bin";
  {
    const std::unique_ptr<NetworkProvider> provider = *NewCniNetwork(config, scratch_ / "state");
    std::unique_ptr<ContainerNetwork> network = *provider->Attach("a", "");
    const std::string path = network->namespace_path();
    EXPECT_FALSE(network->is_host());
    // Nothing but loopback is in it.
    EXPECT_TRUE(os::RunInNetworkNamespace(path, [] {
                  return os::InterfaceExists("lo") && !os::InterfaceExists("eth0") ? absl::OkStatus() : absl::InternalError("wrong namespace");
                }).ok());
    network.reset();
    network = *provider->Attach("b", "");
    EXPECT_EQ(network->namespace_path(), path);
    EXPECT_NE((*provider->Attach("c", "web"))->namespace_path(), path);
  }
  EXPECT_TRUE(os::ListDirectory(scratch_ / "state")->empty());
}

TEST_F(CniTest, LeftOversAreReleased) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "net.conflist", kList).ok());
  ASSERT_TRUE(os::MakeDirectories(scratch_ / "state/old").ok());
  ASSERT_TRUE(os::WriteFileAtomic(scratch_ / "state/old/result", "{\"was\":1}").ok());
  CniConfig config;
  config.config_path = scratch_ / "net.conflist";
  config.plugin_dir = scratch_ / "bin";
  ASSERT_TRUE(NewCniNetwork(config, scratch_ / "state").ok());
  EXPECT_THAT(Calls(), HasSubstr("\"prevResult\":{\"was\":1}"));
  EXPECT_TRUE(os::ListDirectory(scratch_ / "state")->empty());
}

}  // namespace
}  // namespace cachalot::runtime
