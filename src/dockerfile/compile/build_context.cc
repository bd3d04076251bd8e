#include "dockerfile/compile/build_context.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "cachalot/llb/file.h"
#include "dockerfile/compile/archive.h"
#include "dockerfile/compile/git_ref.h"
#include "dockerfile/compile/ignore_file.h"
#include "dockerfile/instructions/values.h"
#include "dockerfile/parse/parser.h"

namespace cachalot::dockerfile {
namespace {

constexpr absl::string_view kDockerfile = "Dockerfile";
constexpr absl::string_view kIgnoreFile = ".dockerignore";
constexpr absl::string_view kWebFile = "context";
constexpr std::int64_t kSniffedBytes = 1024;
constexpr std::int64_t kMaxIgnoreBytes = 8 << 20;

bool IsWebAddress(absl::string_view text) { return absl::StartsWith(text, "http://") || absl::StartsWith(text, "https://"); }

llb::State SubDirectory(const llb::State& tree, const std::string& directory) {
  llb::FileCopy copy;
  copy.src = directory;
  copy.dest = "/";
  copy.dir_copy_contents = true;
  return llb::Scratch().File(llb::FileActions().Copy(tree, std::move(copy)));
}

// "Dockerfile" may also be spelled in lower case.
std::string LowerCaseName(const std::string& filename) {
  return BaseName(filename) == kDockerfile ? JoinPath(DirName(filename), absl::AsciiStrToLower(kDockerfile)) : "";
}

}  // namespace

llb::Constraints Internal(absl::string_view what) { return llb::Constraints().Named(absl::StrCat("[internal] ", what)); }

std::vector<std::string> FollowPaths(const PathSet& paths) {
  std::vector<std::string> follow;
  if (paths.contains("/")) return follow;
  for (const std::string& path : paths) follow.push_back(CleanPath(absl::StrCat("./", path)));
  std::sort(follow.begin(), follow.end());
  return follow;
}

absl::StatusOr<std::optional<llb::State>> GitContext(const std::string& ref, std::optional<bool> keep_git_dir, bool commit_times) {
  ASSIGN_OR_RETURN(const std::optional<GitRef> git, ParseGitRef(ref));
  if (!git.has_value()) return std::nullopt;
  llb::GitOptions options = git->ToOptions();
  if (keep_git_dir.value_or(false)) options.keep_git_dir = true;
  if (commit_times && options.mtime.empty()) options.mtime = "commit";
  options.constraints = Internal(absl::StrCat("load git source ", ref));
  return llb::Git(git->remote, options);
}

absl::StatusOr<std::unique_ptr<BuildContext>> BuildContext::Open(llb::FrontendBridge& bridge, const Options& options, const Inputs& inputs) {
  std::unique_ptr<BuildContext> context(new BuildContext(bridge, options, inputs));
  RETURN_IF_ERROR(context->Locate());
  return context;
}

absl::StatusOr<llb::State> BuildContext::InputState(const std::string& name) const {
  const auto input = inputs_.find(name);
  if (input == inputs_.end()) return absl::NotFoundError(absl::StrCat("no input ", name));
  if (input->second.empty()) return absl::InvalidArgumentError("invalid nil input definition to definition op");
  const absl::StatusOr<llb::Edge> edge = llb::LoadDefinition(input->second);
  if (!edge.ok()) return Annotate(edge.status(), absl::StrCat("input ", name));
  return llb::State(*edge);
}

absl::Status BuildContext::Locate() {
  for (const auto& input : inputs_) {
    if (const absl::StatusOr<llb::State> state = InputState(input.first); !state.ok())
      return Annotate(state.status(), "failed to get frontend inputs");
  }
  if (const std::string& name = Option(options_, "filename"); !name.empty()) filename_ = name;
  const bool local_dockerfile = options_.contains("dockerfilekey");
  if (local_dockerfile) dockerfile_name_ = Option(options_, "dockerfilekey");
  const std::string& key = Option(options_, "contextkey");
  const std::string& address = Option(options_, key.empty() ? "context" : key);

  const std::optional<bool> keep_git = ParseBool(Option(options_, "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR"));
  const bool commit_times = !Option(options_, "build-arg:SOURCE_DATE_EPOCH").empty();
  ASSIGN_OR_RETURN(std::optional<llb::State> git, GitContext(address, keep_git, commit_times));
  if (git.has_value()) {
    context_ = dockerfile_ = std::move(git);
  } else if (IsWebAddress(address)) {
    RETURN_IF_ERROR(FetchWebContext(address));
  } else {
    if (!local_dockerfile && inputs_.contains(dockerfile_name_)) {
      ASSIGN_OR_RETURN(dockerfile_, InputState(dockerfile_name_));
    }
    if (inputs_.contains(context_name_)) {
      ASSIGN_OR_RETURN(context_, InputState(context_name_));
    }
  }
  if (const auto sub = options_.find("contextsubdir"); sub != options_.end() && context_.has_value()) {
    context_ = SubDirectory(*context_, sub->second);
  }
  if (local_dockerfile) dockerfile_.reset();
  return absl::OkStatus();
}

absl::Status BuildContext::FetchWebContext(const std::string& url) {
  llb::HttpOptions options;
  options.filename = std::string(kWebFile);
  options.constraints = Internal("load remote build context");
  const llb::State file = llb::Http(url, options);
  absl::StatusOr<llb::RefPtr> ref = Solve(file);
  if (!ref.ok()) return Annotate(ref.status(), "failed to resolve httpcontext");
  const absl::StatusOr<std::string> head = bridge_.ReadFile(*ref, std::string(kWebFile), 0, kSniffedBytes);
  if (!head.ok()) return Annotate(head.status(), "failed to read downloaded context");
  if (LooksLikeArchive(*head)) {
    llb::FileCopy copy;
    copy.src = absl::StrCat("/", kWebFile);
    copy.dest = "/";
    copy.attempt_unpack = true;
    context_ = llb::Scratch().File(llb::FileActions().Copy(file, std::move(copy)));
  } else {
    filename_ = std::string(kWebFile);
    context_ = file;
  }
  dockerfile_ = context_;
  return absl::OkStatus();
}

absl::StatusOr<llb::RefPtr> BuildContext::Solve(const llb::State& state, bool evaluate) const {
  llb::SolveRequest request;
  ASSIGN_OR_RETURN(request.definition, state.Marshal());
  request.evaluate = evaluate;
  ASSIGN_OR_RETURN(llb::FrontendResult result, bridge_.Solve(request));
  return std::move(result.ref);
}

absl::StatusOr<std::optional<std::string>> BuildContext::ReadIgnoreFile(const llb::RefPtr& ref, const std::string& path) const {
  absl::StatusOr<std::string> text = bridge_.ReadFile(ref, path, 0, kMaxIgnoreBytes + 1);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  if (!text.ok()) return Annotate(text.status(), absl::StrCat("failed to read ", path));
  if (static_cast<std::int64_t>(text->size()) > kMaxIgnoreBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is larger than ", kMaxIgnoreBytes, " bytes"));
  }
  return *std::move(text);
}

llb::State BuildContext::LocalDockerfile() const {
  llb::LocalOptions options;
  options.follow_paths = {filename_, absl::StrCat(filename_, kIgnoreFile)};
  if (const std::string lower = LowerCaseName(filename_); !lower.empty()) options.follow_paths.push_back(lower);
  options.session_id = SessionOf(dockerfile_name_);
  options.shared_key_hint = dockerfile_name_;
  options.differ = "none";
  options.constraints = Internal(absl::StrCat("load build definition from ", filename_));
  return llb::Local(dockerfile_name_, options);
}

absl::StatusOr<std::string> BuildContext::ReadDockerfileText(const llb::RefPtr& ref) const {
  constexpr std::int64_t kLimit = static_cast<std::int64_t>(kMaxFileBytes) + 1;
  absl::StatusOr<std::string> text = bridge_.ReadFile(ref, filename_, 0, kLimit);
  if (const std::string lower = LowerCaseName(filename_); !text.ok() && !lower.empty()) {
    if (absl::StatusOr<std::string> lower_text = bridge_.ReadFile(ref, lower, 0, kLimit); lower_text.ok()) return lower_text;
  }
  if (!text.ok()) return Annotate(text.status(), "failed to read dockerfile");
  return text;
}

absl::StatusOr<std::shared_ptr<const llb::SourceInfo>> BuildContext::ReadDockerfile() {
  const llb::State tree = dockerfile_.has_value() ? *dockerfile_ : LocalDockerfile();
  auto info = std::make_shared<llb::SourceInfo>();
  ASSIGN_OR_RETURN(const llb::Edge edge, tree.ToEdge());
  if (edge.vertex != nullptr) dockerfile_vertex_ = edge.vertex->digest.str();
  info->definition = llb::SaveDefinition(edge);
  const absl::StatusOr<llb::RefPtr> ref = Solve(tree);
  if (!ref.ok()) return Annotate(ref.status(), "failed to resolve dockerfile");
  ASSIGN_OR_RETURN(info->data, ReadDockerfileText(*ref));
  info->filename = filename_;
  info->language = std::string(kDockerfile);
  const std::string ignore_name = absl::StrCat(filename_, kIgnoreFile);
  ASSIGN_OR_RETURN(std::optional<std::string> ignore, ReadIgnoreFile(*ref, ignore_name));
  if (ignore.has_value()) {
    const std::lock_guard<std::mutex> lock(ignore_mutex_);
    ignore_name_ = ignore_name;
    ignore_text_ = std::move(ignore);
  }
  return info;
}

absl::StatusOr<llb::State> BuildContext::MainContext(std::shared_ptr<const PathSet> paths) {
  if (context_.has_value()) return *context_;
  ASSIGN_OR_RETURN(std::vector<std::string> excludes, IgnorePatterns());
  llb::LocalOptions options;
  options.session_id = SessionOf(context_name_);
  options.exclude_patterns = std::move(excludes);
  options.shared_key_hint = context_name_;
  options.constraints = Internal("load build context");
  return llb::Local(context_name_, [options = std::move(options), paths = std::move(paths)] {
    llb::LocalOptions with_paths = options;
    with_paths.follow_paths = FollowPaths(*paths);
    return with_paths;
  });
}

absl::StatusOr<std::vector<std::string>> BuildContext::IgnorePatterns() {
  if (context_.has_value()) return std::vector<std::string>();
  const std::lock_guard<std::mutex> lock(ignore_mutex_);
  if (!ignore_text_.has_value()) {
    llb::LocalOptions options;
    options.session_id = SessionOf(context_name_);
    options.follow_paths = {std::string(kIgnoreFile)};
    options.shared_key_hint = absl::StrCat(context_name_, "-", kIgnoreFile);
    options.differ = "none";
    options.constraints = Internal(absl::StrCat("load ", kIgnoreFile));
    ASSIGN_OR_RETURN(const llb::RefPtr ref, Solve(llb::Local(context_name_, options)));
    ignore_name_ = std::string(kIgnoreFile);
    ASSIGN_OR_RETURN(std::optional<std::string> text, ReadIgnoreFile(ref, ignore_name_));
    ignore_text_ = std::move(text).value_or("");
  }
  return ParseIgnoreFile(ignore_name_, *ignore_text_);
}

}  // namespace cachalot::dockerfile
