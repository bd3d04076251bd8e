// Build checks: which rules are on, and where their findings go.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dockerfile/lint/rules.h"
#include "dockerfile/parse/location.h"

namespace cachalot::dockerfile {

struct LintConfig {
  bool skip_all = false;
  bool experimental_all = false;
  bool findings_are_errors = false;
  std::set<std::string> skip, experimental;
};

// Reads "skip=Rule,Rule;experimental=Rule;error=true"; "all" stands for every rule.
absl::StatusOr<LintConfig> ParseLintOptions(absl::string_view options);

// Takes one finding: the rule, what is wrong here, and where.
using LintSink = std::function<void(const LintRule&, const std::string& message, Lines lines)>;

// Cheap to copy; copies share the record of reported rules. A default-constructed linter reports nothing. Thread-safe.
class Linter {
 public:
  Linter() = default;
  Linter(LintConfig config, LintSink sink) : config_(std::move(config)), sink_(std::move(sink)), reported_(std::make_shared<Record>()) {}

  void Report(const LintRule& rule, Lines lines, const std::string& message) const;

  // This linter, adjusted by a comment `check=...` above an instruction.
  Linter AdjustedBy(const std::vector<std::string>& comments) const;

  // An error that names the reported rules, if findings are errors.
  absl::Status Verdict() const;

 private:
  struct Record {
    std::mutex mutex;  // also held while the sink runs
    std::set<std::string> rules;
  };

  LintConfig config_;
  LintSink sink_;
  std::shared_ptr<Record> reported_;
};

}  // namespace cachalot::dockerfile
