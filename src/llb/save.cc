#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "llb/definition.h"
#include "llb/walk.h"
#include "llb/wire.h"

namespace cachalot::llb {
namespace {

// The last operation of a serialized definition: it names all the others by their digests, and none of what may be written in another
// order or left out, as metadata.
std::string TerminalOf(const std::string& bytes) {
  pb::Definition definition;
  if (!definition.ParsePartialFromString(bytes) || definition.def().empty()) return "";
  return *definition.def().rbegin();
}

bool SameFile(const SourceInfo& a, const SourceInfo& b) {
  if (a.filename != b.filename || a.data != b.data || a.language != b.language) return false;
  return a.definition == b.definition || TerminalOf(a.definition) == TerminalOf(b.definition);
}

// Collects the source files of all vertices, each once, and who comes from where.
class SourceWriter {
 public:
  explicit SourceWriter(pb::Source* source) : source_(source) {}

  void Add(const Vertex& vertex) {
    for (const SourceLocation& location : vertex.locations) {
      pb::Location& added = *(*source_->mutable_locations())[vertex.digest.str()].add_locations();
      added.set_sourceindex(IndexOf(*location.info));
      for (const solver::SourceRange& range : location.ranges) {
        pb::Range& written = *added.add_ranges();
        written.mutable_start()->set_line(range.start_line);
        written.mutable_start()->set_character(range.start_character);
        written.mutable_end()->set_line(range.end_line);
        written.mutable_end()->set_character(range.end_character);
      }
    }
  }

 private:
  int IndexOf(const SourceInfo& info) {
    const auto known = index_.find(&info);
    if (known != index_.end()) return known->second;
    auto equal = std::find_if(written_.begin(), written_.end(), [&info](const SourceInfo* other) { return SameFile(*other, info); });
    const int index = static_cast<int>(equal - written_.begin());
    if (equal == written_.end()) {
      written_.push_back(&info);
      pb::SourceInfo& added = *source_->add_infos();
      added.set_filename(info.filename);
      added.set_data(info.data);
      added.set_language(info.language);
      if (!info.definition.empty()) added.mutable_definition()->ParsePartialFromString(info.definition);
    }
    index_[&info] = index;
    return index;
  }

  pb::Source* source_;
  absl::flat_hash_map<const SourceInfo*, int> index_;
  std::vector<const SourceInfo*> written_;
};

// What the terminal operation requires: the features that any metadata of the graph uses.
void AddTerminalCaps(const std::vector<VertexPtr>& vertices, pb::OpMetadata& metadata) {
  auto& caps = *metadata.mutable_caps();
  caps["constraints"] = true;
  caps["platform"] = true;
  for (const VertexPtr& vertex : vertices) {
    if (vertex->metadata.ignore_cache) caps["meta.ignorecache"] = true;
    if (!vertex->metadata.description.empty()) caps["meta.description"] = true;
    if (vertex->metadata.export_cache) caps["meta.exportcache"] = true;
  }
}

}  // namespace

Definition SaveDefinition(const Edge& edge) {
  pb::Definition definition;
  if (edge.vertex == nullptr) return {};
  const std::vector<VertexPtr> vertices = InDependencyOrder(edge.vertex);
  SourceWriter sources(definition.mutable_source());
  for (const VertexPtr& vertex : vertices) {
    definition.add_def(vertex->op_bytes);
    EncodeMetadata(vertex->metadata, (*definition.mutable_metadata())[vertex->digest.str()]);
    sources.Add(*vertex);
  }
  pb::Op terminal;
  terminal.add_inputs()->set_digest(edge.vertex->digest.str());
  terminal.mutable_inputs(0)->set_index(edge.output);
  std::string bytes = SerializeCanonically(terminal);
  AddTerminalCaps(vertices, (*definition.mutable_metadata())[oci::Digest::Of(bytes).str()]);
  definition.add_def(std::move(bytes));
  return SerializeCanonically(definition);
}

}  // namespace cachalot::llb
