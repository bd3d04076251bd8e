// One container of a frontend: its mounts, and the processes in it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "build/build_core.h"
#include "build/container.h"
#include "op/exec_mounts.h"
#include "op/source_tree.h"

namespace cachalot::build {

class FrontendContainer final : public Container, public std::enable_shared_from_this<FrontendContainer> {
 public:
  // Prepares the mounts; their inputs are `inputs`, which are materialized. `own_mounts` come last. Nothing runs yet.
  static absl::StatusOr<std::shared_ptr<FrontendContainer>> Create(std::shared_ptr<BuildCore> core, ContainerRequest request,
                                                                   const std::vector<solver::ResultPtr>& inputs, const CancelToken& cancel,
                                                                   std::vector<runtime::MountPoint> own_mounts = {});
  ~FrontendContainer() override;

  absl::StatusOr<std::unique_ptr<ContainerProcess>> Start(const ProcessRequest& request, runtime::Streams streams,
                                                          const CancelToken& cancel) override;
  bool HasStarted() const override { return started_; }
  absl::StatusOr<std::string> ReadFile(int mount, const std::string& path, std::int64_t offset, std::int64_t length) override;
  absl::StatusOr<std::vector<llb::FileStat>> ReadDir(int mount, const std::string& path, const std::string& include_pattern) override;
  absl::StatusOr<llb::FileStat> StatFile(int mount, const std::string& path) override;

  // Kills what runs and removes the container with its mounts; everything else fails from now on. The error is that of the first
  // process that failed, of those that were killed too.
  absl::Status Release();

 private:
  class Process;
  struct State {
    bool released = false;
    int uses = 0;  // processes, and calls that read files
    absl::Status failure;
  };

  FrontendContainer(std::shared_ptr<BuildCore> core, ContainerRequest request);
  // Keeps the container from being removed while the returned pointer lives.
  absl::StatusOr<std::shared_ptr<void>> Use();
  absl::Status CheckAllowed(const ProcessRequest& request) const;
  absl::StatusOr<runtime::ProcessSpec> DescribeProcess(const ProcessRequest& request, const CancelToken& cancel) const;
  absl::Status StartFirst(const ProcessRequest& request, runtime::ProcessSpec process, runtime::Streams streams);
  absl::StatusOr<std::unique_ptr<op::SourceTree>> OpenMount(int mount, const std::string& path) const;
  void Ended(const absl::Status& status);

  const std::shared_ptr<BuildCore> core_;
  const ContainerRequest request_;
  CancelSource stop_;
  Guarded<State> state_;
  std::unique_ptr<op::ExecMounts> mounts_;
  std::vector<runtime::MountPoint> own_mounts_;
  std::mutex starting_;  // one process at a time
  std::atomic<bool> started_ = false;
  std::unique_ptr<runtime::Container> container_;  // null unless the first process could be started
};

}  // namespace cachalot::build
