// A sink that works on a thread of its own.
#pragma once

#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "base/guarded.h"
#include "codec/stream.h"

namespace cachalot::codec {

// Passes what is written on to `next` from another thread, a few blocks behind, so that both sides overlap.
class WriteBehind : public Sink {
 public:
  // `next` outlives the object.
  explicit WriteBehind(Sink* next);
  // Drops what was not passed on yet.
  ~WriteBehind() override;

  // Reports an error of `next` at some later call.
  absl::Status Write(absl::string_view bytes) override;
  // Waits until all has been passed on.
  absl::Status Finish();

 private:
  struct Queue {
    std::deque<std::string> blocks;
    std::vector<std::string> spare;  // empty, with their memory
    bool finishing = false, abandoned = false, ended = false;
    absl::Status status;
  };
  void Loop();
  absl::Status Push();

  Sink* const next_;
  std::string block_;
  Guarded<Queue> queue_;
  std::thread thread_;
};

}  // namespace cachalot::codec
