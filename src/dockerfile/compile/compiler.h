// Typed instructions to a build graph, for one platform.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/pattern_matcher.h"
#include "dockerfile/compile/build_context.h"
#include "dockerfile/compile/config.h"
#include "dockerfile/compile/image_resolver.h"
#include "dockerfile/compile/stage_state.h"
#include "dockerfile/lint/linter.h"
#include "dockerfile/shell/expander.h"
#include "oci/reference.h"

namespace cachalot::dockerfile {

struct CompileRequest {
  BuildContext* context = nullptr;
  ImageResolver* images = nullptr;
  const Config* config = nullptr;
  std::shared_ptr<const llb::SourceInfo> source;
  std::optional<oci::Platform> platform;  // none: the default, to be adjusted to the base image
  LintSink lint_sink;
  bool all_stages = false;  // compile stages that the target does not need, too
};

// The result of a compilation. Keeps alive what the graph refers to.
struct Compiled {
  llb::State state;
  oci::ImageConfig image;
  std::optional<oci::ImageConfig> base_image;
  std::optional<absl::Time> epoch;
  oci::Platform platform;  // the default of operations that say none

  StageState* target = nullptr;
  std::vector<std::shared_ptr<StageState>> stages;
  llb::State context;
  bool scan_context = false;
  std::map<std::string, llb::State> scan_stages;
  bool ignore_cache = false;
};

// Errors carry their lines (LinesOf).
absl::StatusOr<Compiled> Compile(const CompileRequest& request);

// The graph of what was compiled, as it is solved.
absl::StatusOr<llb::Definition> MarshalGraph(const Compiled& compiled);

// What the dispatchers of single instructions share. Internal to compile/.
class Compiler {
 public:
  explicit Compiler(const CompileRequest& request);
  absl::StatusOr<Compiled> Run();

 private:
  // -- phases (compiler.cc, stages.cc, bases.cc) -----------------------------------------------------------------------
  absl::Status ReadText();
  absl::Status ResolveGlobalArgs();
  absl::Status CreateStages();
  absl::StatusOr<StageState*> FindTarget();
  absl::Status LinkStages();
  absl::Status ResolveBases(StageState* target);
  absl::Status DispatchStages(StageState* target);
  absl::StatusOr<Compiled> Finish(StageState* target);

  absl::Status CreateStage(std::size_t index);
  absl::Status ReadStagePlatform(StageState* stage, std::set<std::string>* used);
  StageState* AddStage(std::shared_ptr<StageState> stage);
  StageState* FindStage(absl::string_view name);
  std::vector<std::string> StageNames() const;
  absl::StatusOr<Command> MakeCommand(Instruction instruction, std::vector<std::shared_ptr<StageState>>* unregistered);
  StageState* SourceStage(const std::string& name, Lines lines, std::vector<std::shared_ptr<StageState>>* unregistered);
  absl::Status AddCommands(StageState* stage, std::vector<Instruction> instructions, bool on_build, bool* new_deps);
  absl::Status CheckCycles() const;

  absl::Status ResolveReachable(StageState* target);
  absl::Status ResolveBase(StageState* stage, bool reachable);
  absl::Status ResolveImage(StageState* stage, const std::string& written, const oci::Reference& reference, oci::Platform* platform,
                            bool* is_scratch);
  absl::StatusOr<bool> UseNamedBase(StageState* stage, const oci::Platform& platform);
  absl::StatusOr<bool> AddOnBuildTriggers(StageState* stage);

  absl::Status DispatchStage(StageState* stage);
  absl::Status PrepareEnvironment(StageState* stage);
  void ReadScanFlags(StageState* stage);

  // -- instructions (dispatch*.cc) ---------------------------------------------------------------------------------------
  absl::Status Dispatch(StageState* stage, Command* command);
  absl::Status DispatchAdd(StageState* stage, const Command& command, const AddInstruction& add);
  absl::Status DispatchArg(StageState* stage, const Command& command, const ArgInstruction& arg);
  absl::Status DispatchCmd(StageState* stage, const Command& command, const CmdInstruction& cmd);
  absl::Status DispatchCopy(StageState* stage, const Command& command, const CopyInstruction& copy);
  absl::Status DispatchEntrypoint(StageState* stage, const Command& command, const EntrypointInstruction& entrypoint);
  absl::Status DispatchEnv(StageState* stage, const Command& command, const EnvInstruction& env);
  absl::Status DispatchExpose(StageState* stage, const Command& command, const ExposeInstruction& expose);
  absl::Status DispatchHealthcheck(StageState* stage, const Command& command, const HealthcheckInstruction& check);
  absl::Status DispatchLabel(StageState* stage, const Command& command, const LabelInstruction& label);
  absl::Status DispatchRun(StageState* stage, const Command& command, const RunInstruction& run);
  absl::Status DispatchStopsignal(StageState* stage, const StopsignalInstruction& stopsignal);
  absl::Status DispatchVolume(StageState* stage, const VolumeInstruction& volume);
  absl::Status DispatchWorkdir(StageState* stage, const Command& command, const WorkdirInstruction& workdir);
  absl::Status SetWorkdir(StageState* stage, const std::string& path);

  absl::Status AddRunMounts(StageState* stage, const Command& command, const RunInstruction& run, llb::RunOptions* options);
  absl::Status AddRunMount(StageState* stage, const Command& command, std::size_t index, RunMount mount, llb::RunOptions* options);
  absl::Status AddSecret(StageState* stage, const RunMount& mount, Lines lines, llb::RunOptions* options);
  absl::Status AddSsh(StageState* stage, const RunMount& mount, Lines lines, llb::RunOptions* options);
  absl::StatusOr<std::vector<std::string>> RunWords(const StageState& stage, const RunInstruction& run, std::string* shown, llb::RunOptions* options);
  void AddLimits(llb::RunOptions* options) const;

  struct CopyJob;
  absl::Status CopyFiles(StageState* stage, CopyJob* job);
  absl::Status AddGitSource(CopyJob* job, const std::string& source) const;
  absl::Status AddWebSource(CopyJob* job, const std::string& source) const;
  absl::Status AddPathSource(CopyJob* job, const std::string& source) const;
  void CheckIgnored(const CopyJob& job, const std::string& source) const;

  // -- shared by the dispatchers -------------------------------------------------------------------------------------------
  absl::StatusOr<std::string> ExpandIn(const StageState& stage, const Instruction& instruction, const Expander& expander, absl::string_view text);
  void ReportUndefined(const StageState& stage, const Instruction& instruction, const std::set<std::string>& unmatched,
                       const Environment& environment);
  // The instruction's text with its variables expanded, its keyword in upper case.
  std::string ShownCommand(const Instruction& instruction, const Environment& environment) const;
  llb::Constraints At(Lines lines) const;
  Linter LinterFor(const Instruction& instruction) const { return linter_.AdjustedBy(instruction.comments); }
  oci::Platform PlatformOf(const StageState& stage) const { return stage.platform.value_or(target_platform_); }

  absl::Status ResolveEpoch();
  absl::StatusOr<std::optional<absl::Time>> EpochFrom(const std::string& value);
  absl::StatusOr<llb::State> EpochSource(const std::string& value, std::string* log_name);
  absl::StatusOr<llb::State> EpochStageSource(const Stage& stage);
  absl::StatusOr<llb::State> EpochAddSource(const AddInstruction& add, const Environment& environment);

  const CompileRequest& request_;
  const Config& config_;
  Linter linter_;
  std::shared_ptr<ExpansionBudget> budget_ = std::make_shared<ExpansionBudget>();
  Expander expander_{ExpandOptions()};
  Program program_;
  std::map<std::string, std::string> build_args_;
  Variables global_args_;
  Outline global_outline_;
  std::optional<absl::Time> epoch_;
  oci::Platform build_platform_, target_platform_;
  bool implicit_target_ = false;

  std::vector<std::shared_ptr<StageState>> stages_;
  std::map<std::string, StageState*> stages_by_name_;
  std::optional<PatternMatcher> ignore_;
  std::shared_ptr<PathSet> context_paths_ = std::make_shared<PathSet>();
  llb::State context_;
  std::optional<llb::ProxyEnv> proxy_;
};

}  // namespace cachalot::dockerfile
