// Against Debian's docker-registry, when it is installed.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

#include "registry/client.h"
#include "registry/fake_server_testing.h"
#include "registry/http.h"
#include "registry/memory_blobs_testing.h"

namespace cachalot::registry {
namespace {

constexpr char kProgram[] = "/usr/bin/docker-registry";

class DockerRegistry : public ::testing::Test {
 protected:
  void SetUp() override {
    if (access(kProgram, X_OK) != 0) GTEST_SKIP() << kProgram << " is not installed";
    std::string pattern = (std::filesystem::temp_directory_path() / "registry-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    {
      authority_ = FakeServer([](const FakeRequest&) { return FakeReply{}; }).authority();
    }  // a port that was free just now
    const std::string config = directory_ + "/config.yml";
    std::ofstream(config) << "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: " << directory_ << "/data}}\nhttp: {addr: '"
                          << authority_ << "'}\n";
    std::string program = kProgram, serve = "serve", file = config;
    char* argv[] = {program.data(), serve.data(), file.data(), nullptr};
    ASSERT_EQ(posix_spawn(&pid_, kProgram, nullptr, nullptr, argv, environ), 0);
    const auto transport = HttpTransport::Create();
    for (int i = 0; i < 500 && !transport->Do({.url = "http://" + authority_ + "/v2/"}).ok(); ++i) (void)Pause(absl::Milliseconds(20), {});
  }
  void TearDown() override {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  std::string directory_;
  std::string authority_;
  pid_t pid_ = -1;
};

TEST_F(DockerRegistry, RoundTrip) {
  const auto client = Client::Create({});
  const oci::Reference ref = *oci::Reference::ParseNormalized(authority_ + "/some/image:tag");
  store::MemoryBlobs source;
  oci::Manifest manifest;
  for (const std::string& bytes : {std::string(5 << 20, 'a'), std::string("small"), std::string()}) {
    const oci::Descriptor layer{
        .media_type = std::string(oci::kMediaTypeLayer), .digest = *source.Put(bytes), .size = static_cast<std::int64_t>(bytes.size())};
    manifest.layers.push_back(layer);
    const absl::Status status = client->PushBlob(ref, layer, source, {}, {});
    ASSERT_TRUE(status.ok()) << status;
  }
  manifest.config = {.media_type = std::string(oci::kMediaTypeConfig), .digest = *source.Put("{}"), .size = 2};
  ASSERT_TRUE(client->PushBlob(ref, manifest.config, source, {}, {}).ok());
  const std::string bytes = Serialize(manifest);
  const oci::Descriptor root{.media_type = manifest.media_type, .digest = oci::Digest::Of(bytes), .size = static_cast<std::int64_t>(bytes.size())};
  ASSERT_TRUE(client->PushManifest(ref, root, bytes, false, {}).ok());

  const absl::StatusOr<oci::Descriptor> resolved = client->Resolve(ref, {});
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->digest, root.digest);
  EXPECT_EQ(resolved->media_type, root.media_type);
  EXPECT_EQ(*client->FetchManifest(ref, *resolved, {}), bytes);
  store::MemoryBlobs target;
  for (const oci::Descriptor& layer : manifest.layers) {
    const absl::Status status = client->FetchBlob(ref, layer, target, {});
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(target.Has(layer.digest));
  }

  // Another repository gets the same blob by mounting it.
  const oci::Reference other = *oci::Reference::ParseNormalized(authority_ + "/other:tag");
  store::MemoryBlobs empty;
  const absl::Status mounted = client->PushBlob(other, manifest.layers[0], empty, {authority_ + "/some/image"}, {});
  EXPECT_TRUE(mounted.ok()) << mounted;

  const absl::Status missing = client->Resolve(*oci::Reference::ParseNormalized(authority_ + "/some/image:nope"), {}).status();
  EXPECT_EQ(missing.message(), authority_ + "/some/image:nope: not found");
}

}  // namespace
}  // namespace cachalot::registry
