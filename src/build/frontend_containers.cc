#include "build/frontend_containers.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "build/bridge.h"
#include "op/selectors.h"

namespace cachalot::build {

absl::StatusOr<std::vector<solver::ResultPtr>> FrontendContainers::Solve(const std::vector<MountTree>& trees, const CancelToken& cancel) {
  std::vector<llb::RefPtr> refs;
  for (const MountTree& tree : trees) refs.push_back(tree.ref);
  ASSIGN_OR_RETURN(std::vector<solver::ResultPtr> results, SolveAll(*core_, refs, cancel));
  for (std::size_t i = 0; i < trees.size(); ++i) {
    if (trees[i].kept != nullptr) results[i] = trees[i].kept;
  }
  RETURN_IF_ERROR(op::MaterializeAll(*core_->environment(), results, cancel));
  return results;
}

absl::Status FrontendContainers::Create(ContainerRequest request, const std::vector<MountTree>& trees, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const std::vector<solver::ResultPtr> inputs, Solve(trees, cancel));
  for (std::size_t i = 0; i < request.mounts.size(); ++i) {
    const bool has_tree = trees[i].ref != nullptr || trees[i].kept != nullptr;
    request.mounts[i].input = has_tree ? static_cast<int>(i) : -1;
    request.mounts[i].output = -1;
  }
  const std::string id = request.id;
  ASSIGN_OR_RETURN(const Container container, FrontendContainer::Create(core_, std::move(request), inputs, cancel));
  auto state = state_.Lock();
  if (state->closed) return absl::CancelledError("the frontend has ended");
  if (!state->containers.emplace(id, container).second) return absl::AlreadyExistsError(absl::StrCat("Container ", id, " already exists"));
  return absl::OkStatus();
}

absl::StatusOr<ContainerPtr> FrontendContainers::Find(const std::string& id) {
  auto state = state_.Lock();
  const auto found = state->containers.find(id);
  if (found == state->containers.end()) return absl::NotFoundError(absl::StrCat("container \"", id, "\" previously released or not created"));
  return found->second;
}

absl::Status FrontendContainers::Release(const std::string& id) {
  Container container;
  {
    auto state = state_.Lock();
    auto node = state->containers.extract(id);
    if (node.empty()) return absl::NotFoundError(absl::StrCat("container details for ", id, " not found"));
    container = std::move(node.mapped());
  }
  return container->Release();
}

void FrontendContainers::ReleaseAll() {
  std::map<std::string, Container> containers;
  {
    auto state = state_.Lock();
    state->closed = true;
    containers.swap(state->containers);
  }
  for (const auto& [id, container] : containers) (void)container->Release();
}

}  // namespace cachalot::build
