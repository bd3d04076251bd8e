#include <gtest/gtest.h>

#include "oci/digest.h"
#include "oci/image.h"
#include "oci/package_url.h"
#include "oci/platform.h"
#include "oci/reference.h"

namespace cachalot::oci {
namespace {

TEST(Digest, HashesAndParses) {
  const Digest empty = Digest::Of("");
  EXPECT_EQ(empty.str(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(empty.algorithm(), "sha256");
  EXPECT_EQ(empty.hex().size(), 64u);
  EXPECT_EQ(*Digest::Parse(empty.str()), empty);
  for (const char* bad : {"", "sha256", ":", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:../../etc/passwd",
                          "sha256:E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}) {
    EXPECT_FALSE(Digest::Parse(bad).ok()) << bad;
  }
}

TEST(Platform, ParsesAndNormalizes) {
  EXPECT_EQ(FormatPlatform(*ParsePlatform("linux/x86_64")), "linux/amd64");
  EXPECT_EQ(FormatPlatform(*ParsePlatform("linux/arm")), "linux/arm/v7");
  EXPECT_EQ(FormatPlatform(*ParsePlatform("linux/arm64/v8")), "linux/arm64");
  EXPECT_EQ(FormatPlatform(*ParsePlatform("riscv64")), "linux/riscv64");
  EXPECT_EQ(FormatPlatform(*ParsePlatform("darwin")), "darwin/" + HostPlatform().architecture);
  const Platform windows = *ParsePlatform("windows(10.0.17763+win32k)/amd64");
  EXPECT_EQ(windows.os_version, "10.0.17763");
  EXPECT_EQ(FormatPlatform(windows, true), "windows(10.0.17763+win32k)/amd64");
  for (const char* bad : {"", "*", "linux/*", "nonsense", "linux/amd64/v2/x", "linux//v1", "linux(/amd64"}) {
    EXPECT_FALSE(ParsePlatform(bad).ok()) << bad;
  }
}

TEST(Platform, RanksWhatServes) {
  const auto rank = [](const char* wanted, const char* candidate) { return PlatformRank(*ParsePlatform(wanted), *ParsePlatform(candidate)); };
  EXPECT_EQ(rank("linux/amd64", "linux/amd64"), 0);
  EXPECT_EQ(rank("linux/arm/v7", "linux/arm/v7"), 0);
  EXPECT_EQ(rank("linux/arm64", "linux/arm64/v8"), 0);
  EXPECT_GT(rank("linux/arm/v7", "linux/arm/v6"), 0);
  EXPECT_GT(rank("linux/arm64", "linux/arm/v7"), 0);
  EXPECT_GT(rank("linux/amd64/v3", "linux/amd64"), rank("linux/amd64/v3", "linux/amd64/v2"));
  EXPECT_GT(rank("linux/amd64", "linux/386"), 0);
  EXPECT_EQ(rank("linux/arm/v6", "linux/arm/v7"), -1);
  EXPECT_EQ(rank("linux/386", "linux/amd64"), -1);
  EXPECT_EQ(rank("linux/amd64", "windows/amd64"), -1);
}

TEST(Platform, RanksWindowsByVersion) {
  const auto serves = [](const char* wanted, const char* candidate) { return PlatformRank(*ParsePlatform(wanted), *ParsePlatform(candidate)) >= 0; };
  EXPECT_TRUE(serves("windows/amd64", "windows(10.0.17763.1)/amd64"));
  EXPECT_TRUE(serves("windows(10.0.17763.5)/amd64", "windows(10.0.17763.1)/amd64"));
  EXPECT_TRUE(serves("windows(10.0.17763.5)/amd64", "windows(10.0.17763.1+win32k)/amd64"));
  EXPECT_FALSE(serves("windows(10.0.17763)/amd64", "windows(10.0.17134)/amd64"));
  EXPECT_FALSE(serves("windows(1.2.3)/amd64", "windows(1.1.0)/amd64"));
  EXPECT_TRUE(serves("windows(10.0.25398)/amd64", "windows(10.0.20348)/amd64"));
  EXPECT_FALSE(serves("windows(10.0.20348)/amd64", "windows(10.0.25398)/amd64"));
  EXPECT_FALSE(serves("windows(10.0.27000)/amd64", "windows(10.0.20348)/amd64"));
  EXPECT_TRUE(serves("linux(2)/amd64", "linux(1)/amd64"));
}

TEST(Reference, Normalizes) {
  struct Case {
    const char* text;
    const char* full;
    const char* familiar;
  };
  const std::string digest = Digest::Of("x").str();
  const std::string with_digest = "busybox@" + digest;
  const std::string both = "localhost:5000/a/b:t@" + digest;
  const std::string full_digest = "docker.io/library/" + with_digest;
  for (const Case& c : std::vector<Case>{{"busybox", "docker.io/library/busybox:latest", "busybox:latest"},
                                         {"moby/buildkit:v1", "docker.io/moby/buildkit:v1", "moby/buildkit:v1"},
                                         {"index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
                                         {"localhost/x", "localhost/x:latest", "localhost/x:latest"},
                                         {"[::1]:5000/x__y/z-9", "[::1]:5000/x__y/z-9:latest", "[::1]:5000/x__y/z-9:latest"},
                                         {"Reg/x", "Reg/x:latest", "Reg/x:latest"},
                                         {with_digest.c_str(), full_digest.c_str(), with_digest.c_str()},
                                         {both.c_str(), both.c_str(), both.c_str()}}) {
    const absl::StatusOr<Reference> ref = Reference::ParseNormalized(c.text);
    ASSERT_TRUE(ref.ok()) << c.text << ref.status();
    EXPECT_EQ(ref->str(), c.full);
    EXPECT_EQ(ref->familiar(), c.familiar);
  }
}

TEST(Reference, Rejects) {
  for (const char* bad : {"", "a//b", "-x", "x:", "x:.t", "x@sha256:12", "a..b/c", "x___y", "http://x/y", "x y", "localhost:port/x", "../x"}) {
    EXPECT_FALSE(Reference::ParseNormalized(bad).ok()) << bad;
  }
  EXPECT_EQ(Reference::ParseNormalized("FROM").status().message(), "invalid reference format: repository name (library/FROM) must be lowercase");
}

TEST(Manifest, RoundTripsInSpecificationOrder) {
  Manifest manifest;
  manifest.config = {.media_type = std::string(kMediaTypeConfig), .digest = Digest::Of("{}"), .size = 2};
  manifest.layers.push_back({.media_type = LayerMediaType("gzip", true), .digest = Digest::Of("l"), .size = 1, .annotations = {{"a", "<b>"}}});
  const std::string text = Serialize(manifest);
  EXPECT_EQ(text, R"({
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": ")" + Digest::Of("{}").str() +
                      R"(",
    "size": 2
  },
  "layers": [
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "digest": ")" + Digest::Of("l").str() +
                      R"(",
      "size": 1,
      "annotations": {
        "a": "\u003cb\u003e"
      }
    }
  ]
})");
  EXPECT_EQ(Serialize(*ParseManifest(text)), text);
}

TEST(Manifest, NamesTheWrongMember) {
  EXPECT_EQ(ParseManifest(R"({"config":{"digest":1}})").status().message(), "manifest.config.digest is not a string");
  EXPECT_EQ(ParseIndex(R"({"manifests":{}})").status().message(), "index.manifests is not an array");
  EXPECT_FALSE(ParseManifest("[").ok());
  EXPECT_FALSE(ParseManifest("[]").ok());
  EXPECT_FALSE(ParseManifest(std::string(100000, '[')).ok());
  EXPECT_FALSE(ParseIndex(R"({"layers":[]})").ok());
}

TEST(ImageConfig, RoundTrips) {
  const std::string text =
      R"({"created":"2024-01-02T03:04:05.123456789Z","author":"me","architecture":"arm","os":"linux","variant":"v7",)"
      R"("rootfs":{"type":"layers","diff_ids":[")" +
      Digest::Of("d").str() +
      R"("]},)"
      R"("history":[{"created":"0001-01-01T00:00:00Z","created_by":"RUN a \u0026\u0026 b","comment":"c"},{"empty_layer":true}],)"
      R"("config":{"User":"u","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Entrypoint":["e"],"Cmd":["c"],"Volumes":{"/v":{}},"WorkingDir":"/w",)"
      R"("Labels":{"l":"m"},"StopSignal":"SIGINT","ArgsEscaped":true,"Healthcheck":{"Test":["NONE"],"Interval":1000000000,"Retries":3},)"
      R"("OnBuild":["RUN x"],"Shell":["/bin/sh"]},"moby.extra":{"z":1,"a":[null,1.5]}})";
  const absl::StatusOr<ImageConfig> config = ParseImageConfig(text);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->config.healthcheck->interval, absl::Seconds(1));
  EXPECT_EQ(config->history[0].created_by, "RUN a && b");
  EXPECT_EQ(Serialize(*config), text);
}

TEST(ImageConfig, EmptyPrintsAsGoDoes) {
  EXPECT_EQ(Serialize(ImageConfig{}), R"({"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":null},"config":{}})");
}

TEST(Layers, MapsMediaTypes) {
  EXPECT_EQ(LayerMediaType("", false), kDockerLayer);
  EXPECT_EQ(LayerMediaType("gzip", false), kDockerLayerGzip);
  EXPECT_EQ(LayerMediaType("zstd", true), kMediaTypeLayerZstd);
  EXPECT_EQ(*LayerCompression(kDockerLayerGzip), "gzip");
  EXPECT_EQ(*LayerCompression(kMediaTypeLayer), "");
  EXPECT_FALSE(LayerCompression("text/plain").ok());
}

TEST(PackageUrl, NamesImages) {
  const std::string digest = "sha256:" + std::string(64, 'a');
  EXPECT_EQ(*PackageUrl("docker", "alpine", std::nullopt), "pkg:docker/alpine@latest");
  EXPECT_EQ(*PackageUrl("docker", "alpine:3@" + digest, std::nullopt), "pkg:docker/alpine@3?digest=" + digest);
  EXPECT_EQ(*PackageUrl("oci", "ghcr.io/foo/bar@" + digest, *ParsePlatform("linux/arm/v7"), {{"ref_type", "blob"}}),
            "pkg:oci/ghcr.io/foo/bar?digest=" + digest + "&platform=linux%2Farm%2Fv7&ref_type=blob");
  EXPECT_EQ(*PackageUrl("docker", "localhost:5000/a/b:v1", std::nullopt), "pkg:docker/localhost%3A5000/a/b@v1");
  EXPECT_FALSE(PackageUrl("docker", "*", std::nullopt).ok());
}

}  // namespace
}  // namespace cachalot::oci
