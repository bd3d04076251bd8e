// The program git, cut off from this machine's configuration.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "op/environment.h"
#include "op/git/git_identifier.h"
#include "session/session.h"
#include "solver/progress.h"

namespace cachalot::op {

// How to reach a remote for one source: secrets as headers, an agent's socket, known hosts. What it opened goes with it.
class GitAccess {
 public:
  static absl::StatusOr<std::shared_ptr<const GitAccess>> Open(const GitIdentifier& id, const Environment& environment, const CancelToken& cancel);
  ~GitAccess();

  // "NAME=value" for git's environment.
  const std::vector<std::string>& environment() const { return environment_; }
  // A text with the remote's credentials, if there are any, and without: for what git prints.
  const std::string& remote() const { return remote_; }
  const std::string& redacted() const { return redacted_; }

 private:
  GitAccess() = default;
  absl::Status AddSecrets(const GitIdentifier& id, const Environment& environment, const CancelToken& cancel);
  absl::Status AddSsh(const GitIdentifier& id, const Environment& environment, const CancelToken& cancel);

  std::vector<std::string> environment_;
  std::string remote_, redacted_, known_hosts_file_;
  std::unique_ptr<session::Session::SshSocket> socket_;
};

// A way to call git. Cheap to copy.
class Git {
 public:
  // `progress` may be null: then nothing is shown.
  Git(std::shared_ptr<const GitAccess> access, std::shared_ptr<solver::OpProgress> progress, CancelToken cancel)
      : access_(std::move(access)), progress_(std::move(progress)), cancel_(std::move(cancel)) {}
  // The same for a repository, and perhaps a work tree.
  Git In(std::string git_dir, std::string work_tree = "") const;
  // The same that shows nothing.
  Git Quiet() const;

  // What `git <arguments>` prints. Errors read "git stderr:\n<text>: exit status <n>". A server that cannot do shallow fetches, or
  // fetch a commit by its id, is asked again without.
  absl::StatusOr<std::string> Run(std::vector<std::string> arguments) const;
  // The same, without white space around it.
  absl::StatusOr<std::string> Line(std::vector<std::string> arguments) const;
  // Whether it ends with 0.
  bool Succeeds(std::vector<std::string> arguments) const;

  const std::string& git_dir() const { return git_dir_; }
  const CancelToken& cancel() const { return cancel_; }

 private:
  std::shared_ptr<const GitAccess> access_;
  std::shared_ptr<solver::OpProgress> progress_;
  CancelToken cancel_;
  std::string git_dir_, work_tree_;
};

}  // namespace cachalot::op
