// Shell-like word splitting, quoting and variable expansion of Dockerfile arguments.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dockerfile/shell/environment.h"

namespace cachalot::dockerfile {

// What expansion may produce: lines such as `ENV a=$a$a` double a value each time, so both a single result and the sum over
// a whole compilation are bounded.
struct ExpansionBudget {
  std::int64_t word_bytes = 1 << 20;
  std::int64_t total_bytes = 64 << 20;

  // Takes `bytes` from the total. RESOURCE_EXHAUSTED when nothing is left.
  absl::Status Spend(std::int64_t bytes);
};

struct ExpandOptions {
  char escape = '\\';
  bool raw_quotes = false;   // quotes stay in the result
  bool raw_escapes = false;  // escape characters stay in the result
  bool skip_quotes = false;  // quotes have no meaning
  bool skip_unset = false;   // references to unset names stay as they are
};

struct Expansion {
  std::string text;
  std::vector<std::string> words;            // `text` split at unquoted blanks
  std::set<std::string> matched, unmatched;  // the names that were looked up
};

// Replaces $name, ${name} and the forms ${name:-word} :+ :? - + ? # ## % %% / //, and resolves quotes and escapes.
class Expander {
 public:
  // Without a budget every call has a default one of its own.
  explicit Expander(ExpandOptions options, std::shared_ptr<ExpansionBudget> budget = nullptr) : options_(options), budget_(std::move(budget)) {}

  // Errors name `text` and what is wrong with it.
  absl::StatusOr<Expansion> Expand(absl::string_view text, const Environment& environment) const;

  const ExpandOptions& options() const { return options_; }
  const std::shared_ptr<ExpansionBudget>& budget() const { return budget_; }

 private:
  ExpandOptions options_;
  std::shared_ptr<ExpansionBudget> budget_;
};

}  // namespace cachalot::dockerfile
