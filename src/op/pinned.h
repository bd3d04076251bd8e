// What a source's symbolic name stood for.
#pragma once

#include <string>

namespace cachalot::op {

// Implemented by source operations.
class Pinned {
 public:
  virtual ~Pinned() = default;
  // The digest (or commit) that the source was resolved to in this build; empty before DescribeCache.
  virtual std::string Pin() const = 0;
};

}  // namespace cachalot::op
