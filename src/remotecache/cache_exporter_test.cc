// Exports into a registry that is a map, and what imports make of them.
#include "remotecache/cache_exporter.h"

#include <algorithm>
#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/guarded.h"
#include "gtest/gtest.h"
#include "oci/go_json.h"
#include "registry/memory_blobs_testing.h"
#include "remotecache/inline_cache.h"
#include "remotecache/keys_testing.h"

namespace cachalot::remotecache {
namespace {

using solver::CacheKeyPtr;

// One repository.
class MapRegistry : public registry::Client {
 public:
  absl::StatusOr<oci::Descriptor> Resolve(const oci::Reference& ref, const registry::Options&) override {
    if (tags.count(ref.tag) == 0) return absl::NotFoundError(absl::StrCat(ref.str(), ": not found"));
    return tags[ref.tag];
  }
  absl::StatusOr<std::string> FetchManifest(const oci::Reference&, const oci::Descriptor& descriptor, const registry::Options&) override {
    return blobs.Lock()->at(descriptor.digest.str());
  }
  absl::Status FetchBlob(const oci::Reference&, const oci::Descriptor& descriptor, store::BlobStore& store, const registry::Options&) override {
    return store.Put(blobs.Lock()->at(descriptor.digest.str())).status();
  }
  absl::Status PushBlob(const oci::Reference&, const oci::Descriptor& descriptor, store::BlobStore& store, const std::vector<std::string>&,
                        const registry::Options&) override {
    if (blobs.Lock()->count(descriptor.digest.str()) > 0) return absl::OkStatus();
    absl::StatusOr<std::string> bytes = store.Read(descriptor.digest);
    if (!bytes.ok()) return bytes.status();
    (*blobs.Lock())[descriptor.digest.str()] = *std::move(bytes);
    return absl::OkStatus();
  }
  absl::Status PushManifest(const oci::Reference& ref, const oci::Descriptor& descriptor, absl::string_view bytes, bool,
                            const registry::Options&) override {
    if (!failure.ok()) return failure;
    (*blobs.Lock())[descriptor.digest.str()] = std::string(bytes);
    tags[ref.tag] = descriptor;
    return absl::OkStatus();
  }

  Guarded<std::map<std::string, std::string>> blobs;
  std::map<std::string, oci::Descriptor> tags;
  absl::Status failure;
};

snapshot::Layer LayerOf(const std::string& text) {
  snapshot::Layer layer;
  layer.blob.media_type = std::string(oci::kMediaTypeLayerGzip);
  layer.blob.digest = oci::Digest::Of(text);
  layer.blob.size = static_cast<std::int64_t>(text.size());
  layer.diff_id = oci::Digest::Of(absl::StrCat("plain ", text));
  layer.created_at = absl::FromUnixSeconds(1600000000);
  return layer;
}

class MapResults : public ResultLookup {
 public:
  // `at_hand`: whether its blobs need not be made.
  void Add(const CacheKeyPtr& key, const std::vector<std::string>& layers, bool at_hand = true) {
    Entry& entry = results_[solver::OutputKey(key->id, 0)];
    for (const std::string& layer : layers) entry.result.layers.push_back(LayerOf(layer));
    entry.result.created_at = absl::FromUnixSeconds(1700000000);
    entry.at_hand = at_hand;
  }
  absl::StatusOr<std::optional<CachedLayers>> Find(const ExportedOutput& output, const snapshot::Compression&, bool make) override {
    const auto found = results_.find(solver::OutputKey(output.key->id, output.output));
    if (found == results_.end() || (!make && !found->second.at_hand)) return std::optional<CachedLayers>();
    return found->second.result;
  }
  absl::Status Fetch(const snapshot::Layer& layer) override {
    fetched.Lock()->push_back(layer.blob.digest.str());
    return absl::NotFoundError("nobody has it");
  }
  Guarded<std::vector<std::string>> fetched;

 private:
  struct Entry {
    CachedLayers result;
    bool at_hand = true;
  };
  std::map<std::string, Entry> results_;
};

class CacheExporterTest : public testing::Test {
 protected:
  CacheExporterTest() {
    results_.Add(stage_, {"base", "stage"}, /*at_hand=*/false);
    results_.Add(copy_, {"base", "copy"});
    results_.Add(run_, {"base", "copy", "run"});
    for (const char* layer : {"base", "stage", "copy", "run"}) EXPECT_TRUE(blobs_.Put(layer).ok());
  }

  absl::StatusOr<std::map<std::string, std::string>> Export(Attributes attributes) {
    attributes["ref"] = "example.com/cache:tag";
    absl::StatusOr<ExportPlan> plan = PlanExport("registry", attributes);
    if (!plan.ok()) return plan.status();
    const ShowStep show = [this](const std::string& name, const std::function<absl::Status()>& step) {
      steps_.Lock()->push_back(name.substr(0, name.find(" sha256:")));
      return step();
    };
    return ExportCache(*plan, {{run_, 0}}, results_, {&registry_, nullptr, &blobs_, nullptr}, show, {});
  }
  std::unique_ptr<ImportedCache> Import(const std::string& ref = "example.com/cache:tag") {
    absl::StatusOr<CacheOriginPtr> origin = NewCacheOrigin("registry", {{"ref", ref}}, {&registry_, nullptr, &blobs_, nullptr});
    EXPECT_TRUE(origin.ok()) << origin.status();
    absl::StatusOr<std::unique_ptr<ImportedCache>> cache = ImportedCache::Load(*origin, {});
    EXPECT_TRUE(cache.ok()) << cache.status();
    return *std::move(cache);
  }
  static std::vector<std::string> LayersOf(const std::optional<CachedLayers>& result) {
    std::vector<std::string> names;
    if (!result.has_value()) return {"nothing"};
    for (const snapshot::Layer& layer : result->layers) {
      for (const char* name : {"base", "stage", "copy", "run"}) {
        if (layer.blob.digest == oci::Digest::Of(name) && layer.diff_id == LayerOf(name).diff_id) names.emplace_back(name);
      }
    }
    return names;
  }
  using Names = std::vector<std::string>;

  const CacheKeyPtr image_ = SourceKey("image");
  const CacheKeyPtr stage_ = StepKey("stage", {From(image_)});
  const CacheKeyPtr copy_ = StepKey("copy", {From(image_), Reading(stage_, "/out", "files")});
  const CacheKeyPtr run_ = StepKey("run", {From(copy_)});
  MapResults results_;
  MapRegistry registry_;
  store::MemoryBlobs blobs_;
  Guarded<std::vector<std::string>> steps_;
};

TEST_F(CacheExporterTest, TheFewerLayersAreThoseOfTheResult) {
  const auto response = Export({});
  ASSERT_TRUE(response.ok()) << response.status();
  const absl::StatusOr<oci::Descriptor> manifest = oci::ParseDescriptor(response->at("cache.manifest"));
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->media_type, oci::kMediaTypeManifest);
  EXPECT_EQ(manifest->digest, registry_.tags["tag"].digest);
  const auto cache = Import();
  EXPECT_EQ(LayersOf(cache->ResultOf(run_, 0)), (Names{"base", "copy", "run"}));
  EXPECT_EQ(LayersOf(cache->ResultOf(copy_, 0)), (Names{"base", "copy"}));
  EXPECT_EQ(LayersOf(cache->ResultOf(stage_, 0)), (Names{"nothing"})) << "its layer would have to be made";
  EXPECT_EQ(cache->ResultOf(run_, 0)->created_at, absl::FromUnixSeconds(1700000000));
  EXPECT_EQ(cache->ResultOf(run_, 0)->layers[0].created_at, absl::FromUnixSeconds(1600000000));
  EXPECT_EQ(cache->ResultOf(run_, 0)->layers[0].sources, (Names{"example.com/cache"}));
  EXPECT_TRUE(cache->ContentsOf(StepKey("copy", {From(image_), Reading(stage_, "/out", "")}), {0}).has_value())
      << "the stage's record is there, though its result is not";
}

TEST_F(CacheExporterTest, EveryResultTravelsInEveryForm) {
  for (const Attributes& form : std::vector<Attributes>{
           {}, {{"image-manifest", "false"}}, {{"image-manifest", "false"}, {"oci-mediatypes", "false"}}, {{"oci-mediatypes", "false"}}}) {
    Attributes attributes = form;
    attributes["mode"] = "max";
    ASSERT_TRUE(Export(attributes).ok());
    const auto cache = Import();
    EXPECT_EQ(LayersOf(cache->ResultOf(stage_, 0)), (Names{"base", "stage"}));
    EXPECT_EQ(LayersOf(cache->ResultOf(run_, 0)), (Names{"base", "copy", "run"}));
    EXPECT_EQ(LayersOf(cache->ResultOf(image_, 0)), (Names{"nothing"})) << "a source is had from where it comes";
  }
}

TEST_F(CacheExporterTest, ShowsItsSteps) {
  ASSERT_TRUE(Export({}).ok());
  Names steps = *steps_.Lock();
  std::sort(steps.begin(), steps.end());
  EXPECT_EQ(steps, (Names{"preparing build cache for export", "sending cache export", "writing cache image manifest", "writing config",
                          "writing layer", "writing layer", "writing layer"}));
}

TEST_F(CacheExporterTest, NothingIsWrittenForNothing) {
  const CacheKeyPtr lonely = StepKey("lonely", {From(image_)});
  absl::StatusOr<ExportPlan> plan = PlanExport("registry", {{"ref", "example.com/cache:tag"}});
  const ShowStep show = [](const std::string&, const std::function<absl::Status()>& step) { return step(); };
  const auto response = ExportCache(*plan, {{lonely, 0}}, results_, {&registry_, nullptr, &blobs_, nullptr}, show, {});
  ASSERT_TRUE(response.ok());
  EXPECT_TRUE(response->empty());
  EXPECT_TRUE(registry_.tags.empty());
}

TEST_F(CacheExporterTest, LayersThatAreElsewhereAreFetched) {
  results_.Add(run_, {"elsewhere"});
  EXPECT_FALSE(Export({}).ok());
  EXPECT_EQ(*results_.fetched.Lock(), (Names{oci::Digest::Of("elsewhere").str()}));
}

TEST_F(CacheExporterTest, AFailureIsTold) {
  registry_.failure = absl::UnavailableError("no");
  EXPECT_EQ(Export({}).status().message(), "error writing manifest blob: no");
}

TEST(PlanExportTest, NamesWhatIsWrong) {
  const auto problem = [](const std::string& type, const Attributes& attributes) {
    return std::string(PlanExport(type, attributes).status().message());
  };
  EXPECT_EQ(problem("registry", {}), "failed to configure registry cache exporter: missing ref");
  EXPECT_EQ(problem("local", {}), "failed to configure local cache exporter: local cache exporter requires dest");
  EXPECT_EQ(problem("gha", {}), "unknown cache exporter: \"gha\"");
  EXPECT_NE(problem("registry", {{"ref", "x"}, {"compression", "lzma"}}).find("unsupported compression type lzma"), std::string::npos);
  EXPECT_NE(problem("registry", {{"ref", "x"}, {"image-manifest", "true"}, {"oci-mediatypes", "false"}}).find("OCI mediatypes are required"),
            std::string::npos);
  EXPECT_EQ(NewCacheOrigin("local", {{"src", "x"}}, {}).status().message(),
            "failed to configure local cache importer: local cache importer requires explicit digest");
  EXPECT_TRUE(PlanExport("registry", {{"ref", "x"}, {"ignore-error", "true"}})->ignore_error);
}

TEST_F(CacheExporterTest, AnImageCarriesWhatItsLayersHold) {
  results_.Add(stage_, {}, true);
  const absl::StatusOr<CollectedCache> collected = CollectCache({{run_, 0}}, {}, false, results_);
  ASSERT_TRUE(collected.ok());
  const auto diff_ids = [](const Names& names) {
    std::vector<oci::Digest> ids;
    for (const std::string& name : names) ids.push_back(LayerOf(name).diff_id);
    return ids;
  };
  const std::string records = InlineRecords(*collected, diff_ids({"base", "copy", "run"}));
  ASSERT_NE(records, "");
  EXPECT_EQ(records.find("chains"), std::string::npos);
  EXPECT_NE(InlineRecords(*collected, diff_ids({"run", "base", "copy"})).find(R"("chains":[{"layers":[1,2])"), std::string::npos);
  EXPECT_EQ(InlineRecords(*collected, diff_ids({"other"})), "");

  // The image, as an exporter writes it, and what an import makes of it.
  std::string base64 = absl::Base64Escape(records);
  oci::Json config = {{"architecture", "amd64"}, {"os", "linux"}, {kInlineCacheMember, base64}};
  config["rootfs"] = {{"type", "layers"}};
  oci::Manifest manifest;
  for (const char* name : {"base", "copy", "run"}) {
    manifest.layers.push_back(LayerOf(name).blob);
    config["rootfs"]["diff_ids"].push_back(LayerOf(name).diff_id.str());
    config["history"].push_back({{"created", "2024-01-02T03:04:05Z"}, {"created_by", absl::StrCat("made by ", name)}});
  }
  const std::string config_bytes = oci::DumpGo(config);
  manifest.config.media_type = std::string(oci::kMediaTypeConfig);
  manifest.config.digest = oci::Digest::Of(config_bytes);
  manifest.config.size = static_cast<std::int64_t>(config_bytes.size());
  const std::string bytes = Serialize(manifest);
  oci::Descriptor descriptor;
  descriptor.media_type = manifest.media_type;
  descriptor.digest = oci::Digest::Of(bytes);
  (*registry_.blobs.Lock())[manifest.config.digest.str()] = config_bytes;
  (*registry_.blobs.Lock())[descriptor.digest.str()] = bytes;
  registry_.tags["image"] = descriptor;
  const auto cache = Import("example.com/cache:image");
  const std::optional<CachedLayers> found = cache->ResultOf(run_, 0);
  EXPECT_EQ(LayersOf(found), (Names{"base", "copy", "run"}));
  EXPECT_EQ(found->layers[2].description, "made by run");
  EXPECT_EQ(found->layers[2].created_at, absl::FromUnixSeconds(1704164645));
  EXPECT_EQ(LayersOf(cache->ResultOf(copy_, 0)), (Names{"base", "copy"}));
}

}  // namespace
}  // namespace cachalot::remotecache
