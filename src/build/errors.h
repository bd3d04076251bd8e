// What a failed build tells beyond its message: the daemon puts these on the wire, the client marks Dockerfile lines with them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "llb/op.h"
#include "solver/progress.h"

namespace cachalot::build {

struct SourceExcerpt {
  std::string filename, data, language;
  std::string definition;  // serialized pb.Definition or empty
  std::vector<solver::SourceRange> ranges;
};

struct ErrorDetails {
  std::string vertex;  // digest of the failed vertex, empty when the failure belongs to none
  std::string op;      // serialized pb.Op of it
  std::map<std::string, std::string> description;
  std::optional<int> exit_code;      // of the failed process
  std::optional<int> file_action;    // index of the failed file action
  std::optional<int> content_input;  // index of the input whose content could not be digested
  // Of trees that frontends can mount, where they have one: the inputs of the failed operation, and what it worked in.
  std::vector<std::string> input_ids, mount_ids;
  std::vector<SourceExcerpt> sources;      // where the failed step is written: a step with several places, the last given first
  std::vector<std::string> deny_messages;  // what the client's policy said about a source that it denied
};

// The details attached to `status`; all empty when there are none.
ErrorDetails DetailsOf(const absl::Status& status);

// Attaches what is known of the failed vertex. An earlier attachment stays.
void AttachVertex(absl::Status& status, const llb::Vertex& vertex);
// Attaches one place in a source file, for errors of frontends (a syntax error in a Dockerfile).
void AttachSource(absl::Status& status, const SourceExcerpt& source);
void AttachDenyMessages(absl::Status& status, const std::vector<std::string>& messages);

}  // namespace cachalot::build
