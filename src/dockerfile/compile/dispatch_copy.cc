#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "base/pattern_matcher.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "cachalot/llb/file.h"
#include "dockerfile/compile/compiler.h"
#include "dockerfile/compile/file_mode.h"
#include "dockerfile/compile/git_ref.h"
#include "dockerfile/compile/paths.h"
#include "dockerfile/shell/quote.h"
#include "oci/digest.h"

namespace cachalot::dockerfile {

// One ADD or COPY on its way to a file operation.
struct Compiler::CopyJob {
  // What the instruction says.
  const Instruction* instruction;
  const SourcesAndDest* paths;
  const std::vector<std::string>* exclude;
  llb::State source;
  bool is_add = false, link = false, parents = false;
  bool from_context = false;
  std::string chown, chmod, checksum;
  std::optional<bool> keep_git_dir, unpack;

  // What comes of it.
  std::string os;
  std::string dest;
  std::string step_name;
  llb::FileActions actions;
  llb::FileCopy like;  // the fields that all copies share

  absl::string_view keyword() const { return is_add ? "ADD" : "COPY"; }
};

namespace {

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

std::string HistoryText(absl::string_view keyword, const SourcesAndDest& paths, bool parents, const std::string& chown, const std::string& chmod) {
  std::string text(keyword);
  if (parents) absl::StrAppend(&text, " --parents");
  if (!chown.empty()) absl::StrAppend(&text, " --chown=", chown);
  if (!chmod.empty()) absl::StrAppend(&text, " --chmod=", chmod);
  for (const std::string& source : paths.sources) absl::StrAppend(&text, " ", source);
  for (const InlineFile& file : paths.files) absl::StrAppend(&text, " <<", file.path);
  return absl::StrCat(text, " ", paths.dest);
}

// The destination as a path from the root; a slash at its end is kept, as it makes a directory.
absl::StatusOr<std::string> Destination(const StageState& stage, const std::string& dest) {
  const std::string& os = stage.platform->os;
  const absl::StatusOr<std::string> path = WithoutDrive(dest, os, /*keep_slash=*/true);
  if (!path.ok()) return Annotate(path.status(), "removing drive letter");
  const bool here = path->empty() || *path == ".";
  return NormalizePath(IsAbsolute(*path, os) ? "/" : stage.state.settings().dir, here ? "./" : *path, os, /*keep_slash=*/true);
}

// A pattern that leaves nothing of the context.
bool IgnoresAll(const PatternMatcher& ignore) {
  for (const PatternMatcher::Entry& entry : ignore.entries()) {
    const std::string& text = entry.pattern.text();
    if (!entry.exception && (text == "*" || text == "**" || text == "**/*")) return true;
  }
  return false;
}

}  // namespace

absl::Status Compiler::DispatchAdd(StageState* stage, const Command& command, const AddInstruction& add) {
  CopyJob job;
  job.instruction = &command.instruction;
  job.paths = &add.paths;
  job.exclude = &add.exclude;
  job.source = context_;
  job.is_add = true;
  job.from_context = true;
  job.link = add.link;
  job.chown = add.chown;
  job.chmod = add.chmod;
  job.checksum = add.checksum;
  job.keep_git_dir = add.keep_git_dir;
  job.unpack = add.unpack;
  RETURN_IF_ERROR(CopyFiles(stage, &job));
  for (const std::string& source : add.paths.sources) {
    if (!absl::StartsWith(source, "http://") && !absl::StartsWith(source, "https://")) context_paths_->insert(RootedPath(source));
  }
  return absl::OkStatus();
}

absl::Status Compiler::DispatchCopy(StageState* stage, const Command& command, const CopyInstruction& copy) {
  CopyJob job;
  job.instruction = &command.instruction;
  job.paths = &copy.paths;
  job.exclude = &copy.exclude;
  job.source = context_;
  job.link = copy.link;
  job.parents = copy.parents;
  job.chown = copy.chown;
  job.chmod = copy.chmod;
  StageState* source_stage = command.sources.empty() ? nullptr : command.sources[0];
  job.from_context = source_stage == nullptr;
  if (source_stage != nullptr) {
    if (!source_stage->dispatched) {
      return Invalid("cannot copy from stage ", GoQuote(copy.from), ", it needs to be defined before current stage ", GoQuote(stage->name));
    }
    job.source = source_stage->state;
  }
  RETURN_IF_ERROR(CopyFiles(stage, &job));
  PathSet& read = source_stage == nullptr ? *context_paths_ : *source_stage->paths;
  for (const std::string& source : copy.paths.sources) read.insert(RootedPath(source));
  return absl::OkStatus();
}

absl::Status Compiler::CopyFiles(StageState* stage, CopyJob* job) {
  job->os = stage->platform->os;
  ASSIGN_OR_RETURN(job->dest, Destination(*stage, job->paths->dest));
  if (!job->chown.empty()) job->like.owner = llb::OwnerNamed(job->chown);
  job->like.dest = job->dest;
  job->like.create_dest_path = true;
  job->like.exclude_patterns = *job->exclude;
  if (!job->chmod.empty()) RETURN_IF_ERROR(ParseFileMode(job->chmod, &job->like.mode, &job->like.mode_text));
  if (!job->checksum.empty()) {
    if (job->paths->sources.size() != 1) return Invalid("checksum can't be specified for multiple sources");
    if (!IsHttpSource(job->paths->sources[0]) && !IsGitSource(job->paths->sources[0])) return Invalid("checksum requires HTTP(S) or Git sources");
  }
  const StateEnvironment environment(stage->state);
  const std::string shown = ShownCommand(*job->instruction, environment);
  job->step_name = stage->StepName(shown, stage->platform, &environment);
  for (const std::string& source : job->paths->sources) {
    if (IsHttpSource(source)) {
      RETURN_IF_ERROR(AddWebSource(job, source));
    } else {
      RETURN_IF_ERROR(AddGitSource(job, source));
    }
  }
  for (const InlineFile& file : job->paths->files) {
    ASSIGN_OR_RETURN(const std::string path, WithoutDrive(file.path, job->os, /*keep_slash=*/false));
    const llb::State tree =
        llb::Scratch().File(llb::FileActions().Mkfile(path, 0644, file.data), Internal("preparing inline document").For(*stage->platform));
    llb::FileCopy copy = job->like;
    copy.src = ToSlash(path, job->os);
    job->actions.Copy(tree, std::move(copy));
  }

  llb::Constraints constraints = At(job->instruction->lines).IgnoreCache(stage->ignore_cache).Named(job->step_name);
  if (job->link && job->chmod.empty()) {
    // An independent layer; people see the copy and the merge as one step.
    const std::string group = RandomId();
    const llb::State layer =
        llb::Scratch().File(job->actions, llb::Constraints(constraints).For(*stage->platform).InGroup(group, job->step_name, /*weak=*/true));
    --stage->steps_done;
    constraints.InGroup(group, job->step_name, /*weak=*/false).Named(stage->StepName(absl::StrCat("LINK ", shown), stage->platform, &environment));
    stage->state = stage->state.WithOutput(llb::Merge({stage->state, layer}, constraints).output());
  } else {
    stage->state = stage->state.File(job->actions, constraints);
  }
  stage->Commit(absl::StrCat(HistoryText(job->keyword(), *job->paths, job->parents, job->chown, job->chmod), " # buildkit"), /*layer=*/true);
  return absl::OkStatus();
}

// A git repository, or else a path.
absl::Status Compiler::AddGitSource(CopyJob* job, const std::string& source) const {
  ASSIGN_OR_RETURN(const std::optional<GitRef> git, ParseGitRef(source));
  if (!git.has_value() || git->looks_local) return AddPathSource(job, source);
  if (!job->is_add) return Invalid("source can't be a git ref for COPY");
  if (job->keep_git_dir.has_value() && git->keep_git_dir.has_value() && *job->keep_git_dir != *git->keep_git_dir) {
    return Invalid("inconsistent keep-git-dir configuration");
  }
  if (!job->checksum.empty() && !git->checksum.empty() && job->checksum != git->checksum) {
    return Invalid("checksum mismatch ", GoQuote(job->checksum), " != ", GoQuote(git->checksum));
  }
  llb::GitOptions options = git->ToOptions();
  options.keep_git_dir = git->keep_git_dir.value_or(job->keep_git_dir.value_or(false));
  if (options.checksum.empty()) options.checksum = job->checksum;
  options.mtime.clear();
  options.constraints = At(job->instruction->lines).Named(job->step_name);
  llb::FileCopy copy = job->like;
  copy.src = "/";
  job->actions.Copy(llb::Git(git->remote, options), std::move(copy));
  return absl::OkStatus();
}

absl::Status Compiler::AddWebSource(CopyJob* job, const std::string& source) const {
  if (!job->is_add) return Invalid("source can't be a URL for COPY");
  llb::HttpOptions options;
  options.filename = FileNameOfUrl(source);
  if (!job->checksum.empty()) {
    ASSIGN_OR_RETURN(const oci::Digest digest, oci::Digest::Parse(job->checksum));
    options.checksum = digest.str();
  }
  options.constraints = At(job->instruction->lines).Named(job->step_name).Described("com.docker.dockerfile.v1.command", "");
  llb::FileCopy copy = job->like;
  copy.src = options.filename;
  copy.attempt_unpack = job->unpack.value_or(false);
  job->actions.Copy(llb::Http(source, options), std::move(copy));
  return absl::OkStatus();
}

absl::Status Compiler::AddPathSource(CopyJob* job, const std::string& source) const {
  CheckIgnored(*job, source);
  llb::FileCopy copy = job->like;
  std::string root = source;
  if (job->parents) {
    // "a/./b/c": the directories behind the pivot are kept.
    const std::size_t pivot = source.find("/./");
    const std::string behind = pivot == std::string::npos ? source : source.substr(pivot + 3);
    root = pivot == std::string::npos ? "/" : source.substr(0, pivot);
    ASSIGN_OR_RETURN(const std::string pattern, NormalizePath("/", behind, job->os, /*keep_slash=*/false));
    // The root itself, "." or "a/./", is all that is in it.
    if (pattern != "/") {
      copy.include_patterns = {std::string(absl::StripPrefix(pattern, "/"))};
      if (!HasWildcards(root) && !HasWildcards(pattern)) copy.required_paths = {RootedPath(JoinPath(root, pattern))};
    }
  }
  ASSIGN_OR_RETURN(copy.src, NormalizePath("/", root, job->os, /*keep_slash=*/false));
  copy.follow_symlink = true;
  copy.dir_copy_contents = true;
  copy.attempt_unpack = job->unpack.value_or(job->is_add);
  copy.allow_wildcard = true;
  copy.allow_empty_wildcard = true;
  job->actions.Copy(job->source, std::move(copy));
  return absl::OkStatus();
}

void Compiler::CheckIgnored(const CopyJob& job, const std::string& source) const {
  // With exceptions in the ignore file it cannot be told from the path alone.
  if (!job.from_context || !ignore_.has_value() || ignore_->has_exceptions()) return;
  const std::string path = CleanPath(source);
  if ((path == "." || path == "/") && !IgnoresAll(*ignore_)) return;
  if (!ignore_->Matches(path)) return;
  LinterFor(*job.instruction)
      .Report(kCopyIgnoredFile, job.instruction->lines,
              absl::StrCat("Attempting to ", job.is_add ? "Add" : "Copy", " file ", GoQuote(path), " that is excluded by .dockerignore"));
}

}  // namespace cachalot::dockerfile
