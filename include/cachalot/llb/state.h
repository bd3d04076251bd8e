// States: the values of which a build graph is made. A state is a file tree that some operation will produce, together with the
// settings that processes started on it see. States are immutable and cheap to copy; every call returns a new one. Nothing
// happens, and nothing can fail, until ToEdge() or Marshal() assembles the graph.
//
//   State base = Image("docker.io/library/busybox:latest");
//   State built = base.Dir("/src").Run(RunOptions().Shlex("make all").AddMount("/src", Local("context"))).Root();
//   absl::StatusOr<Definition> definition = Scratch().File(FileActions().Copy(built, "/src/out", "/")).Marshal();
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cachalot/llb/constraints.h"
#include "llb/definition.h"
#include "llb/op.h"

namespace cachalot::llb {

class Exec;
class FileActions;
class Node;
struct RunOptions;

// What processes see besides their files. Collected on a state, used by the Run calls that follow.
struct ProcessSettings {
  std::vector<std::pair<std::string, std::string>> env = {};  // later settings of a name replace earlier ones, at the end
  std::string dir = "/";
  std::string user = {};
  std::string hostname = {};
  std::vector<HostIp> extra_hosts = {};
  std::vector<Ulimit> ulimits = {};
  std::string cgroup_parent = {};
  std::vector<int> valid_exit_codes = {};
  NetMode network = NetMode::kSandbox;
  SecurityMode security = SecurityMode::kSandbox;
  std::optional<oci::Platform> platform = {};

  void SetEnv(absl::string_view name, absl::string_view value);
  std::optional<std::string> GetEnv(absl::string_view name) const;
  // A relative directory is taken from the current one.
  void SetDir(absl::string_view path);
};

// One output of an operation that is still to be assembled. Without a node it is the empty tree.
struct Output {
  std::shared_ptr<const Node> node = nullptr;
  int index = 0;
};

// What the assembly of a graph adds to every operation.
struct MarshalOptions {
  Constraints defaults = {};  // the platform defaults to this machine's
  // Becomes the attribute "local.unique" of local sources: one value per build keeps the vertices of builds apart in a daemon
  // that shares them by digest. Empty leaves it out, so that equal graphs have equal digests.
  std::string local_unique_id = {};
};

class State {
 public:
  State();  // scratch: an empty tree, in directory "/"
  // A tree with fresh settings; for the builders of sources.
  explicit State(Output output);
  // A tree of a loaded graph, such as a frontend's input.
  explicit State(Edge edge);

  // -- settings -----------------------------------------------------------------------------------------------------
  State AddEnv(absl::string_view name, absl::string_view value) const;
  State Dir(absl::string_view path) const;
  State User(absl::string_view user) const;
  State Hostname(absl::string_view hostname) const;
  State AddExtraHost(absl::string_view host, absl::string_view ip) const;
  State AddUlimit(absl::string_view name, std::int64_t soft, std::int64_t hard) const;
  State CgroupParent(absl::string_view parent) const;
  State ValidExitCodes(std::vector<int> codes) const;
  State Network(NetMode network) const;
  State Security(SecurityMode security) const;
  State Platform(const oci::Platform& platform) const;
  // Environment, working directory and platform of an image configuration (JSON).
  absl::StatusOr<State> WithImageConfig(absl::string_view json) const;

  const ProcessSettings& settings() const { return *settings_; }
  // The same tree with other settings.
  State With(ProcessSettings settings) const;
  State Edit(const std::function<void(ProcessSettings&)>& edit) const;

  // -- operations ---------------------------------------------------------------------------------------------------
  // Runs a process with this tree as its root.
  Exec Run(const RunOptions& options) const;
  // Changes files; the settings stay.
  State File(const FileActions& actions, const Constraints& constraints = {}) const;
  // This tree, made only after `dependencies` are made too. `id` distinguishes such vertices.
  State Requires(absl::string_view id, const std::vector<State>& dependencies) const;

  // -- results ------------------------------------------------------------------------------------------------------
  bool is_scratch() const { return output_.node == nullptr; }
  const Output& output() const { return output_; }
  // The same settings on another tree, which brings its platform if it has one.
  State WithOutput(Output output) const;

  // The checked graph, for use in this process. The same calls give the same digests every time. Errors: INVALID_ARGUMENT, for a
  // bad image reference, an operation without its required parts, and the like.
  absl::StatusOr<Edge> ToEdge(const MarshalOptions& options = {}) const;
  // The same, serialized. Scratch is the empty definition.
  absl::StatusOr<Definition> Marshal(const MarshalOptions& options = {}) const;

 private:
  State(Output output, std::shared_ptr<const ProcessSettings> settings);

  Output output_;
  std::shared_ptr<const ProcessSettings> settings_;
};

// Lays trees over each other, the last on top. Scratch inputs are left out; what remains alone is returned as it is. The
// settings are those of the first input that is not scratch.
State Merge(const std::vector<State>& inputs, const Constraints& constraints = {});
// What `upper` changes in `lower`, deletions included; for Merge.
State Diff(const State& lower, const State& upper, const Constraints& constraints = {});

}  // namespace cachalot::llb
