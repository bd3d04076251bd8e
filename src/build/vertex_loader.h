// From the build graph to the solver's: checked definitions become vertices with operations.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "build/entitlements.h"
#include "llb/op.h"
#include "op/environment.h"
#include "solver/solver.h"

namespace cachalot::build {

// Equal vertices of one build become one. Thread-safe.
class VertexLoader {
 public:
  VertexLoader(op::EnvironmentPtr environment, Entitlements entitlements)
      : environment_(std::move(environment)), entitlements_(std::move(entitlements)) {}

  // The solver's vertex of `vertex`, with everything beneath.
  absl::StatusOr<solver::VertexPtr> Load(const llb::VertexPtr& vertex);
  // The vertex that the solver knows by this digest, or null.
  llb::VertexPtr Find(const std::string& digest);
  // What a vertex was loaded as, or null.
  solver::VertexPtr LoadedAs(const llb::Vertex& vertex);

 private:
  struct Loaded {
    llb::VertexPtr from;
    solver::VertexPtr vertex;
  };
  absl::StatusOr<llb::VertexPtr> WithAllowedDevices(const llb::VertexPtr& vertex) const;
  absl::StatusOr<solver::VertexPtr> Convert(const llb::VertexPtr& vertex, const std::string& digest);

  const op::EnvironmentPtr environment_;
  const Entitlements entitlements_;
  std::mutex mutex_;
  absl::flat_hash_map<std::string, Loaded> loaded_;  // by the solver's digest
};

}  // namespace cachalot::build
