#include "remotecache/object_cache.h"

#include <gtest/gtest.h>

#include "base/status_macros.h"
#include "registry/memory_blobs_testing.h"

namespace cachalot::remotecache {
namespace {

// Has one object, of which the first readings fail half-way; those of an empty one for good.
class FlakyStore : public ObjectStore {
 public:
  FlakyStore(std::string object, int failures) : object_(std::move(object)), failures_(failures) {}
  absl::StatusOr<std::optional<std::string>> Read(const std::string&, std::size_t max_bytes, const CancelToken&) override {
    if (object_.size() > max_bytes) return absl::ResourceExhaustedError("too large");
    return object_;
  }
  absl::Status Fetch(const std::string&, const std::function<absl::Status(absl::string_view)>& sink, std::optional<absl::Duration>& pause,
                     const CancelToken&) override {
    if (failures_-- <= 0) return sink(object_);
    if (!object_.empty()) pause = absl::ZeroDuration();
    RETURN_IF_ERROR(sink(absl::string_view(object_).substr(0, object_.size() / 2)));
    return absl::UnavailableError("broken");
  }
  absl::StatusOr<std::optional<absl::Time>> WrittenAt(const std::string&, const CancelToken&) override { return absl::UnimplementedError(""); }
  absl::Status Touch(const std::string&, const CancelToken&) override { return absl::UnimplementedError(""); }
  absl::Status Write(const std::string&, std::int64_t, const std::string&, const Body&, const CancelToken&) override {
    return absl::UnimplementedError("");
  }

 private:
  const std::string object_;
  int failures_;
};

absl::Status Fetch(const std::string& object, int failures, std::int64_t size) {
  store::MemoryBlobs blobs;
  Places places;
  places.blobs = &blobs;
  oci::Descriptor layer;
  layer.digest = oci::Digest::Of("layer");
  layer.size = size;
  return NewObjectOrigin(std::make_unique<FlakyStore>(object, failures), {"", "", {"name"}}, places)->Fetch(layer, {});
}

TEST(ObjectCacheTest, LayersAreFetchedAgainAfterFailuresThatPass) {
  EXPECT_TRUE(Fetch("layer", 2, 5).ok());
  EXPECT_EQ(Fetch("", 1, 5), absl::UnavailableError("broken"));
}

TEST(ObjectCacheTest, LayersAreNoLargerThanTheConfigSays) {
  EXPECT_EQ(Fetch("layer and more", 0, 5).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Fetch("lay", 0, 5).code(), absl::StatusCode::kDataLoss);
}

// Layers, not their descriptions, are what a bucket is for; still BuildKit reads any size of these.
TEST(ObjectCacheTest, ConfigsOfSeveralMegabytesAreRead) {
  store::MemoryBlobs blobs;
  Places places;
  places.blobs = &blobs;
  const CacheOriginPtr origin = NewObjectOrigin(std::make_unique<FlakyStore>(std::string(5 << 20, ' '), 0), {"", "", {"name"}}, places);
  EXPECT_TRUE(origin->ReadBareConfig({}).ok());
}

}  // namespace
}  // namespace cachalot::remotecache
