#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "llb/caps.h"
#include "llb/definition.h"
#include "llb/wire.h"

namespace cachalot::llb {
namespace {

constexpr std::size_t kMaxDefinitionSize = 64u << 20;
constexpr int kMaxOperations = 100'000;

// One definition on its way to checked vertices.
class Loader {
 public:
  absl::StatusOr<Edge> Load(absl::string_view bytes);

 private:
  struct Operation {
    pb::Op message;
    const std::string* bytes = nullptr;
    bool entered = false;  // its inputs are being built
    VertexPtr vertex;      // null until built
  };

  absl::Status ReadOperations();
  absl::Status ReadSources();
  absl::StatusOr<VertexPtr> BuildBeneath(const std::string& digest);
  absl::StatusOr<VertexPtr> Build(const std::string& digest, Operation& operation);
  absl::StatusOr<Edge> Resolve(const pb::Input& input, int position);

  pb::Definition definition_;
  absl::flat_hash_map<std::string, std::unique_ptr<Operation>> operations_;
  std::string last_;  // digest of the terminal operation
  absl::flat_hash_map<std::string, std::vector<SourceLocation>> locations_;
};

absl::Status Invalid(absl::string_view message) { return absl::InvalidArgumentError(message); }

absl::Status Loader::ReadOperations() {
  operations_.reserve(definition_.def_size());
  for (const std::string& bytes : definition_.def()) {
    auto operation = std::make_unique<Operation>();
    operation->bytes = &bytes;
    if (!operation->message.ParseFromString(bytes)) return Invalid("failed to parse llb proto op");
    for (int i = 0; i < operation->message.inputs_size(); ++i) {
      const std::int64_t index = operation->message.inputs(i).index();
      if (index < 0) return Invalid(absl::StrCat("invalid input ", i, " output index ", index));
    }
    last_ = oci::Digest::Of(bytes).str();
    operations_.try_emplace(last_, std::move(operation));
  }
  if (operations_.size() < 2) return Invalid(absl::StrCat("invalid LLB with ", operations_.size(), " vertexes"));
  for (const auto& [digest, operation] : operations_) {
    for (const pb::Input& input : operation->message.inputs()) {
      if (!operations_.contains(input.digest())) return Invalid(absl::StrCat("invalid missing input digest ", input.digest()));
    }
  }
  return absl::OkStatus();
}

absl::Status Loader::ReadSources() {
  std::vector<std::shared_ptr<const SourceInfo>> infos;
  for (const pb::SourceInfo& info : definition_.source().infos()) {
    std::string nested = info.has_definition() ? SerializeCanonically(info.definition()) : "";
    infos.push_back(std::make_shared<SourceInfo>(SourceInfo{info.filename(), info.data(), info.language(), std::move(nested)}));
  }
  for (const auto& [digest, list] : definition_.source().locations()) {
    std::vector<SourceLocation>& locations = locations_[digest];
    for (const pb::Location& location : list.locations()) {
      if (location.sourceindex() < 0 || location.sourceindex() >= static_cast<int>(infos.size())) {
        return Invalid(absl::StrCat("failed to find source map with index ", location.sourceindex()));
      }
      SourceLocation& added = locations.emplace_back();
      added.info = infos[location.sourceindex()];
      for (const pb::Range& range : location.ranges()) {
        added.ranges.push_back({range.start().line(), range.start().character(), range.end().line(), range.end().character()});
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Edge> Loader::Resolve(const pb::Input& input, int position) {
  const VertexPtr& vertex = operations_.at(input.digest())->vertex;
  if (input.index() >= vertex->OutputCount()) {
    return Invalid(absl::StrCat("invalid input ", position, " output index ", input.index(), ": ", input.digest(), " (", vertex->Name(), ") has ",
                                vertex->OutputCount(), " outputs"));
  }
  return Edge{vertex, static_cast<int>(input.index())};
}

// Builds the vertex whose inputs are all built.
absl::StatusOr<VertexPtr> Loader::Build(const std::string& digest, Operation& operation) {
  auto vertex = std::make_shared<Vertex>();
  ASSIGN_OR_RETURN(vertex->digest, oci::Digest::Parse(digest));
  vertex->op_bytes = *operation.bytes;
  const auto metadata = definition_.metadata().find(digest);
  if (metadata != definition_.metadata().end()) {
    vertex->metadata = DecodeMetadata(metadata->second);
    for (const auto& [cap, required] : vertex->metadata.caps) RETURN_IF_ERROR(CheckLlbCap(cap));
  }
  // The look at the bytes spares most operations the one at their fields.
  if (absl::StrContains(*operation.bytes, '\0')) RETURN_IF_ERROR(CheckTexts(operation.message));
  RETURN_IF_ERROR(DecodeOp(operation.message, *vertex));
  for (int i = 0; i < operation.message.inputs_size(); ++i) {
    ASSIGN_OR_RETURN(vertex->inputs.emplace_back(), Resolve(operation.message.inputs(i), i));
  }
  const auto locations = locations_.find(digest);
  if (locations != locations_.end()) vertex->locations = locations->second;
  return vertex;
}

// Depth first without recursion: a definition may be one long chain.
absl::StatusOr<VertexPtr> Loader::BuildBeneath(const std::string& digest) {
  std::vector<std::string> path = {digest};
  while (!path.empty()) {
    const std::string current = path.back();
    Operation& operation = *operations_.at(current);
    if (operation.vertex != nullptr) {
      path.pop_back();
      continue;
    }
    if (!operation.entered) {
      operation.entered = true;
      for (const pb::Input& input : operation.message.inputs()) {
        const Operation& below = *operations_.at(input.digest());
        if (below.vertex != nullptr) continue;
        if (below.entered) return Invalid(absl::StrCat("vertex ", current, " is part of a cycle"));
        path.push_back(input.digest());
      }
      continue;
    }
    absl::StatusOr<VertexPtr> vertex = Build(current, operation);
    if (!vertex.ok()) return Annotate(vertex.status(), absl::StrCat("vertex ", current));
    operation.vertex = *std::move(vertex);
    path.pop_back();
  }
  return operations_.at(digest)->vertex;
}

absl::StatusOr<Edge> Loader::Load(absl::string_view bytes) {
  if (bytes.size() > kMaxDefinitionSize) {
    return Invalid(absl::StrCat("definition of ", bytes.size(), " bytes is larger than ", kMaxDefinitionSize));
  }
  if (!definition_.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return Invalid("failed to parse llb definition");
  if (definition_.def().empty()) return Edge{};
  if (definition_.def_size() > kMaxOperations) {
    return Invalid(absl::StrCat("definition of ", definition_.def_size(), " operations: at most ", kMaxOperations, " are allowed"));
  }
  RETURN_IF_ERROR(ReadOperations());
  RETURN_IF_ERROR(ReadSources());
  const pb::Op& terminal = operations_.at(last_)->message;
  if (terminal.inputs().empty()) return Invalid("invalid LLB with no inputs on last vertex");
  RETURN_IF_ERROR(BuildBeneath(terminal.inputs(0).digest()).status());
  return Resolve(terminal.inputs(0), 0);
}

}  // namespace

absl::StatusOr<Edge> LoadDefinition(absl::string_view definition) { return Loader().Load(definition); }

}  // namespace cachalot::llb
