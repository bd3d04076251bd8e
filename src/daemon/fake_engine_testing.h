// An engine that builds nothing: it plays the part of build::Engine in tests of the services.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/strip.h"
#include "base/guarded.h"
#include "base/status_macros.h"
#include "build/engine.h"
#include "daemon/fake_container_testing.h"
#include "os/scratch_testing.h"
#include "store/local_blobs.h"
#include "store/schema.h"

namespace cachalot::daemon {

class FakeRef final : public llb::Ref {
 public:
  const llb::Edge& edge() const override { return edge_; }
  absl::Status Evaluate(const CancelToken&) override { return absl::OkStatus(); }

 private:
  llb::Edge edge_;
};

// Answers every Solve with one ref, and every file read with its own path.
class FakeGateway final : public build::GatewayBuild, public llb::FrontendBridge {
 public:
  llb::FrontendBridge& bridge() override { return *this; }
  void Return(absl::StatusOr<llb::FrontendResult> result) override { returned.Lock()->push_back(std::move(result)); }
  const std::map<std::string, llb::Definition>& inputs() const override { return inputs_; }
  std::string Keep(const llb::RefPtr& ref) override {
    auto refs = refs_.Lock();
    refs->push_back(ref);
    return "ref" + std::to_string(refs->size());
  }
  absl::StatusOr<llb::RefPtr> Find(const std::string& id) override {
    auto refs = refs_.Lock();
    for (std::size_t i = 0; i < refs->size(); ++i) {
      if (id == "ref" + std::to_string(i + 1)) return (*refs)[i];
    }
    return absl::NotFoundError("no such ref: " + id);
  }
  absl::Status NewContainer(build::ContainerRequest request, const CancelToken&) override {
    containers_.Lock()->insert(request.id);
    return absl::OkStatus();
  }
  absl::StatusOr<build::ContainerPtr> FindContainer(const std::string& id) override {
    if (containers_.Lock()->count(id) > 0) return std::make_shared<FakeContainer>(id);
    return absl::NotFoundError("container \"" + id + "\" previously released or not created");
  }
  absl::Status ReleaseContainer(const std::string& id) override {
    containers_.Lock()->erase(id);
    return absl::OkStatus();
  }

  absl::StatusOr<llb::FrontendResult> Solve(const llb::SolveRequest& request) override {
    if (request.options.contains("fail")) return absl::InvalidArgumentError(request.options.at("fail"));
    llb::FrontendResult result;
    result.ref = std::make_shared<FakeRef>();
    result.metadata["seen"] = request.frontend;
    return result;
  }
  absl::StatusOr<llb::ResolvedImage> ResolveImage(const std::string& ref, const llb::ResolveOptions& options) override {
    return llb::ResolvedImage{ref, oci::Digest::Of(ref), "{}"};
  }
  absl::StatusOr<llb::ResolvedSource> ResolveSource(const llb::SourceOp& source, const llb::ResolveOptions& options) override {
    llb::ResolvedSource resolved;
    resolved.source = source;
    absl::string_view ref = source.identifier;
    if (!absl::ConsumePrefix(&ref, "docker-image://")) return resolved;
    ASSIGN_OR_RETURN(resolved.image, ResolveImage(std::string(ref), options));
    return resolved;
  }
  absl::StatusOr<std::string> ReadFile(const llb::RefPtr&, const std::string& path, std::int64_t, std::int64_t) override { return path; }
  absl::StatusOr<std::vector<llb::FileStat>> ReadDir(const llb::RefPtr&, const std::string&, const std::string&) override {
    return std::vector<llb::FileStat>{{.path = "a", .mode = 0644, .size = 3}};
  }
  absl::StatusOr<llb::FileStat> StatFile(const llb::RefPtr&, const std::string& path) override {
    return absl::NotFoundError(path + ": no such file or directory");
  }
  void Warn(solver::WarningEvent warning) override { warnings.Lock()->push_back(std::move(warning)); }
  oci::Platform default_platform() const override { return oci::HostPlatform(); }
  CancelToken cancel() const override { return {}; }

  Guarded<std::vector<absl::StatusOr<llb::FrontendResult>>> returned;
  Guarded<std::vector<solver::WarningEvent>> warnings;

 private:
  std::map<std::string, llb::Definition> inputs_;
  Guarded<std::vector<llb::RefPtr>> refs_;
  Guarded<std::set<std::string>> containers_;
};

// Builds whose ref begins with "wait" run until they are cancelled, "fail" ones end with `failure`, all others succeed.
class FakeEngine final : public build::Engine {
 public:
  session::SessionHub& sessions() override { return *hub_; }
  snapshot::Snapshots& snapshots() override { std::abort(); }
  store::BlobStore& blobs() override { return *blobs_; }
  store::BuildRecords& build_records() override { return records_; }
  store::Database& database() { return *database_; }

  absl::StatusOr<build::BuildResponse> Build(const build::BuildRequest& request, const CancelToken& cancel) override {
    requests.Lock()->push_back(request);
    requests.NotifyAll();
    if (request.on_progress) {
      for (const auto& batch : progress) request.on_progress(batch);
    }
    if (request.ref.starts_with("wait")) return WaitForCancel(cancel);
    if (request.ref.starts_with("fail")) return failure;
    build::BuildResponse answer = response;
    answer.exporter_response["answer"] = request.frontend;
    return answer;
  }
  absl::Status Follow(const std::string& ref, const std::function<absl::Status(const build::ProgressBatch&)>& on_batch,
                      const CancelToken& cancel) override {
    if (ref.starts_with("wait")) return WaitForCancel(cancel);
    for (const auto& batch : progress) {
      if (absl::Status status = on_batch(batch); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  absl::StatusOr<std::shared_ptr<build::GatewayBuild>> Gateway(const std::string& ref, const CancelToken&) override {
    if (ref != "gw") return absl::NotFoundError("no such job " + ref);
    return gateway;
  }
  void ServeFrontendsWith(build::FrontendServer* server) override { frontends = server; }
  UniqueFd TakeListener() override { return std::move(listener); }
  build::WorkerInfo worker() override { return {"worker-id", {{"org.mobyproject.buildkit.worker.executor", "oci"}}, {oci::HostPlatform()}, {}, {}}; }
  absl::StatusOr<std::vector<snapshot::UsageRecord>> DiskUsage(const std::vector<std::string>&) override { return usage; }
  absl::Status Prune(const snapshot::PrunePolicy&, const std::function<void(const snapshot::UsageRecord&)>& on_deleted) override {
    for (const auto& record : usage) on_deleted(record);
    return absl::OkStatus();
  }

  build::BuildResponse response;
  build::FrontendServer* frontends = nullptr;
  UniqueFd listener;
  absl::Status failure = absl::UnknownError("failed");
  std::vector<build::ProgressBatch> progress;
  std::vector<snapshot::UsageRecord> usage;
  std::shared_ptr<FakeGateway> gateway = std::make_shared<FakeGateway>();
  Guarded<std::vector<build::BuildRequest>> requests;
  Guarded<int> cancelled;  // calls that ended by cancellation

 private:
  absl::Status WaitForCancel(const CancelToken& cancel) {
    const auto wake = cancel.OnCancel([this] {
      { auto lock = cancelled.Lock(); }
      cancelled.NotifyAll();
    });
    auto count = cancelled.Lock();
    count.Wait([&](int&) { return cancel.cancelled(); });
    ++*count;
    cancelled.NotifyAll();
    return cancel.status();
  }

  os::Scratch scratch_;
  const std::unique_ptr<store::Database> database_ = store::OpenMetadata(scratch_.path()).value();
  const std::unique_ptr<store::LocalBlobs> blobs_ = store::LocalBlobs::Open(scratch_.path(), database_.get()).value();
  store::BuildRecords records_{database_.get()};
  std::unique_ptr<session::SessionHub> hub_ = session::SessionHub::Create();
};

}  // namespace cachalot::daemon
