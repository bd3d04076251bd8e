#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/release_graph.h"
#include "llb/op.h"

namespace cachalot::llb {
namespace {

constexpr std::size_t kMaxNameSize = 4096;

struct OutputCounter {
  int operator()(const ExecOp& op) const {
    return static_cast<int>(std::count_if(op.mounts.begin(), op.mounts.end(), [](const Mount& mount) { return mount.has_output(); }));
  }
  int operator()(const FileOp& op) const {
    int count = 0;
    for (const FileAction& action : op.actions) count = std::max(count, action.output + 1);
    return count;
  }
  int operator()(const PassthroughOp& op) const { return static_cast<int>(op.outputs.size()); }
  template <typename Op>
  int operator()(const Op&) const {
    return 1;
  }
};

// Appends to `name` until it has kMaxNameSize bytes; every level of nesting appends first, which bounds the recursion.
class Namer {
 public:
  explicit Namer(std::string* name) : name_(name) {}

  void Vertex(const llb::Vertex& vertex) {
    const auto custom = vertex.metadata.description.find("llb.customname");
    if (custom != vertex.metadata.description.end()) {
      Append(custom->second);
      return;
    }
    std::visit([&](const auto& op) { Op(op, vertex); }, vertex.op);
  }

 private:
  bool full() const { return name_->size() >= kMaxNameSize; }
  void Append(absl::string_view text) { absl::StrAppend(name_, text.substr(0, kMaxNameSize - std::min(kMaxNameSize, name_->size()))); }

  void Op(const SourceOp& op, const llb::Vertex&) { Append(op.identifier); }
  void Op(const ExecOp& op, const llb::Vertex&) { Append(absl::StrJoin(op.meta.args, " ")); }
  void Op(const BuildOp&, const llb::Vertex&) { Append("build"); }
  void Op(const PassthroughOp& op, const llb::Vertex&) { Append(absl::StrCat("passthrough ", op.id)); }

  void Op(const FileOp& op, const llb::Vertex&) {
    absl::string_view separator;
    for (const FileAction& action : op.actions) {
      if (full()) return;
      Append(separator);
      std::visit([this](const auto& kind) { Action(kind); }, action.action);
      separator = ", ";
    }
  }
  void Action(const FileCopy& copy) { Append(absl::StrCat("copy ", copy.src, " ", copy.dest)); }
  void Action(const FileMkfile& mkfile) { Append(absl::StrCat("mkfile ", mkfile.path)); }
  void Action(const FileMkdir& mkdir) { Append(absl::StrCat("mkdir ", mkdir.path)); }
  void Action(const FileRm& rm) { Append(absl::StrCat("rm ", rm.path)); }
  void Action(const FileSymlink& symlink) { Append(absl::StrCat("symlink ", symlink.newpath, " -> ", symlink.oldpath)); }

  void Op(const MergeOp&, const llb::Vertex& vertex) {
    Append("merge (");
    absl::string_view separator;
    for (const Edge& input : vertex.inputs) {
      if (full()) return;
      Append(separator);
      Vertex(*input.vertex);
      separator = ", ";
    }
    Append(")");
  }

  void Op(const DiffOp& op, const llb::Vertex& vertex) {
    Append("diff ");
    DiffSide(op.lower, vertex);
    Append(" -> ");
    DiffSide(op.upper, vertex);
  }
  void DiffSide(int input, const llb::Vertex& vertex) {
    if (full()) return;
    if (input < 0) {
      Append("scratch");
      return;
    }
    Append("(");
    Vertex(*vertex.inputs[input].vertex);
    Append(")");
  }

  std::string* name_;
};

}  // namespace

Vertex::~Vertex() { ReleaseGraph(std::move(inputs)); }

std::string Vertex::Name() const {
  std::string name;
  Namer(&name).Vertex(*this);
  return name;
}

int Vertex::OutputCount() const { return std::visit(OutputCounter(), op); }

}  // namespace cachalot::llb
