// One run of an operation, shared by every node (of any job) that waits for the same key. Touched in the mailbox only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "solver/node.h"
#include "solver/reporter.h"

namespace cachalot::solver {

struct Flight {
  std::string key;  // in the table of flights
  CancelSource cancel;
  std::shared_ptr<Reporter> reporter;
  std::vector<NodePtr> waiters;
  std::weak_ptr<JobState> leader;  // whose operation object runs
  bool leader_left = false;
};
using FlightPtr = std::shared_ptr<Flight>;

}  // namespace cachalot::solver
