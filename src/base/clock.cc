#include "base/clock.h"

#include "absl/time/clock.h"

namespace cachalot {

Clock& Clock::System() {
  class SystemClock final : public Clock {
   public:
    absl::Time Now() override { return absl::Now(); }
  };
  static auto* clock = new SystemClock;
  return *clock;
}

}  // namespace cachalot
