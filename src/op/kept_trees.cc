#include "op/kept_trees.h"

#include "base/random_id.h"
#include "base/value_of.h"
#include "op/environment.h"
#include "op/errors.h"

namespace cachalot::op {

std::vector<std::string> KeptTrees::Keep(const std::vector<solver::ResultPtr>& trees) {
  std::vector<std::string> ids;
  auto state = state_.Lock();
  for (const solver::ResultPtr& tree : trees) {
    std::string& id = ids.emplace_back();
    if (tree == nullptr || state->closed) continue;
    id = RandomId();
    state->trees[id] = tree;
  }
  return ids;
}

solver::ResultPtr KeptTrees::Find(const std::string& id) {
  auto state = state_.Lock();
  return ValueOf(state->trees, id);
}

void KeptTrees::Close() {
  std::map<std::string, solver::ResultPtr> trees;  // goes without the lock
  auto state = state_.Lock();
  state->closed = true;
  trees.swap(state->trees);
}

void AttachTrees(const Environment& environment, const std::vector<solver::ResultPtr>& inputs, const std::vector<solver::ResultPtr>& worked_in,
                 absl::Status& status) {
  if (environment.kept_trees == nullptr || status.ok()) return;
  SetIds(status, kInputTreesPayload, environment.kept_trees->Keep(inputs));
  SetIds(status, kWorkTreesPayload, environment.kept_trees->Keep(worked_in));
}

void AttachContentInput(const Environment& environment, int index, const solver::ResultPtr& input, absl::Status& status) {
  if (status.ok()) return;
  SetNumber(status, kContentInputPayload, index);
  if (environment.kept_trees != nullptr) SetIds(status, kInputTreesPayload, environment.kept_trees->Keep({input}));
}

}  // namespace cachalot::op
