#include "build/vertex_loader.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "oci/digest.h"
#include "op/exec_mounts.h"
#include "op/operation.h"

namespace cachalot::build {
namespace {

// The same operation with and without its cache are two vertices of one build.
std::string SolverDigest(const llb::Vertex& vertex) {
  if (!vertex.metadata.ignore_cache) return vertex.digest.str();
  return oci::Digest::Of(absl::StrCat(vertex.digest.str(), "-ignorecache")).str();
}

// The inputs that an operation continues, in contrast to those of which it only reads some content.
std::vector<int> ContinuedInputs(const llb::Vertex& vertex) {
  std::vector<int> inputs;
  if (const auto* file = std::get_if<llb::FileOp>(&vertex.op); file != nullptr) {
    for (const llb::FileAction& action : file->actions) inputs.push_back(action.input);
  } else if (const auto* exec = std::get_if<llb::ExecOp>(&vertex.op); exec != nullptr) {
    for (const llb::Mount& mount : exec->mounts) {
      if (mount.dest == "/") inputs.push_back(mount.input);
    }
  } else {
    for (std::size_t i = 0; i < vertex.inputs.size(); ++i) inputs.push_back(static_cast<int>(i));
  }
  const auto beyond = [&](int input) { return input < 0 || input >= static_cast<int>(vertex.inputs.size()); };
  std::erase_if(inputs, beyond);
  return inputs;
}

}  // namespace

llb::VertexPtr VertexLoader::Find(const std::string& digest) {
  std::lock_guard lock(mutex_);
  auto found = loaded_.find(digest);
  return found == loaded_.end() ? nullptr : found->second.from;
}

absl::StatusOr<llb::VertexPtr> VertexLoader::WithAllowedDevices(const llb::VertexPtr& vertex) const {
  const auto* exec = std::get_if<llb::ExecOp>(&vertex->op);
  if (exec == nullptr || exec->cdi_devices.empty()) return vertex;
  auto allowed = std::make_shared<llb::Vertex>(*vertex);
  ASSIGN_OR_RETURN(std::get<llb::ExecOp>(allowed->op).cdi_devices,
                   entitlements_.AllowDevices(exec->cdi_devices, environment_->parts.devices->Read()));
  return allowed;
}

solver::VertexPtr VertexLoader::LoadedAs(const llb::Vertex& vertex) {
  std::lock_guard lock(mutex_);
  auto found = loaded_.find(SolverDigest(vertex));
  return found == loaded_.end() ? nullptr : found->second.vertex;
}

absl::StatusOr<solver::VertexPtr> VertexLoader::Convert(const llb::VertexPtr& vertex, const std::string& digest) {
  RETURN_IF_ERROR(entitlements_.Check(*vertex));
  ASSIGN_OR_RETURN(const llb::VertexPtr allowed, WithAllowedDevices(vertex));
  auto converted = std::make_shared<solver::Vertex>();
  converted->digest = digest;
  converted->name = vertex->Name();
  converted->ignore_cache = vertex->metadata.ignore_cache;
  if (const auto* exec = std::get_if<llb::ExecOp>(&vertex->op); exec != nullptr && converted->ignore_cache) {
    RETURN_IF_ERROR(op::ForgetCacheMounts(*exec, *environment_->parts.named_trees));
  }
  converted->group = vertex->metadata.progress_group;
  for (const llb::Edge& input : vertex->inputs) {
    converted->inputs.push_back({loaded_.at(SolverDigest(*input.vertex)).vertex, input.output});
  }
  // What continues a step that is to run anew runs anew, too: its own key would find the result on top of the old one.
  for (const int input : ContinuedInputs(*vertex)) converted->ignore_cache |= converted->inputs[input].vertex->ignore_cache;
  ASSIGN_OR_RETURN(converted->op, op::MakeOperation(allowed, environment_));
  return converted;
}

absl::StatusOr<solver::VertexPtr> VertexLoader::Load(const llb::VertexPtr& vertex) {
  std::lock_guard lock(mutex_);
  // Graphs can be deep: no recursion.
  std::vector<llb::VertexPtr> pending = {vertex};
  while (!pending.empty()) {
    const llb::VertexPtr next = pending.back();
    const std::string digest = SolverDigest(*next);
    if (loaded_.contains(digest)) {
      pending.pop_back();
      continue;
    }
    const std::size_t before = pending.size();
    for (const llb::Edge& input : next->inputs) {
      if (!loaded_.contains(SolverDigest(*input.vertex))) pending.push_back(input.vertex);
    }
    if (pending.size() > before) continue;
    ASSIGN_OR_RETURN(solver::VertexPtr converted, Convert(next, digest));
    loaded_[digest] = {next, std::move(converted)};
    pending.pop_back();
  }
  return loaded_.at(SolverDigest(*vertex)).vertex;
}

}  // namespace cachalot::build
