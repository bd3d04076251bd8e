// What can be said about any operation of a build graph, next to what it does.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "llb/op.h"
#include "oci/platform.h"

namespace cachalot::llb {

// Platform and worker filters are part of the operation's digest; metadata and source locations are not.
// The setters chain: Constraints().Named("[build 2/3] RUN make").IgnoreCache().
struct Constraints {
  std::optional<oci::Platform> platform = {};  // the platform to run for; only images and processes have one
  std::vector<std::string> worker_filters = {};
  OpMetadata metadata = {};
  std::vector<SourceLocation> locations = {};

  Constraints& For(oci::Platform wanted);
  // How progress shows the vertex.
  Constraints& Named(std::string name);
  Constraints& Described(std::string key, std::string value);
  // The operation runs even when its result is known.
  Constraints& IgnoreCache(bool ignore = true);
  // Whether cache exports contain the result; not calling it leaves that to the exporter.
  Constraints& ExportCache(bool exported);
  // Progress shows the vertices of one group as one. A weak group gives way to the vertex's own name.
  Constraints& InGroup(std::string id, std::string name, bool weak = false);
  // Where in a source file the operation comes from; may be called for several places.
  Constraints& At(std::shared_ptr<const SourceInfo> file, std::vector<solver::SourceRange> ranges);
  Constraints& Limited(LinuxResources limits);
};

}  // namespace cachalot::llb
