// Places in a Dockerfile, and errors that carry them.
#pragma once

#include <vector>

#include "absl/status/status.h"

namespace cachalot::dockerfile {

// Whole lines, counted from 1, both ends included.
struct Lines {
  int first = 0;
  int last = 0;
  friend bool operator==(const Lines&, const Lines&) = default;
};

// `status` carrying the place it is about. An error that already has one keeps it. OK stays OK.
absl::Status AtLines(absl::Status status, Lines lines);
// Adds a further place.
absl::Status AlsoAtLines(absl::Status status, Lines lines);
// Forgets the places, for errors in text that is not part of the Dockerfile itself.
absl::Status WithoutLines(absl::Status status);
// The places of `status`, in the order in which they were added.
std::vector<Lines> LinesOf(const absl::Status& status);

}  // namespace cachalot::dockerfile
