// The trees of failed operations, for frontends that want to look into them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/guarded.h"
#include "solver/solver.h"

namespace cachalot::op {

// Keeps trees alive for the frontends of one build, which name them by the ids in the details of errors (op/errors.h). Thread-safe.
class KeptTrees {
 public:
  // One id per tree; null has the empty id.
  std::vector<std::string> Keep(const std::vector<solver::ResultPtr>& trees);
  // Null when the id is not known.
  solver::ResultPtr Find(const std::string& id);
  // Lets go of all, also of what comes later: the build has ended.
  void Close();

 private:
  struct State {
    std::map<std::string, solver::ResultPtr> trees;
    bool closed = false;
  };
  Guarded<State> state_;
};

struct Environment;

// Keeps the inputs of an operation that failed with `status`, and the trees that it worked in, and attaches their ids.
void AttachTrees(const Environment& environment, const std::vector<solver::ResultPtr>& inputs, const std::vector<solver::ResultPtr>& worked_in,
                 absl::Status& status);
// Keeps the input whose content could not be digested, and attaches its id and index.
void AttachContentInput(const Environment& environment, int index, const solver::ResultPtr& input, absl::Status& status);

}  // namespace cachalot::op
