// The kinds of display that NewDisplay chooses from.
#pragma once

#include <memory>

#include "client/progress/display.h"

namespace cachalot::client::progress {

std::unique_ptr<Display> NewPlainDisplay(Output* output, Clock* clock, Options options);
std::unique_ptr<Display> NewTtyDisplay(Output* output, Clock* clock, Options options);
std::unique_ptr<Display> NewRawJsonDisplay(Output* output);

// Lets one update through per interval.
class Limiter {
 public:
  Limiter(Clock* clock, absl::Duration interval) : clock_(clock), interval_(interval) {}
  bool Allow() {
    const absl::Time now = clock_->Now();
    if (now < next_) return false;
    next_ = now + interval_;
    return true;
  }

 private:
  Clock* clock_;
  absl::Duration interval_;
  absl::Time next_ = absl::InfinitePast();
};

}  // namespace cachalot::client::progress
