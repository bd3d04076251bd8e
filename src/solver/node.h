// One vertex of one job, as the scheduler tracks it. Touched in the mailbox only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "solver/solver.h"

namespace cachalot::solver {

struct JobState;

using StatusCallback = std::function<void(absl::Status)>;
using ResultCallback = std::function<void(absl::StatusOr<ResultPtr>)>;

enum class Stage { kIdle, kBusy, kDone };

struct Node {
  VertexPtr vertex;
  std::weak_ptr<JobState> job;
  size_t position = 0;                  // among those that the job has announced
  std::set<int> outputs;                // that the job's graph uses
  std::optional<absl::Status> failure;  // kept until the job is idle, so that nothing fails twice

  Stage key_stage = Stage::kIdle;
  size_t missing_parts = 0;  // of the definition: the node's own description, inputs' keys
  bool described = false;    // cache_map is there
  CacheMap cache_map;
  CacheKeyPtr definition;
  bool contents_wanted = false;                      // what it reads cannot be looked up: its inputs tell
  std::optional<std::vector<std::string>> contents;  // once they told
  CacheKeyPtr key;                                   // canonical, once key_stage is done
  std::vector<StatusCallback> key_waiters;

  Stage result_stage = Stage::kIdle;  // of the run that yields every output
  std::map<int, ResultPtr> results;   // loaded or produced
  std::map<int, std::vector<ResultCallback>> result_waiters;
  bool renewed = false;      // its inputs' results were asked for again, since one was lost
  bool run_certain = false;  // whatever its key will be, nothing is stored under it: its inputs were asked for

  bool foreseeing = false;     // the store is being asked what it may have
  bool foresee_again = false;  // more has become known meanwhile

  bool ran = false;            // an event said that real work began
  bool marked_cached = false;  // an event said that nothing had to be done

  bool dead = false;  // its job became idle while it was busy: whatever still arrives for it is ignored

  bool ended() const { return dead || failure.has_value(); }
  bool busy() const { return key_stage == Stage::kBusy || result_stage == Stage::kBusy; }
};
using NodePtr = std::shared_ptr<Node>;

// One job. Nodes are keyed by vertex digest.
struct JobState {
  std::shared_ptr<ProgressSink> progress;
  std::shared_ptr<CacheStore> store;
  absl::flat_hash_map<std::string, NodePtr> nodes;
  CancelSource cancel;  // of the work under way; renewed when the job becomes idle
  int active_solves = 0;
  size_t announced = 0;
  std::vector<std::weak_ptr<std::function<void(absl::Status)>>> abort_solves;  // each ends one call early
};
using JobPtr = std::shared_ptr<JobState>;

}  // namespace cachalot::solver
