// Time as the engine sees it, so that tests can set it.
#pragma once

#include "absl/time/time.h"

namespace cachalot {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() = 0;

  // The system's clock; never destroyed.
  static Clock& System();
};

}  // namespace cachalot
