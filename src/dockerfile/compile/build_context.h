// The build context and the Dockerfile: where they are, and how they are read.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cachalot/llb/source.h"
#include "dockerfile/compile/config.h"
#include "llb/frontend.h"

namespace cachalot::dockerfile {

using Inputs = std::map<std::string, llb::Definition>;
// Paths of a tree that a build reads ("/a/b"); "/" is all of it.
using PathSet = std::set<std::string>;

// "[internal] <what>": the vertex names of the frontend's own work.
llb::Constraints Internal(absl::string_view what);

// The options of a transfer that needs only `paths`.
std::vector<std::string> FollowPaths(const PathSet& paths);

// Thread-safe after Open.
class BuildContext {
 public:
  // Looks at the options and inputs: the context is a directory of the client, a git repository, a web address (an archive, or
  // a Dockerfile by itself) or an input. Web addresses are fetched.
  static absl::StatusOr<std::unique_ptr<BuildContext>> Open(llb::FrontendBridge& bridge, const Options& options, const Inputs& inputs);

  // Reads the Dockerfile, and an ignore file named after it.
  absl::StatusOr<std::shared_ptr<const llb::SourceInfo>> ReadDockerfile();

  // The digest of the vertex that brought the Dockerfile: warnings belong to it.
  const std::string& dockerfile_vertex() const { return dockerfile_vertex_; }

  // The tree that COPY copies from. For a directory of the client only what `paths` holds when the graph is assembled is
  // transferred.
  absl::StatusOr<llb::State> MainContext(std::shared_ptr<const PathSet> paths);

  // The patterns of the ignore file. Empty for a context that is no directory of the client.
  absl::StatusOr<std::vector<std::string>> IgnorePatterns();

  absl::StatusOr<llb::RefPtr> Solve(const llb::State& state, bool evaluate = false) const;
  // The text of an ignore file; nothing when there is none. Whatever else hinders reading is an error: what it excludes must not get into the build.
  absl::StatusOr<std::optional<std::string>> ReadIgnoreFile(const llb::RefPtr& ref, const std::string& path) const;
  // The session that sends the directory `name`.
  std::string SessionOf(const std::string& name) const {
    const std::string& given = Option(options_, "local-sessionid:" + name);
    return given.empty() ? bridge_.session() : given;
  }

  llb::FrontendBridge& bridge() const { return bridge_; }
  const Options& options() const { return options_; }
  const Inputs& inputs() const { return inputs_; }
  absl::StatusOr<llb::State> InputState(const std::string& name) const;

 private:
  BuildContext(llb::FrontendBridge& bridge, const Options& options, const Inputs& inputs) : bridge_(bridge), options_(options), inputs_(inputs) {}
  absl::Status Locate();
  absl::Status FetchWebContext(const std::string& url);
  llb::State LocalDockerfile() const;
  absl::StatusOr<std::string> ReadDockerfileText(const llb::RefPtr& ref) const;

  llb::FrontendBridge& bridge_;
  const Options options_;
  const Inputs inputs_;
  std::string filename_ = "Dockerfile";
  std::string context_name_ = "context";
  std::string dockerfile_name_ = "dockerfile";
  std::optional<llb::State> context_;     // unless it is a directory of the client
  std::optional<llb::State> dockerfile_;  // where the Dockerfile is, unless in a directory of the client
  std::string dockerfile_vertex_;

  std::mutex ignore_mutex_;
  std::string ignore_name_;  // this and the next: guarded by ignore_mutex_
  std::optional<std::string> ignore_text_;
};

// The state of a git context, none when `ref` is no git reference.
absl::StatusOr<std::optional<llb::State>> GitContext(const std::string& ref, std::optional<bool> keep_git_dir, bool commit_times);

}  // namespace cachalot::dockerfile
