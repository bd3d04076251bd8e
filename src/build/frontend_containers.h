// The containers of one frontend, by the ids that it gave them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "build/frontend_container.h"

namespace cachalot::build {

// Thread-safe.
class FrontendContainers {
 public:
  explicit FrontendContainers(std::shared_ptr<BuildCore> core) : core_(std::move(core)) {}

  // `trees` are the mounts' refs and kept trees: at most one of both per mount.
  struct MountTree {
    llb::RefPtr ref;
    solver::ResultPtr kept;
  };
  absl::Status Create(ContainerRequest request, const std::vector<MountTree>& trees, const CancelToken& cancel);
  absl::StatusOr<ContainerPtr> Find(const std::string& id);
  absl::Status Release(const std::string& id);
  // Also refuses new ones.
  void ReleaseAll();

 private:
  using Container = std::shared_ptr<FrontendContainer>;
  struct State {
    std::map<std::string, Container> containers;
    bool closed = false;
  };
  absl::StatusOr<std::vector<solver::ResultPtr>> Solve(const std::vector<MountTree>& trees, const CancelToken& cancel);

  const std::shared_ptr<BuildCore> core_;
  Guarded<State> state_;
};

}  // namespace cachalot::build
