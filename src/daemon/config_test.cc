#include "daemon/config.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "daemon/command_line.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cachalot::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Config, ReadsEverySectionThatActs) {
  Settings settings;
  const absl::Status status = ParseConfig(R"(
debug = true
root = "/tmp/state"
insecure-entitlements = ["network.host"]
[grpc]
address = ["unix:///tmp/a.sock", "tcp://127.0.0.1:1"]
gid = 7
[grpc.tls]
cert = "c"
key = "k"
ca = "a"
[worker.oci]
enabled = true
gc = false
max-parallelism = 3
networkMode = "host"
[worker.oci.labels]
"org.example" = "x"
[[worker.oci.gcpolicy]]
keepBytes = "512MB"
keepDuration = "48h"
filters = ["type==source.local"]
[[worker.oci.gcpolicy]]
all = true
reservedSpace = 1024
[registry."docker.io"]
mirrors = ["localhost:5000"]
http = true
insecure = true
[[registry."docker.io".keypair]]
key = "key.pem"
cert = "cert.pem"
[dns]
nameservers = ["1.1.1.1"]
[history]
maxEntries = 9
)",
                                          "f.toml", settings);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(settings.log_level, "debug");
  EXPECT_EQ(settings.root, "/tmp/state");
  EXPECT_THAT(settings.server.addresses, ElementsAre("unix:///tmp/a.sock", "tcp://127.0.0.1:1"));
  EXPECT_EQ(settings.server.socket_gid, 7);
  EXPECT_EQ(settings.server.tls_ca, "a");
  EXPECT_EQ(settings.server.history.max_entries, 9);
  EXPECT_FALSE(settings.engine.gc);
  EXPECT_EQ(settings.engine.max_parallelism, 3);
  EXPECT_EQ(settings.engine.worker_labels.at("org.example"), "x");
  ASSERT_EQ(settings.policies.size(), 2u);
  EXPECT_EQ(settings.policies[0].limits.reserved.bytes, 512 << 20);
  EXPECT_EQ(settings.policies[0].policy.keep_duration, absl::Hours(48));
  EXPECT_TRUE(settings.policies[1].policy.all);
  EXPECT_EQ(settings.policies[1].limits.reserved.bytes, 1024);
  const auto& host = settings.engine.registries.at("docker.io");
  EXPECT_THAT(host.mirrors, ElementsAre("localhost:5000"));
  EXPECT_TRUE(*host.plain_http && *host.insecure);
  EXPECT_EQ(host.key_pairs.at(0).second, "cert.pem");
  EXPECT_THAT(settings.engine.runtime.dns_servers, ElementsAre("1.1.1.1"));
}

TEST(Config, UnknownKeyNamesKeyFileAndLine) {
  Settings settings;
  const absl::Status status = ParseConfig("[worker.oci]\n\nfoo = 1\n", "b.toml", settings);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "b.toml:3: worker.oci.foo: unknown key");
}

TEST(Config, WrongTypesAndSyntaxNameTheirPlace) {
  Settings settings;
  EXPECT_EQ(ParseConfig("root = 3", "b.toml", settings).message(), "b.toml:1: root: is not a string");
  EXPECT_EQ(ParseConfig("worker = 3", "b.toml", settings).message(), "b.toml:1: worker: is not a table");
  EXPECT_THAT(std::string(ParseConfig("[worker.oci]\nreservedSpace = \"many\"", "b.toml", settings).message()),
              HasSubstr("b.toml:2: worker.oci.reservedSpace: invalid disk space many"));
  EXPECT_THAT(std::string(ParseConfig("a = \n", "b.toml", settings).message()), HasSubstr("b.toml:1: "));
}

TEST(Config, KnownKeysWithoutEffectAreListed) {
  Settings settings;
  ASSERT_TRUE(ParseConfig("[worker.oci]\ncniPoolSize = 2\nnoProcessSandbox = false\n[otel]\nsocketPath = \"x\"", "f", settings).ok());
  EXPECT_THAT(settings.ignored, ::testing::UnorderedElementsAre("worker.oci.noProcessSandbox", "otel.socketPath"));
}

TEST(Config, AMissingFileIsEmpty) {
  Settings settings;
  EXPECT_TRUE(LoadConfig("/nonexistent/buildkitd.toml", settings).ok());
}

TEST(ConfigValues, DiskSpace) {
  EXPECT_EQ(ParseDiskSpace("512MB")->bytes, 512 << 20);
  EXPECT_EQ(ParseDiskSpace("1.5g")->bytes, 3 << 29);
  EXPECT_EQ(ParseDiskSpace("2KiB")->bytes, 2048);
  EXPECT_EQ(ParseDiskSpace("77")->bytes, 77);
  EXPECT_EQ(ParseDiskSpace("20%")->percentage, 20);
  for (const char* bad : {"x", "1x", "1kx", "-5%", "1e", "99999999t"}) {
    EXPECT_FALSE(ParseDiskSpace(bad).ok()) << bad;
  }
  EXPECT_EQ((DiskSpace{0, 50}.OnDisk(std::int64_t{100} << 30)), 51'000'000'000);
  EXPECT_EQ((DiskSpace{5, 0}.OnDisk(100)), 5);
}

TEST(ConfigValues, Durations) {
  EXPECT_EQ(*ParseDuration("90"), absl::Seconds(90));
  EXPECT_EQ(*ParseDuration("1h30m"), absl::Minutes(90));
  EXPECT_FALSE(ParseDuration("soon").ok());
}

TEST(ConfigValues, DefaultPoliciesFollowTheDisk) {
  const auto policies = DefaultPolicies({}, std::int64_t{1000} << 30);
  ASSERT_EQ(policies.size(), 4u);
  EXPECT_EQ(policies[0].max_used_space, 512'000'000);
  EXPECT_EQ(policies[2].reserved_space, 10'000'000'000);
  EXPECT_EQ(policies[2].max_used_space, 100'000'000'000);
  EXPECT_EQ(policies[2].min_free_space, 201'000'000'000);
  EXPECT_TRUE(policies[3].all);
}

absl::StatusOr<CommandLine> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "/usr/bin/buildkitd");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

TEST(CommandLine, TakesTheFlagsOfTheYardstick) {
  const std::string file = testing::TempDir() + "/cachalot_config_test.toml";
  std::ofstream(file) << "root = \"/from/file\"\n[registry.\"docker.io\"]\nmirrors = [\"localhost:1\"]\n";
  const std::string config = "--config=" + file;
  const auto parsed = Parse({"--oci-worker=true", "--containerd-worker=false", "--oci-worker-gc=false",
                             "--oci-worker-labels=org.mobyproject.buildkit.worker.sandbox=true", config.c_str(), "--root", "/from/flag", "--addr",
                             "unix:///tmp/x.sock", "--addr=tcp://127.0.0.1:0", "--debug"});
  std::filesystem::remove(file);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const Settings& settings = parsed->settings;
  EXPECT_EQ(settings.engine.root, "/from/flag");
  EXPECT_THAT(settings.server.addresses, ElementsAre("unix:///tmp/x.sock", "tcp://127.0.0.1:0"));
  EXPECT_EQ(settings.engine.worker_labels.at("org.mobyproject.buildkit.worker.sandbox"), "true");
  EXPECT_FALSE(settings.engine.gc);
  EXPECT_EQ(settings.log_level, "debug");
  EXPECT_EQ(settings.engine.registries.size(), 1u);
}

TEST(CommandLine, DefaultsAreBuildkitdsUnderItsName) {
  const auto parsed = Parse({"--config", "/nonexistent"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->settings.engine.root, "/var/lib/buildkit");
  EXPECT_THAT(parsed->settings.server.addresses, ElementsAre("unix:///run/buildkit/buildkitd.sock"));
  EXPECT_EQ(parsed->settings.engine.gc_policies.size(), 4u);
}

TEST(CommandLine, RefusesWhatIsNotSupported) {
  const auto error = [](std::vector<const char*> arguments) {
    arguments.push_back("--config=/nonexistent");
    return std::string(Parse(arguments).status().message());
  };
  EXPECT_THAT(error({"--containerd-worker=true"}), HasSubstr("containerd worker isn't supported"));
  EXPECT_THAT(error({"--oci-worker=false"}), HasSubstr("no worker found"));
  EXPECT_THAT(error({"--oci-worker=perhaps"}), HasSubstr("\"perhaps\" is not true, false or auto"));
  EXPECT_THAT(error({"--allow-insecure-entitlement", "everything"}), HasSubstr("invalid entitlement : everything"));
  EXPECT_THAT(error({"--oci-worker-snapshotter=stargz"}), HasSubstr("stargz isn't supported"));
  EXPECT_THAT(error({"--oci-worker-labels=x"}), HasSubstr("\"x\" is not name=value"));
  EXPECT_THAT(error({"--no-such-flag"}), HasSubstr("--no-such-flag"));
  EXPECT_THAT(error({"--group", "nobody-has-this-group"}), HasSubstr("nobody-has-this-group"));
}

TEST(CommandLine, FlagsWithoutEffectAreListed) {
  const auto parsed = Parse({"--config=/nonexistent", "--save-cache-debug", "--otel-socket-path", "/x"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->settings.ignored, ::testing::UnorderedElementsAre("--save-cache-debug", "--otel-socket-path"));
}

TEST(CommandLine, PrintsHelpAndVersion) {
  EXPECT_THAT(Parse({"--help"})->print, HasSubstr("--oci-worker-gc-keepstorage"));
  EXPECT_THAT(Parse({"--version"})->print, HasSubstr("buildkitd cachalot "));
}

}  // namespace
}  // namespace cachalot::daemon
