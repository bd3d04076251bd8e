#include "export/attestation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "codec/compression.h"
#include "codec/tar.h"
#include "export/fakes_testing.h"
#include "oci/go_json.h"

namespace cachalot::exporting {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kConfig[] = R"({"architecture":"amd64","os":"linux"})";

class AttestationTest : public ::testing::Test {
 protected:
  AttestationTest() {
    context_.snapshots = &snapshots_;
    context_.fetcher = &fetcher_;
    context_.blobs = &blobs_;
    context_.registry = &registry_;
    context_.session = session_;
    context_.clock = &clock_;
    std::string pattern = (std::filesystem::temp_directory_path() / "attest-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    std::filesystem::create_directories(directory_ + "/files");
    std::filesystem::create_directories(directory_ + "/bundle");
  }
  ~AttestationTest() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& name, const std::string& content) { std::ofstream(absl::StrCat(directory_, "/", name)) << content; }

  snapshot::SnapshotPtr Tree(const std::string& name, std::vector<snapshot::Layer> layers = {}) {
    return std::make_shared<FakeSnapshot>(name, std::move(layers), absl::StrCat(directory_, "/", name));
  }
  // A layer with one empty file.
  snapshot::Layer Layer(const std::string& file) {
    codec::StringSink sink;
    codec::TarWriter tar(&sink);
    codec::TarEntry entry;
    entry.path = file;
    EXPECT_TRUE(tar.Add(entry).ok());
    EXPECT_TRUE(tar.Finish().ok());
    const std::string& bytes = sink.bytes();
    snapshot::Layer layer;
    layer.blob.media_type = std::string(oci::kMediaTypeLayer);
    layer.blob.digest = *blobs_.Put(bytes);
    layer.blob.size = static_cast<std::int64_t>(bytes.size());
    layer.diff_id = layer.blob.digest;
    return layer;
  }
  Source WithAttestations(std::vector<Attestation> attestations, std::vector<snapshot::Layer> layers = {}) {
    Source source;
    source.platforms.push_back({"linux/amd64", *oci::ParsePlatform("linux/amd64"), Tree("files", std::move(layers)), kConfig});
    source.platforms[0].attestations = std::move(attestations);
    return source;
  }
  Attestation Made(const std::string& predicate) {
    Attestation attestation;
    attestation.path = "claim.json";
    attestation.predicate_type = "https://example.com/claim";
    attestation.content = [predicate] { return predicate; };
    return attestation;
  }
  oci::Index IndexOf(const std::map<std::string, std::string>& response) {
    return *oci::ParseIndex(*blobs_.Read(*oci::Digest::Parse(response.at("containerimage.digest"))));
  }
  oci::Json BlobJson(const oci::Digest& digest) { return *oci::ParseJson(*blobs_.Read(digest), "blob"); }

  FakeSnapshots snapshots_;
  FakeFetcher fetcher_;
  store::MemoryBlobs blobs_;
  FakeRegistry registry_;
  std::shared_ptr<FakeSession> session_ = std::make_shared<FakeSession>();
  FixedClock clock_;
  Context context_;
  std::string directory_;
};

TEST_F(AttestationTest, ImagesCarryThemInAnIndex) {
  const auto response = Export("image", {{"name", "reg.io:5000/x:1"}, {"push", "true"}}, WithAttestations({Made(R"({"b": 1})")}), context_);
  ASSERT_TRUE(response.ok()) << response.status();
  const oci::Index index = IndexOf(*response);
  ASSERT_EQ(index.manifests.size(), 2);
  const oci::Descriptor& claim = index.manifests[1];
  EXPECT_EQ(claim.annotations.at("vnd.docker.reference.type"), "attestation-manifest");
  EXPECT_EQ(claim.annotations.at("vnd.docker.reference.digest"), index.manifests[0].digest.str());
  EXPECT_EQ(oci::FormatPlatform(*claim.platform), "unknown/unknown");
  const oci::Manifest manifest = *oci::ParseManifest(*blobs_.Read(claim.digest));
  EXPECT_EQ(manifest.artifact_type, "application/vnd.docker.attestation.manifest.v1+json");
  EXPECT_EQ(manifest.subject->digest, index.manifests[0].digest);
  EXPECT_EQ(manifest.config.data, "{}");
  ASSERT_EQ(manifest.layers.size(), 1);
  EXPECT_EQ(manifest.layers[0].annotations.at("in-toto.io/predicate-type"), "https://example.com/claim");
  EXPECT_EQ(*blobs_.Read(manifest.layers[0].digest),
            absl::StrCat(R"({"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.com/claim","subject":[)",
                         R"({"name":"pkg:docker/reg.io%3A5000/x@1?platform=linux%2Famd64","digest":{"sha256":")",
                         std::string(index.manifests[0].digest.hex()), R"("}}],"predicate":{"b":1}})"));
  EXPECT_THAT(*registry_.log.Lock(), testing::Contains("blob " + manifest.layers[0].digest.str()));
  EXPECT_THAT(*registry_.log.Lock(), testing::Contains("put reg.io:5000/x@" + claim.digest.str()));
}

TEST_F(AttestationTest, AsAnImageOfItsOwn) {
  const auto response = Export("image", {{"oci-artifact", "false"}}, WithAttestations({Made("")}), context_);
  ASSERT_TRUE(response.ok()) << response.status();
  const oci::Manifest manifest = *oci::ParseManifest(*blobs_.Read(IndexOf(*response).manifests[1].digest));
  EXPECT_TRUE(manifest.artifact_type.empty());
  EXPECT_FALSE(manifest.subject.has_value());
  const oci::ImageConfig config = *oci::ParseImageConfig(*blobs_.Read(manifest.config.digest));
  EXPECT_EQ(config.platform.os, "unknown");
  EXPECT_THAT(config.diff_ids, ElementsAre(manifest.layers[0].digest));
  // Without a name there is nothing that the statement could be about.
  EXPECT_THAT(*blobs_.Read(manifest.layers[0].digest), HasSubstr(R"("subject":[],"predicate":null})"));
}

TEST_F(AttestationTest, InlineOnlyOnesMakeNoIndexOfArchives) {
  Attestation inline_only = Made("{}");
  inline_only.metadata[kAttestationInlineOnly] = "true";
  const auto archive = Export("oci", {}, WithAttestations({inline_only}), context_);
  ASSERT_TRUE(archive.ok()) << archive.status();
  EXPECT_TRUE(archive->contains("containerimage.config.digest"));
  EXPECT_FALSE(Export("oci", {{"attestation-inline", "true"}}, WithAttestations({inline_only}), context_)->contains("containerimage.config.digest"));
  EXPECT_FALSE(Export("image", {}, WithAttestations({inline_only}), context_)->contains("containerimage.config.digest"));
  EXPECT_EQ(Export("image", {{"oci-mediatypes", "false"}}, WithAttestations({Made("{}")}), context_).status().message(),
            "cannot export attestations with \"oci-mediatypes=false\"");
}

TEST_F(AttestationTest, BundlesAreTakenApart) {
  Write("bundle/b.json", R"({"predicateType":"https://example.com/two","subject":[{"name":"x","digest":{"sha256":")" + std::string(64, 'a') +
                             R"("}}],"predicate":{"n":2}})");
  Write("bundle/core.json", R"({"predicateType":"https://example.com/one","predicate":[1]})");
  Attestation bundle;
  bundle.bundle = true;
  bundle.tree = Tree("bundle");
  bundle.metadata[kAttestationSbomCore] = "core";
  const auto parts = Unbundle({bundle}, context_);
  ASSERT_TRUE(parts.ok()) << parts.status();
  ASSERT_EQ(parts->size(), 2);
  EXPECT_EQ((*parts)[0].path, "core.json");
  EXPECT_EQ(*ReadPredicate((*parts)[0], context_), "[1]");
  EXPECT_EQ((*parts)[1].predicate_type, "https://example.com/two");
  EXPECT_EQ((*parts)[1].subjects[0].digests[0].hex(), std::string(64, 'a'));

  bundle.predicate_type = "https://example.com/one";
  EXPECT_EQ(Unbundle({bundle}, context_).status().message(),
            "bundle entry https://example.com/two does not match required predicate type https://example.com/one");
  bundle.predicate_type.clear();
  Write("bundle/b.json", R"({"predicateType":"https://slsa.dev/provenance/v1","predicate":{}})");
  EXPECT_EQ(Unbundle({bundle}, context_).status().message(), "frontend may not bundle provenance attestations");
  Attestation forged;
  forged.path = "p.json";
  forged.predicate_type = "https://slsa.dev/provenance/v1";
  EXPECT_EQ(Unbundle({forged}, context_).status().message(), "frontend may not set provenance attestations");
}

TEST_F(AttestationTest, PredicatesStayBeneathTheirTree) {
  Write("files/claim.json", "{}");
  std::filesystem::create_symlink("/../../files/claim.json", directory_ + "/bundle/link");
  Attestation attestation;
  attestation.path = "../files/claim.json";
  attestation.tree = Tree("bundle");
  EXPECT_FALSE(ReadPredicate(attestation, context_).ok());
  attestation.path = "/link";
  EXPECT_FALSE(ReadPredicate(attestation, context_).ok());
  attestation.tree = Tree("files");
  attestation.path = "/claim.json";
  EXPECT_EQ(*ReadPredicate(attestation, context_), "{}");
}

TEST_F(AttestationTest, SbomsNameTheLayersOfFiles) {
  Write("files/result.spdx",
        R"({"spdxVersion":"SPDX-2.2","files":[{"fileName":"/foo"},{"fileName":"bar","comment":"mine"},{"fileName":"/none"}],"x":1})");
  Attestation sbom;
  sbom.path = "/result.spdx";
  sbom.tree = Tree("files");
  sbom.predicate_type = kSpdxPredicate;
  sbom.metadata[kAttestationSbomCore] = "result";
  const snapshot::Layer lower = Layer("foo"), upper = Layer("bar");
  const auto response = Export("image", {}, WithAttestations({sbom}, {lower, upper}), context_);
  ASSERT_TRUE(response.ok()) << response.status();
  const oci::Manifest manifest = *oci::ParseManifest(*blobs_.Read(IndexOf(*response).manifests[1].digest));
  const oci::Json predicate = BlobJson(manifest.layers[0].digest)["predicate"];
  EXPECT_EQ(predicate["files"][0]["comment"], "layerID: " + lower.blob.digest.str());
  EXPECT_EQ(predicate["files"][1]["comment"], "mine");
  EXPECT_FALSE(predicate["files"][2].contains("comment"));
  EXPECT_EQ(predicate["creationInfo"]["creators"], oci::Json::array({"Tool: cachalot"}));
}

TEST_F(AttestationTest, FilesHaveStatementsBesideThem) {
  Write("files/greeting", "hello");
  Attestation inline_only = Made("{}");
  inline_only.metadata[kAttestationInlineOnly] = "true";
  ASSERT_TRUE(Export("local", {{"attestation-prefix", "test."}}, WithAttestations({Made("{}"), inline_only}), context_).ok());
  ASSERT_EQ(session_->transfers.size(), 1);
  const session::OutputTree& tree = session_->transfers[0][0];
  ASSERT_EQ(tree.extra_files.size(), 1);
  const oci::Json statement = *oci::ParseJson(tree.extra_files.at("test.claim.json"), "statement");
  EXPECT_EQ(statement["subject"][0]["name"], "greeting");
  EXPECT_EQ(statement["subject"][0]["digest"]["sha256"], std::string(oci::Digest::Of("hello").hex()));

  Source both = WithAttestations({Made("{}")});
  both.multi_platform = true;
  ASSERT_TRUE(Export("local", {{"platform-split", "false"}}, both, context_).ok());
  EXPECT_TRUE(session_->transfers[1][0].extra_files.contains("claim.linux_amd64.json"));
  EXPECT_EQ(Export("local", {}, WithAttestations({Made("{}"), Made("{}")}), context_).status().message(),
            "duplicate attestation path name claim.json");
}

TEST_F(AttestationTest, LayoutsGoIntoTheClientsStoreFromTheInsideOut) {
  const snapshot::Layer layer = Layer("foo");
  const auto response = Export("oci", {{"tar", "false"}}, WithAttestations({Made("{}")}, {layer}), context_);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(session_->upload_order.front(), layer.blob.digest.str());
  EXPECT_EQ(session_->upload_order.back(), response->at("containerimage.digest"));
  EXPECT_EQ(session_->uploads.at("export").size(), session_->upload_order.size());
  EXPECT_TRUE(session_->output.empty());
}

}  // namespace
}  // namespace cachalot::exporting
