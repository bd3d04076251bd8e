// Garbage collection between builds.
#pragma once

#include <thread>
#include <vector>

#include "base/guarded.h"
#include "snapshot/snapshots.h"

namespace cachalot::build {

// The policies that apply when none are configured, from the size of the disk that holds `root`.
std::vector<snapshot::PrunePolicy> DefaultPolicies(const std::string& root);

// Applies policies some time after it was asked to, at most once a minute, on a thread of its own.
class Collector {
 public:
  Collector(snapshot::Snapshots* snapshots, std::vector<snapshot::PrunePolicy> policies);
  ~Collector();
  void Ask();

 private:
  struct State {
    bool asked = false, stopping = false;
  };
  void Loop();

  snapshot::Snapshots* const snapshots_;
  const std::vector<snapshot::PrunePolicy> policies_;
  Guarded<State> state_;
  std::thread thread_;
};

}  // namespace cachalot::build
