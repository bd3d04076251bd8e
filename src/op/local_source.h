// Source operation "local://": a directory of the client.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "op/environment.h"
#include "op/result.h"
#include "session/session.h"
#include "solver/solver.h"

namespace cachalot::op {

// The trees of local sources that builds hold now, by their vertices' digests. A graph that one build handed to another names a
// directory which the other's client does not have. Thread-safe.
class HeldLocals {
 public:
  using Tree = std::shared_ptr<const TreeResult>;
  void Add(const std::string& vertex, const Tree& tree);
  Tree Find(const std::string& vertex);  // null when nobody holds it

 private:
  Guarded<std::map<std::string, std::weak_ptr<const TreeResult>>> trees_;
};

// The client's directory is mirrored in a tree that stays between builds: only what changed travels and is touched. The
// result is that tree itself, held for as long as the build needs it; another build of the same directory meanwhile works
// with a second tree.
class LocalSource : public solver::Operation {
 public:
  LocalSource(llb::VertexPtr vertex, EnvironmentPtr environment);
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;
  // The files come from one client.
  bool Shareable() const override { return false; }

 private:
  absl::Status Parse();
  absl::StatusOr<HeldLocals::Tree> Receive(const solver::OpContext& context);

  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
  const HeldLocals::Tree held_;  // another build's, from the moment that the graph was loaded
  session::SyncRequest request_;
  std::string session_id_, key_hint_;
};

}  // namespace cachalot::op
