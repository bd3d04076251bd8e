#include "cachalot/llb/file.h"

#include <variant>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/path.h"
#include "llb/library/node.h"

namespace cachalot::llb {
namespace {

using Action = decltype(FileAction::action);

UserRef ParseUser(absl::string_view text) {
  UserRef user;
  std::int32_t id = 0;
  if (text == "root" || absl::SimpleAtoi(text, &id)) {
    user.id = static_cast<std::uint32_t>(id);
  } else {
    user.name = std::string(text);
  }
  return user;
}

// A copy's destination keeps "/" and "/." at its end: they say that it is a directory.
std::string PathBeneath(absl::string_view dir, absl::string_view path, bool keep_slash) {
  std::string clean = CleanPath(path);
  if (!absl::StartsWith(clean, "/")) clean = JoinPath(JoinPath("/", dir), clean);
  if (!keep_slash) return clean;
  if (absl::EndsWith(path, "/") && !absl::EndsWith(clean, "/")) return clean + "/";
  if (absl::EndsWith(path, "/.")) return clean == "/" ? "/." : clean + "/.";
  return clean;
}

}  // namespace

struct FileActions::Entry {
  Action action;
  State from = {};                                    // for copies
  std::shared_ptr<const FileActions> made = nullptr;  // for copies: what makes the tree to copy from, on top of `from`
};

// A chain of actions, flattened: each one works on the result of an earlier step or on one of the node's inputs.
class FileNode : public Node {
 public:
  static std::shared_ptr<const FileNode> Create(const State& base, const FileActions& actions, const Constraints& constraints) {
    Flattener flattener;
    flattener.Add(base, actions);
    return std::shared_ptr<const FileNode>(new FileNode(std::move(flattener), constraints));
  }

  absl::Status Assemble(const MarshalOptions&, const std::vector<Edge>& inputs, Vertex& vertex) const override;

 private:
  struct Tree {
    int input = -1;  // of the node
    int step = -1;   // wins over input
  };
  struct Step {
    Action action;
    int base = -1;  // the node's input in which names of owners are looked up
    Tree target, source;
  };
  struct Flattener {
    std::vector<Output> inputs;
    std::vector<Step> steps;

    int Input(const Output& output);
    // Returns the last step; -1 without actions.
    int Add(const State& base, const FileActions& actions);
    void Place(const State& base, const FileActions::Entry& entry, Step& step);
  };

  FileNode(Flattener flattened, Constraints constraints)
      : Node(std::move(flattened.inputs), std::move(constraints)), steps_(std::move(flattened.steps)) {}

  std::vector<Step> steps_;
};

namespace {

void SetOwnerInput(int base, Chown& owner) {
  if (owner.user && owner.user->name) owner.user->input = base;
  if (owner.group && owner.group->name) owner.group->input = base;
}

// Makes paths absolute and modes as the wire wants them; `dir` is the working directory of the changed tree.
struct Normalizer {
  const std::string& dir;
  const std::string& source_dir;

  void operator()(FileCopy& copy) const {
    copy.src = absl::StartsWith(copy.src, "/") ? CleanPath(copy.src) : JoinPath(source_dir, copy.src);
    copy.dest = PathBeneath(dir, copy.dest, true);
    if (!copy.mode_text.empty()) copy.mode = 0;
  }
  void operator()(FileMkfile& mkfile) const {
    mkfile.path = PathBeneath(dir, mkfile.path, false);
    mkfile.mode &= 0777;
  }
  void operator()(FileMkdir& mkdir) const {
    mkdir.path = PathBeneath(dir, mkdir.path, false);
    mkdir.mode &= 0777;
  }
  void operator()(FileRm& rm) const { rm.path = PathBeneath(dir, rm.path, false); }
  void operator()(FileSymlink&) const {}
};

struct OwnerSetter {
  int base;
  void operator()(FileRm&) const {}
  template <typename Kind>
  void operator()(Kind& kind) const {
    SetOwnerInput(base, kind.owner);
  }
};

struct CapAdder {
  Vertex& vertex;
  void operator()(const FileCopy& copy) const {
    if (!copy.include_patterns.empty() || !copy.exclude_patterns.empty()) RequireCap("file.copy.includeexcludepatterns", vertex);
    if (!copy.required_paths.empty()) RequireCap("file.copy.requiredpaths", vertex);
    if (copy.always_replace_existing) RequireCap("file.copy.alwaysreplaceexistingdestpaths", vertex);
    if (!copy.mode_text.empty()) RequireCap("file.copy.modestring", vertex);
  }
  void operator()(const FileSymlink&) const { RequireCap("file.symlink.create", vertex); }
  void operator()(const FileRm& rm) const {
    if (rm.allow_wildcard) RequireCap("file.rm.wildcard", vertex);
  }
  template <typename Kind>
  void operator()(const Kind&) const {}
};

}  // namespace

int FileNode::Flattener::Input(const Output& output) {
  if (output.node == nullptr) return -1;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].node == output.node && inputs[i].index == output.index) return static_cast<int>(i);
  }
  inputs.push_back(output);
  return static_cast<int>(inputs.size()) - 1;
}

void FileNode::Flattener::Place(const State& base, const FileActions::Entry& entry, Step& step) {
  step.action = entry.action;
  step.base = Input(base.output());
  step.target.input = step.base;
  if (std::holds_alternative<FileCopy>(entry.action)) {
    if (entry.made != nullptr) {
      step.source.step = Add(entry.from, *entry.made);
    }
    if (step.source.step < 0) step.source.input = Input(entry.from.output());
  }
  std::visit(Normalizer{base.settings().dir, entry.from.settings().dir}, step.action);
}

int FileNode::Flattener::Add(const State& base, const FileActions& actions) {
  int previous = -1;
  for (const auto& entry : actions.actions_) {
    Step step;
    Place(base, *entry, step);
    step.target.step = previous;
    previous = static_cast<int>(steps.size());
    steps.push_back(std::move(step));
  }
  return previous;
}

absl::Status FileNode::Assemble(const MarshalOptions&, const std::vector<Edge>& inputs, Vertex& vertex) const {
  if (steps_.empty()) return absl::InvalidArgumentError("file operation without actions: action is required");
  vertex.platform.reset();
  RequireCap("file.base", vertex);
  std::vector<int> index_of;  // by the node's input
  for (const Edge& input : inputs) index_of.push_back(AddInput(input, vertex));
  const int input_count = static_cast<int>(vertex.inputs.size());
  const auto index = [&](const Tree& tree) {
    if (tree.step >= 0) return input_count + tree.step;
    return tree.input < 0 ? -1 : index_of[tree.input];
  };
  FileOp op;
  for (const Step& step : steps_) {
    FileAction& action = op.actions.emplace_back();
    action.input = index(step.target);
    action.secondary_input = index(step.source);
    action.output = op.actions.size() == steps_.size() ? 0 : -1;
    action.action = step.action;
    std::visit(OwnerSetter{step.base < 0 ? -1 : index_of[step.base]}, action.action);
    std::visit(CapAdder{vertex}, action.action);
  }
  vertex.op = std::move(op);
  return absl::OkStatus();
}

Chown OwnerIds(std::uint32_t uid, std::uint32_t gid) {
  Chown owner;
  owner.user = UserRef{std::nullopt, -1, uid};
  owner.group = UserRef{std::nullopt, -1, gid};
  return owner;
}

Chown OwnerNamed(absl::string_view user_and_group) {
  Chown owner;
  const std::vector<absl::string_view> parts = absl::StrSplit(user_and_group, absl::MaxSplits(':', 1));
  owner.user = ParseUser(parts[0]);
  if (parts.size() > 1) owner.group = ParseUser(parts[1]);
  return owner;
}

FileActions& FileActions::Copy(const State& from, FileCopy copy) {
  actions_.push_back(std::make_shared<Entry>(Entry{std::move(copy), from}));
  return *this;
}

FileActions& FileActions::Copy(const State& from, absl::string_view src, absl::string_view dest) {
  FileCopy copy;
  copy.src = std::string(src);
  copy.dest = std::string(dest);
  return Copy(from, std::move(copy));
}

FileActions& FileActions::Copy(const FileActions& actions, const State& base, FileCopy copy) {
  actions_.push_back(std::make_shared<Entry>(Entry{std::move(copy), base, std::make_shared<FileActions>(actions)}));
  return *this;
}

FileActions& FileActions::Mkfile(FileMkfile mkfile) {
  actions_.push_back(std::make_shared<Entry>(Entry{std::move(mkfile)}));
  return *this;
}

FileActions& FileActions::Mkfile(absl::string_view path, int mode, absl::string_view data) {
  FileMkfile mkfile;
  mkfile.path = std::string(path);
  mkfile.mode = mode;
  mkfile.data = std::string(data);
  return Mkfile(std::move(mkfile));
}

FileActions& FileActions::Mkdir(FileMkdir mkdir) {
  actions_.push_back(std::make_shared<Entry>(Entry{std::move(mkdir)}));
  return *this;
}

FileActions& FileActions::Mkdir(absl::string_view path, int mode, bool make_parents) {
  FileMkdir mkdir;
  mkdir.path = std::string(path);
  mkdir.mode = mode;
  mkdir.make_parents = make_parents;
  return Mkdir(std::move(mkdir));
}

FileActions& FileActions::Rm(FileRm rm) {
  actions_.push_back(std::make_shared<Entry>(Entry{std::move(rm)}));
  return *this;
}

FileActions& FileActions::Rm(absl::string_view path) {
  FileRm rm;
  rm.path = std::string(path);
  return Rm(std::move(rm));
}

FileActions& FileActions::Symlink(FileSymlink symlink) {
  actions_.push_back(std::make_shared<Entry>(Entry{std::move(symlink)}));
  return *this;
}

FileActions& FileActions::Symlink(absl::string_view oldpath, absl::string_view newpath) {
  FileSymlink symlink;
  symlink.oldpath = std::string(oldpath);
  symlink.newpath = std::string(newpath);
  return Symlink(std::move(symlink));
}

State State::File(const FileActions& actions, const Constraints& constraints) const {
  return WithOutput({FileNode::Create(*this, actions, constraints), 0});
}

}  // namespace cachalot::llb
