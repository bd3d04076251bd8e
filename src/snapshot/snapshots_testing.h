// A store of snapshots in a scratch directory, for tests.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/worker_pool.h"
#include "codec/compression.h"
#include "codec/tar.h"
#include "os/scratch_testing.h"
#include "snapshot/snapshots.h"
#include "store/schema.h"

namespace cachalot::snapshot {

// Overlay mounts and device nodes need root.
#define SKIP_WITHOUT_ROOT() \
  if (!os::CanMount()) GTEST_SKIP() << "needs root for overlay mounts"

inline void WriteFile(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return "(none)";
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Serves layers from memory.
class MemoryFetcher : public BlobFetcher {
 public:
  absl::Status Fetch(const Layer& layer, store::BlobStore& blobs, const CancelToken& cancel) override {
    ++fetches;
    const auto found = bytes.find(layer.blob.digest.str());
    if (found == bytes.end()) return absl::NotFoundError("no such layer");
    return blobs.Put(found->second).status();
  }
  void OnExtract(const Layer& layer, bool done) override { extracted += done; }

  // Compresses an archive and describes it.
  Layer Add(const std::string& tar, int level = -1) {
    codec::StringSink out;
    auto gzip = codec::NewCompressor(codec::Compression::kGzip, level, &out);
    EXPECT_TRUE((*gzip)->Write(tar).ok() && (*gzip)->Finish().ok());
    Layer layer;
    layer.diff_id = oci::Digest::Of(tar);
    layer.blob = {std::string(oci::kMediaTypeLayerGzip), oci::Digest::Of(out.bytes()), static_cast<std::int64_t>(out.bytes().size()), {}, {}, {}};
    bytes[layer.blob.digest.str()] = out.bytes();
    return layer;
  }

  std::map<std::string, std::string> bytes;
  std::atomic<int> fetches = 0;
  std::atomic<int> extracted = 0;
};

// Builds an archive in memory.
class TarBuilder {
 public:
  TarBuilder& File(const std::string& path, const std::string& data, std::uint32_t mode = 0644) {
    codec::TarEntry entry = Entry(path, codec::TarType::kFile, mode);
    entry.size = static_cast<std::int64_t>(data.size());
    return Add(entry, data);
  }
  TarBuilder& Directory(const std::string& path, std::uint32_t mode = 0755) { return Add(Entry(path, codec::TarType::kDirectory, mode)); }
  TarBuilder& Link(codec::TarType type, const std::string& path, const std::string& target) {
    codec::TarEntry entry = Entry(path, type, 0777);
    entry.link = target;
    return Add(entry);
  }
  TarBuilder& Add(const codec::TarEntry& entry, const std::string& data = "") {
    EXPECT_TRUE(writer_.Add(entry).ok());
    EXPECT_TRUE(writer_.Write(data).ok());
    return *this;
  }
  static codec::TarEntry Entry(const std::string& path, codec::TarType type, std::uint32_t mode) {
    codec::TarEntry entry;
    entry.path = path;
    entry.type = type;
    entry.mode = mode;
    entry.mtime = {1600000000, 0};
    return entry;
  }
  std::string Finish() {
    EXPECT_TRUE(writer_.Finish().ok());
    return sink_.bytes();
  }

 private:
  codec::StringSink sink_;
  codec::TarWriter writer_{&sink_};
};

class SnapshotsTest : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_ROOT();
    Open();
  }
  void TearDown() override { Close(); }

  void Open() {
    auto database = store::OpenMetadata(scratch_.path());
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
    auto blobs = store::LocalBlobs::Open(scratch_.path(), database_.get());
    ASSERT_TRUE(blobs.ok()) << blobs.status();
    blobs_ = *std::move(blobs);
    auto snapshots = OpenSnapshots({scratch_.path(), blobs_.get(), database_.get(), &cpu_});
    ASSERT_TRUE(snapshots.ok()) << snapshots.status();
    snapshots_ = *std::move(snapshots);
  }
  void Close() {
    snapshots_.reset();
    blobs_.reset();
    database_.reset();
  }
  void Reopen() {
    Close();
    Open();
  }

  // A committed snapshot over `parent` after `change` worked on its mounted tree.
  SnapshotPtr Make(const SnapshotPtr& parent, const std::function<void(const std::string& root)>& change) {
    auto active = snapshots_->Prepare(parent, {"test"});
    EXPECT_TRUE(active.ok()) << active.status();
    {
      auto tree = snapshots_->MountTree(*active, false);
      EXPECT_TRUE(tree.ok()) << tree.status();
      change((*tree)->path());
    }
    auto committed = snapshots_->Commit(*active);
    EXPECT_TRUE(committed.ok()) << committed.status();
    return *committed;
  }
  std::shared_ptr<MountedTree> View(const SnapshotPtr& snapshot) {
    auto tree = snapshots_->MountTree(snapshot, true);
    EXPECT_TRUE(tree.ok()) << tree.status();
    return *tree;
  }
  static void Shell(const std::string& root, const std::string& script) {
    ASSERT_EQ(std::system(("cd '" + root + "' && (" + script + ")").c_str()), 0) << script;
  }

  os::Scratch scratch_;
  WorkerPool cpu_{"cpu", 2};
  std::unique_ptr<store::Database> database_;
  std::unique_ptr<store::LocalBlobs> blobs_;
  std::unique_ptr<Snapshots> snapshots_;
  MemoryFetcher fetcher_;
};

}  // namespace cachalot::snapshot
