// The outside world of exporters for tests: snapshots with given layers and files, a client that keeps what it is sent.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/guarded.h"
#include "base/status_macros.h"
#include "export/exporter.h"
#include "registry/memory_blobs_testing.h"
#include "session/bare_session_testing.h"

namespace cachalot::exporting {

class FakeSnapshot final : public snapshot::Snapshot {
 public:
  FakeSnapshot(std::string id, std::vector<snapshot::Layer> layers, std::string directory)
      : layers(std::move(layers)), directory(std::move(directory)), id_(std::move(id)) {}
  const snapshot::SnapshotId& id() const override { return id_; }
  std::shared_ptr<const Snapshot> parent() const override { return nullptr; }

  const std::vector<snapshot::Layer> layers;
  const std::string directory;

 private:
  const std::string id_;
};

class FakeMount final : public snapshot::MountedTree {
 public:
  explicit FakeMount(std::string path) : path_(std::move(path)) {}
  const std::string& path() const override { return path_; }

 private:
  const std::string path_;
};

class FakeSnapshots final : public snapshot::Snapshots {
 public:
  using Ptr = snapshot::SnapshotPtr;
  absl::StatusOr<std::vector<snapshot::Layer>> Layers(const Ptr& tree, const snapshot::Compression& compression, bool, snapshot::BlobFetcher&,
                                                      const CancelToken&) override {
    last_compression = compression;
    return static_cast<const FakeSnapshot&>(*tree).layers;
  }
  std::vector<snapshot::Layer> KnownLayers(const Ptr& tree) override { return static_cast<const FakeSnapshot&>(*tree).layers; }
  absl::StatusOr<std::shared_ptr<snapshot::MountedTree>> MountTree(const Ptr& tree, bool) override {
    return std::make_shared<FakeMount>(tree == nullptr ? empty_directory : static_cast<const FakeSnapshot&>(*tree).directory);
  }
  absl::Status Materialize(const Ptr&, snapshot::BlobFetcher&, const CancelToken&) override { return absl::OkStatus(); }

  absl::StatusOr<Ptr> Prepare(const Ptr&, const snapshot::Label&) override { return Unused(); }
  absl::StatusOr<Ptr> Commit(const Ptr&) override { return Unused(); }
  Ptr CommitUnrecorded(const Ptr&) override { return nullptr; }
  absl::StatusOr<Ptr> FromLayer(const Ptr&, const snapshot::Layer&, const snapshot::Label&) override { return Unused(); }
  absl::StatusOr<Ptr> Merge(const std::vector<Ptr>& trees, const snapshot::Label&) override {
    merged = trees.size();
    return trees.front();
  }
  absl::StatusOr<Ptr> Diff(const Ptr&, const Ptr&, const snapshot::Label&, snapshot::BlobFetcher&, const CancelToken&) override { return Unused(); }
  absl::StatusOr<Ptr> Get(const snapshot::SnapshotId&) override { return Unused(); }
  absl::StatusOr<std::vector<std::string>> LayerDirectories(const Ptr&) override { return Unused(); }
  absl::StatusOr<std::optional<std::vector<snapshot::Layer>>> LayersAtHand(const Ptr&, const snapshot::Compression&) override { return Unused(); }
  absl::StatusOr<oci::Digest> Checksum(const Ptr&, const ChecksumOptions&) override { return Unused(); }
  absl::Status BeginChanges(const Ptr&) override { return Unused(); }
  absl::Status EndChanges(const Ptr&, const std::vector<std::string>*) override { return Unused(); }
  absl::StatusOr<Ptr> FindNamed(const std::string&) override { return Unused(); }
  absl::Status SetName(const Ptr&, const std::string&) override { return Unused(); }
  absl::Status ForgetNames(const std::string&) override { return Unused(); }
  absl::Status Keep(const Ptr&) override { return Unused(); }
  absl::StatusOr<std::vector<snapshot::UsageRecord>> DiskUsage(const std::vector<std::string>&) override { return Unused(); }
  absl::Status Prune(const snapshot::PrunePolicy&, const std::function<void(const snapshot::UsageRecord&)>&) override { return Unused(); }
  absl::Status ReleaseMemory() override { return Unused(); }

  snapshot::Compression last_compression;
  std::size_t merged = 0;  // trees of the last merge
  std::string empty_directory;

 private:
  static absl::Status Unused() { return absl::UnimplementedError("exporters do not use this"); }
};

class FakeFetcher final : public snapshot::BlobFetcher {
 public:
  absl::Status Fetch(const snapshot::Layer& layer, store::BlobStore& blobs, const CancelToken&) override {
    for (const std::string& content : remote) {
      if (oci::Digest::Of(content) == layer.blob.digest) return blobs.Put(content).status();
    }
    return absl::NotFoundError("no such remote blob");
  }
  void OnExtract(const snapshot::Layer&, bool) override {}
  std::vector<std::string> remote;
};

class FakeSession final : public session::BareSession {
 public:
  FakeSession() : BareSession("session") {}
  bool Offers(absl::string_view) const override { return true; }
  absl::StatusOr<std::unique_ptr<session::ByteSink>> OpenOutputFile(const std::map<std::string, std::string>& metadata, int exporter_id,
                                                                    const CancelToken&) override {
    output_metadata = metadata;
    output_id = exporter_id;
    return std::make_unique<Output>(*this);
  }
  absl::Status SendDirectory(const std::vector<session::OutputTree>& trees, int, const std::function<void(std::int64_t)>& on_progress,
                             const CancelToken&) override {
    transfers.push_back(trees);
    on_progress(42);
    return absl::OkStatus();
  }
  absl::Status UploadBlob(const std::string& store, const oci::Descriptor& blob, store::BlobStore& blobs, const CancelToken&) override {
    ASSIGN_OR_RETURN(uploads[store][blob.digest.str()], blobs.Read(blob.digest));
    upload_order.push_back(blob.digest.str());
    return absl::OkStatus();
  }
  std::string output;
  bool output_closed = false;
  absl::Status close_status;
  int output_id = -1;
  std::map<std::string, std::string> output_metadata;
  std::vector<std::vector<session::OutputTree>> transfers;
  std::map<std::string, std::map<std::string, std::string>> uploads;  // by store: digest to content
  std::vector<std::string> upload_order;

 private:
  class Output final : public session::ByteSink {
   public:
    explicit Output(FakeSession& owner) : owner_(owner) {}
    absl::Status Write(absl::string_view bytes) override {
      owner_.output.append(bytes.data(), bytes.size());
      return absl::OkStatus();
    }
    absl::Status Close() override {
      owner_.output_closed = true;
      return owner_.close_status;
    }

   private:
    FakeSession& owner_;
  };
};

// Keeps what is pushed: "put <reference or digest>" and "blob <digest>" in order.
class FakeRegistry final : public registry::Client {
 public:
  absl::StatusOr<oci::Descriptor> Resolve(const oci::Reference&, const registry::Options&) override { return absl::UnimplementedError(""); }
  absl::StatusOr<std::string> FetchManifest(const oci::Reference&, const oci::Descriptor&, const registry::Options&) override {
    return absl::UnimplementedError("");
  }
  absl::Status FetchBlob(const oci::Reference&, const oci::Descriptor&, store::BlobStore&, const registry::Options&) override {
    return absl::UnimplementedError("");
  }
  absl::Status PushBlob(const oci::Reference&, const oci::Descriptor& descriptor, store::BlobStore& blobs, const std::vector<std::string>& mount_from,
                        const registry::Options&) override {
    const bool mountable = std::find(mount_from.begin(), mount_from.end(), "reg.io/base") != mount_from.end();
    if (!mountable && !blobs.Has(descriptor.digest)) return absl::NotFoundError("no such blob");
    log.Lock()->push_back("blob " + descriptor.digest.str());
    return absl::OkStatus();
  }
  absl::Status PushManifest(const oci::Reference& ref, const oci::Descriptor& descriptor, absl::string_view bytes, bool by_digest,
                            const registry::Options&) override {
    log.Lock()->push_back(by_digest ? "put " + ref.name() + "@" + descriptor.digest.str() : "put " + ref.str());
    manifests[descriptor.digest.str()] = std::string(bytes);
    return absl::OkStatus();
  }
  Guarded<std::vector<std::string>> log;
  std::map<std::string, std::string> manifests;
};

class RecordingProgress final : public solver::ProgressSink {
 public:
  void OnVertex(solver::VertexEvent event) override { vertexes.Lock()->push_back(event); }
  void OnStatus(solver::StatusEvent event) override {
    if (event.completed.has_value()) finished.Lock()->push_back(event.id);
  }
  void OnLog(solver::LogEvent) override {}
  void OnWarning(solver::WarningEvent) override {}
  Guarded<std::vector<solver::VertexEvent>> vertexes;
  Guarded<std::vector<std::string>> finished;
};

class FixedClock final : public Clock {
 public:
  absl::Time Now() override { return absl::FromUnixSeconds(1700000000); }
};

}  // namespace cachalot::exporting
