#include "op/image_resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_macros.h"
#include "registry/memory_blobs_testing.h"

namespace cachalot::op {
namespace {

constexpr char kIndex[] = R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
  {"mediaType":"application/vnd.oci.image.manifest.v1+json","size":0,
   "digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]})";

// Has one document, in the repository example.com/owner.
class OneRepository final : public ImageOrigin {
 public:
  std::string id() const override { return ""; }
  bool lasting() const override { return true; }
  absl::StatusOr<oci::Descriptor> Resolve(const oci::Reference& ref, const CancelToken&) override {
    ++asked;
    if (ref.name() != "example.com/owner") return absl::NotFoundError(ref.name() + ": not found");
    oci::Descriptor descriptor;
    descriptor.digest = oci::Digest::Of(kIndex);
    descriptor.size = sizeof kIndex - 1;
    descriptor.media_type = std::string(oci::kMediaTypeIndex);
    return descriptor;
  }
  absl::Status Fetch(const oci::Reference&, const oci::Descriptor& descriptor, store::BlobStore& blobs, const std::function<void(std::int64_t done)>&,
                     const CancelToken&) override {
    if (blobs.Has(descriptor.digest)) return absl::OkStatus();
    return blobs.Put(kIndex).status();
  }

  int asked = 0;
};

class ImageResolverTest : public testing::Test {
 protected:
  // As a build of its own.
  absl::Status ReadFrom(const std::string& repository) {
    ImageResolver resolver(nullptr, &blobs_, nullptr);
    ASSIGN_OR_RETURN(const oci::Reference ref, oci::Reference::ParseNormalized(repository + "@" + oci::Digest::Of(kIndex).str()));
    ASSIGN_OR_RETURN(const oci::Descriptor target, resolver.FindTarget(ref, origin_, CancelToken()));
    return resolver.ReadDocument(ref, target, origin_, CancelToken()).status();
  }

  store::MemoryBlobs blobs_;
  OneRepository origin_;
};

TEST_F(ImageResolverTest, AsksOnceForADigest) {
  ASSERT_TRUE(ReadFrom("example.com/owner").ok());
  ASSERT_TRUE(ReadFrom("example.com/owner").ok());
  EXPECT_EQ(origin_.asked, 1);
}

TEST_F(ImageResolverTest, ADigestOfOneRepositoryIsNotServedUnderAnotherName) {
  ASSERT_TRUE(ReadFrom("example.com/owner").ok());
  EXPECT_EQ(ReadFrom("example.com/other").code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace cachalot::op
