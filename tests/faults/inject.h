// Errors from the system's calls, for tests: while armed, the n-th call that could fail so fails with a chosen errno. The calls of the
// whole process are taken in, those of libraries too; the program must define them itself (see inject.cc).
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace cachalot::faults {

// The error of one run: `number` counts from 1.
void Arm(int error, std::int64_t number);

struct Outcome {
  bool injected = false;
  std::string call;  // "pwrite"
  std::string site;  // where in this program it was called from: an address for addr2line
  std::int64_t calls = 0;
};
// No call fails from here on.
Outcome Disarm();

// The calls of this thread do not fail (and do not count) while it lives.
class Exempt {
 public:
  Exempt();
  ~Exempt();
};

}  // namespace cachalot::faults
