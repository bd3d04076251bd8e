// `--call`: what a frontend tells of a build instead of building it.
#pragma once

#include <functional>
#include <map>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "client/solve.h"

namespace cachalot::client {

struct Call {
  std::string name;  // the frontend's word: "outline", "targets", "lint", ...; empty: build
  bool json = false;
  bool ignore_status = false;  // exit with 0 whatever was found
};
// "NAME[,format=json][,ignorestatus=true]" as docker buildx takes it; "build" is no call, "check" is "lint".
absl::StatusOr<Call> ParseCall(const std::string& text);

// Has the frontend of `request` answer through the gateway, as a client's own frontend would ask. The answer is its result's metadata
// ("result.json", "result.txt", ...). All else as in Solve().
absl::StatusOr<std::map<std::string, std::string>> Ask(const Call& call, Connection& connection, moby::buildkit::v1::SolveRequest request,
                                                       Attachables& attachables, const std::function<void(const build::ProgressBatch&)>& on_progress,
                                                       const CancelToken& cancel);

// Writes the answer as docker buildx does and returns the exit code that it asks for. A check that could not go on is an error.
absl::StatusOr<int> PrintAnswer(const Call& call, const std::map<std::string, std::string>& answer, std::ostream& out);

}  // namespace cachalot::client
