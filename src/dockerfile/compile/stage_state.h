// One stage while it is compiled.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cachalot/llb/state.h"
#include "dockerfile/compile/named_context.h"
#include "dockerfile/instructions/instruction.h"
#include "dockerfile/shell/environment.h"
#include "oci/image.h"

namespace cachalot::dockerfile {

struct StageState;

struct Command {
  Instruction instruction;
  std::vector<StageState*> sources;  // COPY: where from, if not the context; RUN: one per mount
  bool on_build = false;
};

// What the outline of a build shows: arguments, secrets and ssh sockets with their places.
struct Outline {
  struct Arg {
    ArgDefinition definition;
    std::string value;
    std::set<std::string> depends_on;
    Lines lines;
  };
  struct Need {
    bool required = false;
    Lines lines;
  };
  std::map<std::string, Arg> args;
  std::set<std::string> used_args;
  std::map<std::string, Need> secrets, ssh;
};

// Remembers where an instruction that should stand once was seen.
struct SeenOnce {
  bool seen = false;
  Lines lines;
};

struct StageState {
  Stage stage;       // its base name expanded, later resolved
  std::string name;  // for people: the stage's name, "stage-<index>", or nothing when it is the only one
  std::vector<Command> commands;
  std::map<StageState*, Lines> deps;  // the stages that commands read, and where
  StageState* base = nullptr;         // the stage it starts from
  std::optional<NamedContext> named_context;

  llb::State state;
  oci::ImageConfig image;
  std::optional<oci::ImageConfig> base_image;  // as it was resolved
  std::optional<oci::Platform> platform;
  std::vector<ArgDefinition> build_args;
  std::optional<absl::Time> epoch;

  std::shared_ptr<PathSet> paths = std::make_shared<PathSet>();  // what is read of this stage's tree

  bool registered = true;  // false for images that only COPY --from or a mount names
  bool resolved = false;   // the base is known
  bool dispatched = false;
  bool on_build_done = false;
  bool ignore_cache = false;
  bool workdir_set = false;
  bool scan_stage = false, scan_context = false;

  // For the names of vertices: "[name 2/5] ".
  int steps_total = 0;
  int steps_done = 0;
  bool in_on_build = false;
  bool show_platform = false;

  SeenOnce cmd, entrypoint, healthcheck;
  Outline outline;

  // Takes over what the base stage has become.
  void InheritFromBase();
  // Adds a history entry of the image.
  void Commit(const std::string& created_by, bool layer);
  // `text` behind the step's prefix; counts the step.
  std::string StepName(const std::string& text, const std::optional<oci::Platform>& shown_platform, const Environment* environment);
};

// The variables that processes of a state see.
class StateEnvironment : public Environment {
 public:
  explicit StateEnvironment(const llb::State& state) : state_(state) {}
  std::optional<std::string> Get(absl::string_view name) const override { return state_.settings().GetEnv(name); }
  std::vector<std::string> Names() const override;

 private:
  llb::State state_;
};

// The stages reachable from `stage` over bases and dependencies, `stage` included.
std::set<StageState*> ReachableFrom(StageState* stage);

inline constexpr absl::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
// The PATH of an image that has none; empty where the system sets it (Windows).
absl::string_view DefaultPath(const oci::Platform& platform);

// An image without layers.
oci::ImageConfig EmptyImage(const oci::Platform& platform);
// Sets NAME=value in a list of such entries, in place when the name is there.
void SetEnv(absl::string_view name, absl::string_view value, std::vector<std::string>* env);

}  // namespace cachalot::dockerfile
