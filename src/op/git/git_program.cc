#include "op/git/git_program.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "os/run.h"

namespace cachalot::op {
namespace {

// Nothing but these may be spoken; repositories of this machine only where we name them, not where a submodule does.
constexpr const char* kConfiguration[] = {"protocol.allow=never",      "protocol.http.allow=always", "protocol.https.allow=always",
                                          "protocol.ssh.allow=always", "protocol.git.allow=always",  "protocol.file.allow=user",
                                          "gc.autoDetach=false",       "core.hooksPath=/dev/null",   "advice.detachedHead=false"};

std::vector<std::string> BaseEnvironment() {
  const char* path = std::getenv("PATH");
  std::vector<std::string> environment = {absl::StrCat("PATH=", path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path),
                                          "GIT_TERMINAL_PROMPT=0",
                                          "GIT_CONFIG_NOSYSTEM=1",
                                          "GIT_CONFIG_GLOBAL=/dev/null",
                                          "HOME=/dev/null",
                                          "LC_ALL=C"};
  for (const char* name : {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"}) {
    if (const char* value = std::getenv(name); value != nullptr) environment.push_back(absl::StrCat(name, "=", value));
  }
  return environment;
}

std::string HostWithPort(const std::string& remote) {
  const std::size_t scheme = remote.find("://");
  if (scheme == std::string::npos) return "";
  std::string authority = remote.substr(scheme + 3, remote.find('/', scheme + 3) - scheme - 3);
  return authority.substr(authority.rfind('@') + 1);
}

// Which URLs a token is sent to. All of github.com share one, for submodules.
std::string TokenScope(const std::string& remote) {
  for (const char* prefix : {"https://github.com/", "https://www.github.com/"}) {
    if (absl::StartsWith(remote, prefix)) return prefix;
  }
  return remote;
}

// What to try instead of a command that this server did not like; empty when there is nothing.
std::vector<std::string> Alternative(const std::vector<std::string>& arguments, absl::string_view error) {
  std::vector<std::string> other = arguments;
  if (absl::StrContains(error, "--depth") || absl::StrContains(error, "shallow")) {
    other.erase(std::remove(other.begin(), other.end(), "--depth=1"), other.end());
    if (other.size() < arguments.size()) return other;
  }
  const bool refused = absl::StrContains(error, "not our ref") || absl::StrContains(error, "unadvertised object");
  if (refused && arguments.size() > 2 && arguments[0] == "fetch" && IsCommitId(arguments.back())) {
    other.pop_back();
    return other;
  }
  return {};
}

}  // namespace

absl::StatusOr<std::shared_ptr<const GitAccess>> GitAccess::Open(const GitIdentifier& id, const Environment& environment, const CancelToken& cancel) {
  std::shared_ptr<GitAccess> access(new GitAccess);
  access->environment_ = BaseEnvironment();
  access->remote_ = id.remote;
  access->redacted_ = id.Redacted();
  RETURN_IF_ERROR(access->AddSecrets(id, environment, cancel));
  RETURN_IF_ERROR(access->AddSsh(id, environment, cancel));
  return std::shared_ptr<const GitAccess>(std::move(access));
}

GitAccess::~GitAccess() {
  if (!known_hosts_file_.empty()) ::unlink(known_hosts_file_.c_str());
}

absl::Status GitAccess::AddSecrets(const GitIdentifier& id, const Environment& environment, const CancelToken& cancel) {
  const absl::StatusOr<session::SessionPtr> session = SessionFor(environment, "", cancel);
  if (!session.ok() || !id.bundle.empty()) return absl::OkStatus();
  struct Candidate {
    std::string name;
    bool token;
  };
  std::vector<Candidate> candidates;
  for (const std::string& suffix : {absl::StrCat(".", HostWithPort(id.remote)), std::string()}) {
    if (!id.auth_header_secret.empty()) candidates.push_back({id.auth_header_secret + suffix, false});
    if (!id.auth_token_secret.empty()) candidates.push_back({id.auth_token_secret + suffix, true});
  }
  for (const Candidate& candidate : candidates) {
    const absl::StatusOr<std::string> secret = (*session)->Secret(candidate.name, cancel);
    if (absl::IsNotFound(secret.status())) continue;
    RETURN_IF_ERROR(OfTheClient(secret.status()));
    const std::string value = candidate.token ? absl::StrCat("basic ", absl::Base64Escape(absl::StrCat("x-access-token:", *secret))) : *secret;
    // In the environment, not on the command line: everybody on this machine can read that.
    environment_.push_back("GIT_CONFIG_COUNT=1");
    environment_.push_back(absl::StrCat("GIT_CONFIG_KEY_0=http.", TokenScope(id.remote), ".extraheader"));
    environment_.push_back(absl::StrCat("GIT_CONFIG_VALUE_0=Authorization: ", value));
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status GitAccess::AddSsh(const GitIdentifier& id, const Environment& environment, const CancelToken& cancel) {
  std::string command = "ssh -F /dev/null -o BatchMode=yes";
  if (id.known_hosts.empty()) {
    command += " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
  } else {
    known_hosts_file_ = absl::StrCat(environment.parts.work_dir, "/known-hosts-", RandomId());
    RETURN_IF_ERROR(os::WriteFileAtomic(known_hosts_file_, id.known_hosts, 0600));
    absl::StrAppend(&command, " -o 'UserKnownHostsFile=", known_hosts_file_, "'");
  }
  environment_.push_back(absl::StrCat("GIT_SSH_COMMAND=", command));
  if (id.ssh_id.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const session::SessionPtr session, SessionFor(environment, "", cancel));
  const absl::Status known = session->CheckSshAgent(id.ssh_id, cancel);
  if (absl::IsUnimplemented(known)) {
    return OfTheClient(absl::FailedPreconditionError(absl::StrCat("no SSH key \"", id.ssh_id, "\" forwarded from the client")));
  }
  RETURN_IF_ERROR(OfTheClient(known));
  ASSIGN_OR_RETURN(socket_, session->ForwardSsh(id.ssh_id, ::geteuid(), ::getegid(), 0700));
  environment_.push_back(absl::StrCat("SSH_AUTH_SOCK=", socket_->path()));
  return absl::OkStatus();
}

Git Git::In(std::string git_dir, std::string work_tree) const {
  Git other = *this;
  other.git_dir_ = std::move(git_dir);
  other.work_tree_ = std::move(work_tree);
  return other;
}

absl::StatusOr<std::string> Git::Run(std::vector<std::string> arguments) const {
  const bool secret = access_->remote() != access_->redacted();
  const auto clean = [&](absl::string_view text) {
    return secret ? absl::StrReplaceAll(text, {{access_->remote(), access_->redacted()}}) : std::string(text);
  };
  os::RunOptions options;
  if (progress_ != nullptr) {
    options.on_output = [&](int stream, absl::string_view bytes) { progress_->Log(stream, clean(bytes)); };
  }
  while (true) {
    os::Command command;
    command.argv = {"git"};
    for (const char* setting : kConfiguration) command.argv.insert(command.argv.end(), {"-c", setting});
    if (!work_tree_.empty()) command.argv.insert(command.argv.end(), {"--work-tree", work_tree_});
    if (!git_dir_.empty()) command.argv.insert(command.argv.end(), {"--git-dir", git_dir_});
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    command.env = access_->environment();
    command.cwd = work_tree_.empty() ? "/" : work_tree_;
    command.umask = 022;  // decides the modes of files that are checked out
    absl::StatusOr<os::RunResult> run = os::Run(std::move(command), options, cancel_);
    if (absl::IsNotFound(run.status())) return absl::FailedPreconditionError("git sources need the program git");
    RETURN_IF_ERROR(run.status());
    if (run->exit.code == 0) return std::move(run->out);
    std::vector<std::string> other = Alternative(arguments, run->err);
    if (other.empty()) return absl::UnknownError(absl::StrCat("git stderr:\n", clean(run->err), ": exit status ", run->exit.code));
    arguments = std::move(other);
  }
}

absl::StatusOr<std::string> Git::Line(std::vector<std::string> arguments) const {
  ASSIGN_OR_RETURN(const std::string text, Run(std::move(arguments)));
  return std::string(absl::StripAsciiWhitespace(text));
}

Git Git::Quiet() const {
  Git quiet = *this;
  quiet.progress_ = nullptr;
  return quiet;
}

bool Git::Succeeds(std::vector<std::string> arguments) const { return Quiet().Run(std::move(arguments)).ok(); }

}  // namespace cachalot::op
