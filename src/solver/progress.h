// What a build tells about itself while it runs. One sink per build; implementations are thread-safe and never block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cachalot::solver {

struct ProgressGroup {
  std::string id;
  std::string name;
  bool weak = false;
};

struct VertexEvent {
  std::string digest;  // of the vertex
  std::vector<std::string> inputs;
  std::string name;
  std::optional<absl::Time> started;
  std::optional<absl::Time> completed;
  bool cached = false;
  std::string error;
  std::optional<ProgressGroup> group;
};

// A sub-task of a vertex, such as one blob being fetched: (vertex, id) identifies it.
struct StatusEvent {
  std::string vertex;
  std::string id;
  std::string name;
  std::int64_t current = 0;
  std::int64_t total = 0;
  absl::Time timestamp;
  std::optional<absl::Time> started;
  std::optional<absl::Time> completed;
};

struct LogEvent {
  std::string vertex;
  int stream = 1;  // 1 stdout, 2 stderr
  std::string data;
  absl::Time timestamp;
};

struct SourceRange {
  int start_line = 0, start_character = 0;  // lines from 1, characters from 0
  int end_line = 0, end_character = 0;
};

struct WarningEvent {
  std::string vertex;
  int level = 1;
  std::string brief;
  std::vector<std::string> detail;
  std::string url;
  // The place in a source file, when there is one.
  std::string source_filename, source_data, source_language;
  std::string source_definition;  // serialized pb.Definition or empty
  std::vector<SourceRange> ranges;
};

class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  virtual void OnVertex(VertexEvent event) = 0;
  virtual void OnStatus(StatusEvent event) = 0;
  virtual void OnLog(LogEvent event) = 0;
  virtual void OnWarning(WarningEvent event) = 0;
};

// What one operation may report: a sink bound to its vertex.
class OpProgress {
 public:
  virtual ~OpProgress() = default;
  virtual void Status(StatusEvent event) = 0;  // `vertex` is filled in
  virtual void Log(int stream, absl::string_view data) = 0;
  virtual void Warning(WarningEvent event) = 0;
};

}  // namespace cachalot::solver
