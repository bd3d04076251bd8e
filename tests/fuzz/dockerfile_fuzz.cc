// Feeds arbitrary text to the Dockerfile parser, the instruction readers and variable expansion: they must neither crash nor
// take long, whatever it says.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "dockerfile/compile/git_ref.h"
#include "dockerfile/compile/ignore_file.h"
#include "dockerfile/instructions/reader.h"
#include "dockerfile/parse/parser.h"
#include "dockerfile/shell/expander.h"

using namespace cachalot::dockerfile;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  ParseIgnoreFile(text);
  const absl::StatusOr<File> file = ParseFile(text);
  if (!file.ok()) return 0;
  const auto ignored = [](const LintRule&, const std::string&, Lines) {};
  absl::StatusOr<Program> program = ReadProgram(*file, Linter(LintConfig(), ignored));
  if (!program.ok()) return 0;
  const Variables variables({"A=1", "LONG=some/longer:value.tar.gz", "EMPTY="});
  const auto budget = std::make_shared<ExpansionBudget>();
  const Expander plain({.escape = file->escape}, budget);
  const Expander raw({.skip_quotes = true}, budget);
  const auto with = [&](const Expander& expander) {
    return [&](absl::string_view word) -> absl::StatusOr<std::string> {
      absl::StatusOr<Expansion> expansion = expander.Expand(word, variables);
      if (!expansion.ok()) return expansion.status();
      return expansion->text;
    };
  };
  for (Stage& stage : program->stages) {
    for (Instruction& instruction : stage.instructions) {
      if (!ExpandInstruction(with(plain), with(raw), &instruction.body).ok()) continue;
      if (const auto* add = std::get_if<AddInstruction>(&instruction.body)) {
        for (const std::string& source : add->paths.sources) {
          if (ParseGitRef(source).ok()) FileNameOfUrl(source);
        }
      }
    }
  }
  return 0;
}
