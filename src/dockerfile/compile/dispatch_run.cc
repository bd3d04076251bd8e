#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/path.h"
#include "base/status_macros.h"
#include "cachalot/llb/file.h"
#include "cachalot/llb/run.h"
#include "dockerfile/compile/compiler.h"
#include "dockerfile/parse/heredoc.h"
#include "dockerfile/shell/quote.h"

namespace cachalot::dockerfile {
namespace {

constexpr absl::string_view kInlineDirectory = "/dev/pipes/";

// The first line of a document, with dots when there are more.
std::string Summary(absl::string_view document) {
  document = absl::StripAsciiWhitespace(document);
  const std::size_t end = document.find('\n');
  absl::string_view line = document.substr(0, end);
  absl::ConsumeSuffix(&line, "\r");
  return absl::StrCat(line, end == absl::string_view::npos ? "" : "...");
}

// The variables of a process, with those that hold secrets shown as stars.
class MaskedEnvironment : public Environment {
 public:
  MaskedEnvironment(const Environment& base, const std::vector<RunMount>& mounts) : base_(base) {
    for (const RunMount& mount : mounts) {
      if (mount.type == RunMount::Type::kSecret && mount.env.has_value()) masks_.Set(*mount.env, "****");
    }
  }
  std::optional<std::string> Get(absl::string_view name) const override {
    std::optional<std::string> mask = masks_.Get(name);
    return mask.has_value() ? mask : base_.Get(name);
  }
  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    for (const std::string& name : base_.Names()) {
      if (!masks_.Get(name).has_value()) names.push_back(name);
    }
    for (const std::string& name : masks_.Names()) names.push_back(name);
    return names;
  }

 private:
  const Environment& base_;
  Variables masks_;
};

// "|2 A=1 B=2 /bin/sh -c x": the build arguments in force, then the command.
std::string HistoryText(const std::vector<std::string>& words, const std::vector<ArgDefinition>& args, const Environment& environment) {
  Variables values;
  for (const ArgDefinition& arg : args) values.Set(arg.key, environment.Get(arg.key).value_or(arg.value.value_or("")));
  std::vector<std::string> parts;
  if (!values.entries().empty()) parts.push_back(absl::StrCat("|", values.entries().size()));
  for (const auto& [name, value] : values.entries()) parts.push_back(absl::StrCat(name, "=", value));
  parts.insert(parts.end(), words.begin(), words.end());
  return absl::StrJoin(parts, " ");
}

std::string Upper(const std::string& command) {
  const std::size_t end = std::min(command.find(' '), command.size());
  return absl::StrCat(absl::AsciiStrToUpper(command.substr(0, end)), command.substr(end));
}

llb::CacheSharing SharingOf(const std::string& text) {
  if (text == "private") return llb::CacheSharing::kPrivate;
  return text == "locked" ? llb::CacheSharing::kLocked : llb::CacheSharing::kShared;
}

}  // namespace

// The words of the process. A here-document becomes the shell's script, or a file of its own when it begins with "#!".
absl::StatusOr<std::vector<std::string>> Compiler::RunWords(const StageState& stage, const RunInstruction& run, std::string* shown,
                                                            llb::RunOptions* options) {
  std::vector<std::string> words = run.command.words;
  const std::vector<Heredoc>& heredocs = run.command.heredocs;
  if (!heredocs.empty()) {
    if (words.size() != 1 || !run.command.shell_form) {
      return absl::InvalidArgumentError(absl::StrCat("parsing produced an invalid run command: ", GoList(words)));
    }
    if (HeredocOfWord(words[0]).has_value()) {
      const std::string script = heredocs[0].chomp ? Chomp(heredocs[0].content) : heredocs[0].content;
      absl::StrAppend(shown, " (", Summary(heredocs[0].content), ")");
      if (stage.image.platform.os != "windows" && absl::StartsWith(script, "#!")) {
        llb::Constraints constraints = Internal("preparing inline document");
        constraints.For(*stage.platform);
        const llb::State file = llb::Scratch().File(llb::FileActions().Mkfile(heredocs[0].name, 0755, script), constraints);
        llb::MountOptions mount;
        mount.readonly = true;
        mount.selector = "/";
        options->AddMount(std::string(kInlineDirectory), file, mount);
        words = {JoinPath(kInlineDirectory, heredocs[0].name)};
      } else {
        words = {script};
      }
    } else {
      for (const Heredoc& heredoc : heredocs) absl::StrAppend(&words[0], "\n", heredoc.content, heredoc.name);
    }
  }
  if (!run.command.shell_form) return words;
  std::vector<std::string> with_shell = stage.image.config.shell;
  if (with_shell.empty()) {
    with_shell = stage.image.platform.os == "windows" ? std::vector<std::string>{"cmd", "/S", "/C"} : std::vector<std::string>{"/bin/sh", "-c"};
  }
  with_shell.push_back(absl::StrJoin(words, " "));
  return with_shell;
}

absl::Status Compiler::DispatchRun(StageState* stage, const Command& command, const RunInstruction& run) {
  stage->paths->insert("/");  // a process may read anything
  const Instruction& instruction = command.instruction;
  llb::RunOptions options;
  std::string shown = instruction.code;
  ASSIGN_OR_RETURN(const std::vector<std::string> words, RunWords(*stage, run, &shown, &options));
  options.Args(words);
  options.With(
      At(instruction.lines).Described("com.docker.dockerfile.v1.command", instruction.code).IgnoreCache(stage->ignore_cache).For(*stage->platform));
  if (proxy_.has_value()) options.Proxy(*proxy_);
  RETURN_IF_ERROR(AddRunMounts(stage, command, run, &options));
  if (!run.devices.empty()) {
    return absl::UnimplementedError("device feature is only supported in Dockerfile frontend 1.14.0-labs or later");
  }
  options.Security(run.security == "insecure" ? llb::SecurityMode::kInsecure : llb::SecurityMode::kSandbox);
  if (run.network != "default") options.Network(run.network == "none" ? llb::NetMode::kNone : llb::NetMode::kHost);
  AddLimits(&options);

  const StateEnvironment environment(stage->state);
  std::int64_t env_bytes = 0;
  for (const auto& [name, value] : stage->state.settings().env) env_bytes += static_cast<std::int64_t>(name.size() + value.size());
  RETURN_IF_ERROR(budget_->Spend(env_bytes));  // each process carries all variables
  const Expander shower({.escape = expander_.options().escape, .raw_quotes = true, .skip_unset = true}, budget_);
  const absl::StatusOr<Expansion> expanded = shower.Expand(shown, MaskedEnvironment(environment, run.mounts));
  options.constraints.Named(stage->StepName(Upper(expanded.ok() ? expanded->text : shown), stage->platform, &environment));

  stage->state = stage->state.Run(options).Root();
  stage->Commit(absl::StrCat("RUN ", HistoryText(words, stage->build_args, environment), " # buildkit"), /*layer=*/true);
  return absl::OkStatus();
}

void Compiler::AddLimits(llb::RunOptions* options) const {
  for (const llb::Ulimit& limit : config_.ulimits) options->AddUlimit(limit.name, limit.soft, limit.hard);
  for (const llb::HostIp& host : config_.extra_hosts) options->AddExtraHost(host.host, host.ip);
  if (config_.shm_size > 0) {
    llb::MountOptions shm;
    shm.tmpfs_size = config_.shm_size;
    options->AddMount("/dev/shm", llb::Scratch(), shm);
  }
  if (!config_.cgroup_parent.empty()) options->CgroupParent(config_.cgroup_parent);
  if (config_.resources.has_value()) options->constraints.Limited(*config_.resources);
}

absl::Status Compiler::AddRunMounts(StageState* stage, const Command& command, const RunInstruction& run, llb::RunOptions* options) {
  for (std::size_t i = 0; i < run.mounts.size(); ++i) {
    const RunMount& mount = run.mounts[i];
    if (mount.type == RunMount::Type::kSecret) {
      RETURN_IF_ERROR(AddSecret(stage, mount, command.instruction.lines, options));
    } else if (mount.type == RunMount::Type::kSsh) {
      RETURN_IF_ERROR(AddSsh(stage, mount, command.instruction.lines, options));
    } else {
      RETURN_IF_ERROR(AddRunMount(stage, command, i, mount, options));
    }
  }
  return absl::OkStatus();
}

absl::Status Compiler::AddRunMount(StageState* stage, const Command& command, std::size_t index, RunMount mount, llb::RunOptions* options) {
  if (mount.from.empty() && mount.type == RunMount::Type::kCache) mount.from = "scratch";
  StageState* source = mount.from.empty() ? nullptr : command.sources[index];
  if (source != nullptr && !source->dispatched) {
    return absl::InvalidArgumentError(absl::StrCat("cannot mount from stage ", GoQuote(mount.from), " to ", GoQuote(mount.target),
                                                   ", stage needs to be defined before current command"));
  }
  llb::State tree = source != nullptr ? source->state : context_;
  llb::MountOptions mounted;
  if (mount.type == RunMount::Type::kTmpfs) {
    tree = llb::Scratch();
    mounted.tmpfs_size = mount.size;
  }
  mounted.readonly = mount.readonly;
  mounted.no_output = !mount.readonly && mount.type == RunMount::Type::kBind;
  if (mount.type == RunMount::Type::kCache) {
    const std::string id = mount.id.empty() ? CleanPath(mount.target) : mount.id;
    mounted.cache = llb::CacheMount{absl::StrCat(config_.cache_namespace, "/", id), SharingOf(mount.sharing)};
  }
  const std::string target = absl::StartsWith(mount.target, "/") ? mount.target : RootedPath(JoinPath(stage->state.settings().dir, mount.target));
  if (target == "/") return absl::InvalidArgumentError(absl::StrCat("invalid mount target ", GoQuote(target)));
  const std::string source_path = RootedPath(mount.source);
  if (source_path != "/") {
    mounted.selector = source_path;
  } else if (mount.uid.has_value() || mount.gid.has_value() || mount.mode.has_value()) {
    // A new cache starts as a directory of the wanted owner.
    llb::FileMkdir mkdir;
    mkdir.path = "/cache";
    mkdir.mode = static_cast<int>(mount.mode.value_or(0755));
    mkdir.owner = llb::OwnerIds(mount.uid.value_or(0), mount.gid.value_or(0));
    tree = tree.File(llb::FileActions().Mkdir(std::move(mkdir)), Internal("setting cache mount permissions"));
    mounted.selector = "/cache";
  }
  options->AddMount(target, tree, mounted);
  (source != nullptr ? *source->paths : *context_paths_).insert(source_path);
  return absl::OkStatus();
}

absl::Status Compiler::AddSecret(StageState* stage, const RunMount& mount, Lines lines, llb::RunOptions* options) {
  llb::SecretOptions secret;
  secret.id = !mount.source.empty() ? mount.source : !mount.id.empty() ? mount.id : BaseName(mount.target);
  secret.dest = mount.target;
  if (!mount.env.has_value() && secret.dest.empty()) secret.dest = absl::StrCat("/run/secrets/", BaseName(secret.id));
  secret.env = mount.env.value_or("");
  if (mount.env.has_value() && secret.env.empty()) secret.env = secret.id;
  secret.optional = !mount.required;
  secret.uid = mount.uid.value_or(0);
  secret.gid = mount.gid.value_or(0);
  secret.mode = mount.mode.value_or(0400);
  stage->outline.secrets.try_emplace(secret.id, Outline::Need{mount.required, lines});
  options->AddSecret(std::move(secret));
  return absl::OkStatus();
}

absl::Status Compiler::AddSsh(StageState* stage, const RunMount& mount, Lines lines, llb::RunOptions* options) {
  if (!mount.source.empty()) return absl::InvalidArgumentError("ssh does not support source");
  llb::SshOptions ssh;
  ssh.id = mount.id;
  ssh.dest = mount.target;
  ssh.optional = !mount.required;
  ssh.uid = mount.uid.value_or(0);
  ssh.gid = mount.gid.value_or(0);
  ssh.mode = mount.mode.value_or(0600);
  stage->outline.ssh.try_emplace(mount.id.empty() ? "default" : mount.id, Outline::Need{mount.required, lines});
  options->AddSsh(std::move(ssh));
  return absl::OkStatus();
}

}  // namespace cachalot::dockerfile
