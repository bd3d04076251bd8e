#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/escaping.h"
#include "codec/compression.h"
#include "codec/tar.h"
#include "export/fakes_testing.h"
#include "export/image_config.h"
#include "export/options.h"

namespace cachalot::exporting {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kConfig[] =
    R"({"architecture":"amd64","os":"linux","config":{"Cmd":["a && b"]},"x":{"b":1,"a":2},"history":[{"created_by":"one"},{"created_by":"env","empty_layer":true}]})";

class ExportTest : public ::testing::Test {
 protected:
  ExportTest() {
    context_.snapshots = &snapshots_;
    context_.fetcher = &fetcher_;
    context_.blobs = &blobs_;
    context_.registry = &registry_;
    context_.session = session_;
    context_.exporter_id = 3;
    context_.progress = progress_;
    context_.clock = &clock_;
    std::string pattern = (std::filesystem::temp_directory_path() / "export-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~ExportTest() override { std::filesystem::remove_all(directory_); }

  snapshot::Layer Layer(const std::string& content, bool local = true) {
    if (local) (void)blobs_.Put(content);
    snapshot::Layer layer;
    layer.blob = {
        .media_type = std::string(oci::kMediaTypeLayerGzip), .digest = oci::Digest::Of(content), .size = static_cast<std::int64_t>(content.size())};
    layer.diff_id = oci::Digest::Of("diff of " + content);
    layer.description = "made " + content;
    layer.created_at = absl::FromUnixSeconds(1600000000);
    return layer;
  }
  Source Single(std::vector<snapshot::Layer> layers, std::string config = kConfig) {
    Source source;
    source.platforms.push_back({"", std::nullopt, std::make_shared<FakeSnapshot>("s", std::move(layers), directory_), std::move(config)});
    return source;
  }
  Source Multi() {
    Source source;
    source.multi_platform = true;
    for (const char* name : {"linux/amd64", "linux/arm64"}) {
      const std::string config = absl::StrCat(R"({"architecture":")", name + 6, R"(","os":"linux"})");
      source.platforms.push_back(
          {name, *oci::ParsePlatform(name), std::make_shared<FakeSnapshot>(name, std::vector{Layer(name)}, directory_), config});
    }
    return source;
  }
  // The archive that the client got: contents by path.
  std::map<std::string, std::string> Received(std::map<std::string, codec::TarEntry>* entries = nullptr) {
    codec::StringSource source(session_->output);
    codec::TarReader reader(&source);
    std::map<std::string, std::string> files;
    codec::TarEntry entry;
    while (*reader.Next(&entry)) {
      std::string content(static_cast<std::size_t>(entry.size), '\0');
      std::size_t have = 0;
      while (have < content.size()) have += *reader.Read(content.data() + have, content.size() - have);
      files[entry.path] = content;
      if (entries != nullptr) (*entries)[entry.path] = entry;
    }
    return files;
  }

  FakeSnapshots snapshots_;
  FakeFetcher fetcher_;
  store::MemoryBlobs blobs_;
  FakeRegistry registry_;
  std::shared_ptr<FakeSession> session_ = std::make_shared<FakeSession>();
  std::shared_ptr<RecordingProgress> progress_ = std::make_shared<RecordingProgress>();
  FixedClock clock_;
  Context context_;
  std::string directory_;
};

TEST_F(ExportTest, ImageConfigIsAssembled) {
  const absl::StatusOr<std::string> config = AssembleImageConfig({kConfig, "", {Layer("a"), Layer("b")}, std::nullopt});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config,
            absl::StrCat(
                R"({"architecture":"amd64","config":{"Cmd":["a \u0026\u0026 b"]},"created":"2020-09-13T12:26:40Z","history":[)",
                R"({"created":"2020-09-13T12:26:40Z","created_by":"one"},{"created":"2020-09-13T12:26:40Z","created_by":"env","empty_layer":true},)",
                R"({"created":"2020-09-13T12:26:40Z","created_by":"made b","comment":"buildkit.exporter.image.v0"}],)",
                R"("os":"linux","rootfs":{"type":"layers","diff_ids":[")", Layer("a").diff_id.str(), R"(",")", Layer("b").diff_id.str(),
                R"("]},"x":{"b":1,"a":2}})"));
  EXPECT_EQ(AssembleImageConfig({R"({"os":"linux"})", "", {}, std::nullopt}).status().message(),
            "invalid image config for export: missing architecture");
  // More history than layers: what has none becomes empty.
  EXPECT_THAT(*AssembleImageConfig({kConfig, "", {}, std::nullopt}), HasSubstr(R"({"created_by":"one","empty_layer":true})"));
}

TEST_F(ExportTest, EpochBoundsTimesButNotTheBase) {
  const std::string base = R"({"architecture":"amd64","os":"linux","history":[{"created":"2021-01-01T00:00:00Z","created_by":"base"}]})";
  const std::string config =
      R"({"architecture":"amd64","os":"linux","created":"2022-01-01T00:00:00Z","history":[{"created":"2021-01-01T00:00:00Z","created_by":"base"},{"created_by":"new"}]})";
  const std::string out = *AssembleImageConfig({config, base, {Layer("a"), Layer("b")}, absl::FromUnixSeconds(0)});
  EXPECT_THAT(out, HasSubstr(R"("created":"1970-01-01T00:00:00Z","history":[{"created":"2021-01-01T00:00:00Z","created_by":"base"},)"
                             R"({"created":"1970-01-01T00:00:00Z","created_by":"new"}])"));
}

TEST_F(ExportTest, ImageIsStoredAndPushed) {
  const auto response = Export("image", {{"name", "reg.io/x:1,reg.io/y"}, {"push", "true"}}, Single({Layer("a")}), context_);
  ASSERT_TRUE(response.ok()) << response.status();
  const std::string digest = response->at("containerimage.digest");
  EXPECT_EQ(response->at("image.name"), "reg.io/x:1,reg.io/y");
  std::string descriptor;
  ASSERT_TRUE(absl::Base64Unescape(response->at("containerimage.descriptor"), &descriptor));
  EXPECT_THAT(descriptor, testing::StartsWith(R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" + digest));
  EXPECT_THAT(descriptor, HasSubstr(R"("platform":{"architecture":"amd64","os":"linux"})"));
  const oci::Manifest manifest = *oci::ParseManifest(*blobs_.Read(*oci::Digest::Parse(digest)));
  EXPECT_EQ(manifest.config.digest.str(), response->at("containerimage.config.digest"));
  EXPECT_TRUE(blobs_.Has(manifest.config.digest));
  EXPECT_THAT(*registry_.log.Lock(), Contains("put reg.io/x:1"));
  EXPECT_EQ(registry_.log.Lock()->back(), "put reg.io/y:latest");
  EXPECT_THAT(*progress_->finished.Lock(),
              ElementsAre("exporting layers", "exporting manifest " + digest, "exporting config " + manifest.config.digest.str(), "pushing layers",
                          "pushing manifest for reg.io/x:1@" + digest, "pushing layers", "pushing manifest for reg.io/y:latest@" + digest));
  EXPECT_EQ(progress_->vertexes.Lock()->front().name, "exporting to image");
  EXPECT_EQ(progress_->vertexes.Lock()->front().digest, oci::Digest::Of("session-export-3").str());
  EXPECT_TRUE(progress_->vertexes.Lock()->back().completed.has_value());
}

TEST_F(ExportTest, RemoteLayersAreMountedOrFetched) {
  snapshot::Layer mounted = Layer("mounted", false);
  mounted.sources = {"reg.io/base"};
  fetcher_.remote = {"fetched"};
  ASSERT_TRUE(Export("image", {{"name", "reg.io/x"}, {"push", ""}}, Single({mounted, Layer("fetched", false)}), context_).ok());
  EXPECT_FALSE(blobs_.Has(mounted.blob.digest));
  EXPECT_TRUE(blobs_.Has(oci::Digest::Of("fetched")));
  const absl::Status status = Export("image", {{"name", "reg.io/x"}, {"push", ""}}, Single({Layer("gone", false)}), context_).status();
  EXPECT_THAT(std::string(status.message()), testing::StartsWith("failed to push reg.io/x: "));
}

TEST_F(ExportTest, PushByDigest) {
  const auto response = Export("image", {{"name", "reg.io/x"}, {"push", "1"}, {"push-by-digest", "1"}}, Single({}), context_);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(registry_.log.Lock()->back(), "put reg.io/x@" + response->at("containerimage.digest"));
  EXPECT_THAT(Export("image", {{"name", "reg.io/x:1"}, {"push", "1"}, {"push-by-digest", "1"}}, Single({}), context_).status().message(),
              HasSubstr("can't push tagged ref reg.io/x:1 by digest"));
}

TEST_F(ExportTest, SeveralPlatformsMakeAnIndex) {
  const auto response = Export(
      "image", {{"annotation-index.a", "b"}, {"annotation-manifest[linux/arm64].c", "d"}, {"name", "reg.io/x"}, {"push", ""}}, Multi(), context_);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->count("containerimage.config.digest"), 0u);
  const oci::Index index = *oci::ParseIndex(*blobs_.Read(*oci::Digest::Parse(response->at("containerimage.digest"))));
  EXPECT_EQ(index.annotations.at("a"), "b");
  ASSERT_EQ(index.manifests.size(), 2u);
  EXPECT_EQ(index.manifests[1].platform->architecture, "arm64");
  EXPECT_THAT((*oci::ParseManifest(*blobs_.Read(index.manifests[0].digest))).annotations, testing::IsEmpty());
  EXPECT_EQ((*oci::ParseManifest(*blobs_.Read(index.manifests[1].digest))).annotations.at("c"), "d");
  EXPECT_EQ(registry_.manifests.size(), 3u);
}

TEST_F(ExportTest, DockerMediaTypes) {
  const auto response = Export("image", {{"oci-mediatypes", "false"}, {"compression", "gzip"}}, Single({Layer("a")}), context_);
  const oci::Manifest manifest = *oci::ParseManifest(*blobs_.Read(*oci::Digest::Parse(response->at("containerimage.digest"))));
  EXPECT_EQ(manifest.media_type, oci::kDockerManifest);
  EXPECT_EQ(manifest.config.media_type, oci::kDockerConfig);
  EXPECT_EQ(manifest.layers[0].media_type, oci::kDockerLayerGzip);
}

TEST_F(ExportTest, OlderVersionsHaveOlderDefaults) {
  const auto type_of = [&](const std::string& type, const std::map<std::string, std::string>& attrs) {
    const auto response = Export(type, attrs, Single({Layer("a")}), context_);
    EXPECT_TRUE(response.ok()) << response.status();
    return oci::ParseManifest(*blobs_.Read(*oci::Digest::Parse(response->at("containerimage.digest"))))->media_type;
  };
  context_.compatibility_version = kCompatibility015;
  EXPECT_EQ(type_of("image", {}), oci::kDockerManifest);
  EXPECT_EQ(type_of("image", {{"oci-mediatypes", "true"}}), oci::kMediaTypeManifest);
  EXPECT_EQ(type_of("oci", {{"compression", "zstd"}}), oci::kMediaTypeManifest);
  context_.compatibility_version = kCompatibility013;
  EXPECT_EQ(Export("oci", {{"compression", "zstd"}}, Single({Layer("a")}), context_).status().message(),
            "unsupported compatibility-version 10 feature oci exporter compression=zstd");
  EXPECT_EQ(CheckCompatibilityVersion(31).message(), "unsupported compatibility-version 31: upgrade buildkit (max supported: 30)");
  EXPECT_FALSE(CheckCompatibilityVersion(11).ok());
}

TEST_F(ExportTest, OciArchive) {
  const auto response = Export("oci", {{"name", "busybox,x/y:1"}, {"source-date-epoch", "0"}}, Single({Layer("a")}), context_);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->at("image.name"), "docker.io/library/busybox:latest,docker.io/x/y:1");
  EXPECT_EQ(session_->output_id, 3);
  EXPECT_EQ(session_->output_metadata, *response);
  EXPECT_TRUE(session_->output_closed);
  const auto files = Received();
  EXPECT_EQ(files.at("oci-layout"), R"({"imageLayoutVersion":"1.0.0"})");
  EXPECT_EQ(files.at("blobs/sha256/" + std::string(oci::Digest::Of("a").hex())), "a");
  EXPECT_EQ(files.count("manifest.json"), 0u);
  const oci::Index index = *oci::ParseIndex(files.at("index.json"));
  ASSERT_EQ(index.manifests.size(), 2u);
  EXPECT_EQ(index.manifests[1].annotations.at("io.containerd.image.name"), "docker.io/x/y:1");
  EXPECT_EQ(index.manifests[1].annotations.at("org.opencontainers.image.ref.name"), "1");
  EXPECT_EQ(index.manifests[1].annotations.at("org.opencontainers.image.created"), "1970-01-01T00:00:00Z");
  EXPECT_EQ(files.size(), 7u);  // two directories, the layout, the index, manifest, configuration, layer
}

TEST_F(ExportTest, DockerArchive) {
  session_->close_status = absl::AlreadyExistsError("the client has it");
  const auto response = Export("docker", {{"name", "busybox"}}, Single({Layer("a")}), context_);
  ASSERT_TRUE(response.ok()) << response.status();
  const std::string config = response->at("containerimage.config.digest").substr(7);
  EXPECT_EQ(Received().at("manifest.json"),
            absl::StrCat(R"([{"Config":"blobs/sha256/)", config, R"(","RepoTags":["busybox:latest"],"Layers":["blobs/sha256/)",
                         oci::Digest::Of("a").hex(), R"("]}])"));
  EXPECT_FALSE(Export("docker", {}, Multi(), context_).ok());
}

TEST_F(ExportTest, TarOfFiles) {
  std::ofstream(directory_ + "/file") << "content";
  std::filesystem::create_directory(directory_ + "/dir");
  std::filesystem::create_hard_link(directory_ + "/file", directory_ + "/hard");
  std::filesystem::create_symlink("../x", directory_ + "/dir/link");
  ASSERT_EQ(mkfifo((directory_ + "/pipe").c_str(), 0640), 0);
  ASSERT_TRUE(Export("tar", {}, Single({}), context_).ok());
  std::map<std::string, codec::TarEntry> entries;
  EXPECT_EQ(Received(&entries).at("file"), "content");
  EXPECT_EQ(entries.at("hard").link, "file");
  EXPECT_EQ(entries.at("dir/link").link, "../x");
  EXPECT_EQ(entries.at("pipe").type, codec::TarType::kFifo);

  session_->output.clear();
  ASSERT_TRUE(Export("tar", {{"source-date-epoch", "77"}}, Multi(), context_).ok());
  Received(&entries);
  EXPECT_EQ(entries.at("linux_arm64/dir/link").mtime.tv_sec, 77);
}

TEST_F(ExportTest, LocalFiles) {
  std::ofstream(directory_ + "/file") << "content";
  ASSERT_TRUE(Export("local", {}, Single({}), context_).ok());
  ASSERT_EQ(session_->transfers.size(), 1u);
  EXPECT_EQ(session_->transfers[0][0].source, directory_);
  EXPECT_EQ(session_->transfers[0][0].subdirectory, "");
  EXPECT_THAT(*progress_->finished.Lock(), ElementsAre("copying files"));

  session_->transfers.clear();
  ASSERT_TRUE(Export("local", {}, Multi(), context_).ok());
  ASSERT_EQ(session_->transfers.size(), 2u);
  EXPECT_EQ(session_->transfers[1][0].subdirectory, "linux_arm64");
  EXPECT_EQ(Export("local", {{"platform-split", "false"}}, Multi(), context_).status().message(),
            "cannot overwrite file from linux/amd64 with linux/arm64 when split option is disabled");
}

TEST_F(ExportTest, MirroringClientsTakeOneTransfer) {
  ASSERT_TRUE(Export("local", {{"mode", "delete"}}, Multi(), context_).ok());
  ASSERT_EQ(session_->transfers.size(), 1u);
  EXPECT_EQ(session_->transfers[0].size(), 2u);
  ASSERT_TRUE(Export("local", {{"mode", "delete"}, {"platform-split", "false"}}, Multi(), context_).ok());
  EXPECT_EQ(snapshots_.merged, 2u);
  ASSERT_EQ(session_->transfers.size(), 2u);
  EXPECT_EQ(session_->transfers[1].size(), 1u);
}

TEST_F(ExportTest, TimestampsAreRewritten) {
  codec::StringSink layer;
  codec::TarWriter tar(&layer);
  codec::TarEntry entry;
  entry.path = "f";
  entry.size = 2;
  entry.mtime.tv_sec = 2000;
  ASSERT_TRUE(tar.Add(entry).ok() && tar.Write("hi").ok() && tar.Finish().ok());
  const auto response = Export("image", {{"rewrite-timestamp", "true"}, {"source-date-epoch", "1000"}, {"compression", "uncompressed"}},
                               Single({Layer(layer.bytes())}), context_);
  ASSERT_TRUE(response.ok()) << response.status();
  const oci::Manifest manifest = *oci::ParseManifest(*blobs_.Read(*oci::Digest::Parse(response->at("containerimage.digest"))));
  EXPECT_EQ(manifest.layers[0].annotations.at("buildkit/rewritten-timestamp"), "1000");
  EXPECT_EQ(manifest.layers[0].media_type, oci::kMediaTypeLayer);
  session_->output = *blobs_.Read(manifest.layers[0].digest);
  std::map<std::string, codec::TarEntry> entries;
  EXPECT_EQ(Received(&entries).at("f"), "hi");
  EXPECT_EQ(entries.at("f").mtime.tv_sec, 1000);
  const oci::ImageConfig config = *oci::ParseImageConfig(*blobs_.Read(manifest.config.digest));
  EXPECT_THAT(config.diff_ids, ElementsAre(manifest.layers[0].digest));
}

TEST_F(ExportTest, ScratchHasADefaultConfig) {
  Source source;
  source.platforms.push_back({});
  const auto response = Export("image", {}, source, context_);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_THAT(
      *blobs_.Read(*oci::Digest::Parse(response->at("containerimage.config.digest"))),
      HasSubstr(
          R"("config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"},"created":null,"history":null,)"));
}

TEST(CheckExport, NamesWhatIsWrong) {
  EXPECT_EQ(CheckExport("nope", {}).message(), "exporter \"nope\" could not be found");
  EXPECT_THAT(CheckExport("image", {{"push", "maybe"}}).message(), HasSubstr("non-bool value specified for push"));
  EXPECT_EQ(CheckExport("image", {{"compression", "lzw"}}).message(), "unsupported compression type lzw");
  EXPECT_EQ(CheckExport("oci", {{"oci-artifact", "true"}, {"oci-mediatypes", "false"}}).message(),
            "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"");
  EXPECT_THAT(CheckExport("image", {{"compression-level", "x"}}).message(), HasSubstr("compression-level"));
  EXPECT_FALSE(CheckExport("local", {{"mode", "x"}}).ok());
  EXPECT_FALSE(CheckExport("tar", {{"source-date-epoch", "yesterday"}}).ok());
  EXPECT_TRUE(CheckExport("image", {{"unknown", "x"}, {"unpack", ""}, {"containerimage.config", "{}"}}).ok());
}

}  // namespace
}  // namespace cachalot::exporting
