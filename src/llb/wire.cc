#include "llb/wire.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace cachalot::llb {
namespace {

// Indices are checked against the number of inputs; -1 stands for an empty tree where `empty_allowed`.
absl::Status CheckInput(std::int64_t index, int input_count, bool empty_allowed, absl::string_view what) {
  if ((index == -1 && empty_allowed) || (index >= 0 && index < input_count)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("invalid ", what, " index ", index));
}

absl::Status DecodeMerge(const pb::MergeOp& message, int input_count, MergeOp& op) {
  for (const pb::MergeInput& input : message.inputs()) {
    RETURN_IF_ERROR(CheckInput(input.input(), input_count, false, "merge input"));
    op.inputs.push_back(static_cast<int>(input.input()));
  }
  if (op.inputs.empty()) return absl::InvalidArgumentError("invalid merge op with no inputs");
  return absl::OkStatus();
}

absl::Status DecodeDiff(const pb::DiffOp& message, int input_count, DiffOp& op) {
  if (!message.has_lower() || !message.has_upper()) return absl::InvalidArgumentError("invalid diff op with nil lower or upper input");
  RETURN_IF_ERROR(CheckInput(message.lower().input(), input_count, true, "diff input"));
  RETURN_IF_ERROR(CheckInput(message.upper().input(), input_count, true, "diff input"));
  op.lower = static_cast<int>(message.lower().input());
  op.upper = static_cast<int>(message.upper().input());
  return absl::OkStatus();
}

absl::Status DecodeBuild(const pb::BuildOp& message, int input_count, BuildOp& op) {
  // -1 is the daemon's own LLB frontend, the only builder the protocol's implementations know.
  RETURN_IF_ERROR(CheckInput(message.builder(), input_count, true, "build builder"));
  op.builder = static_cast<int>(message.builder());
  for (const auto& [name, input] : message.inputs()) {
    RETURN_IF_ERROR(CheckInput(input.input(), input_count, false, "build input"));
    op.inputs[name] = static_cast<int>(input.input());
  }
  if (message.has_def()) op.definition = SerializeCanonically(message.def());
  op.attrs = {message.attrs().begin(), message.attrs().end()};
  return absl::OkStatus();
}

absl::Status DecodePassthrough(const pb::PassthroughOp& message, int input_count, PassthroughOp& op) {
  if (message.id().empty()) return absl::InvalidArgumentError("invalid passthrough op with no id");
  if (message.outputs().empty()) return absl::InvalidArgumentError("invalid passthrough op with no outputs");
  op.id = message.id();
  for (std::int64_t input : message.outputs()) {
    RETURN_IF_ERROR(CheckInput(input, input_count, false, "passthrough output input"));
    op.outputs.push_back(static_cast<int>(input));
  }
  return absl::OkStatus();
}

absl::Status DecodeKind(const pb::Op& message, Vertex& vertex) {
  const int inputs = message.inputs_size();
  switch (message.op_case()) {
    case pb::Op::kExec: return DecodeExec(message.exec(), inputs, vertex.op.emplace<ExecOp>());
    case pb::Op::kSource:
      vertex.op = SourceOp{message.source().identifier(), {message.source().attrs().begin(), message.source().attrs().end()}};
      return absl::OkStatus();
    case pb::Op::kFile: return DecodeFile(message.file(), inputs, vertex.op.emplace<FileOp>());
    case pb::Op::kBuild: return DecodeBuild(message.build(), inputs, vertex.op.emplace<BuildOp>());
    case pb::Op::kMerge: return DecodeMerge(message.merge(), inputs, vertex.op.emplace<MergeOp>());
    case pb::Op::kDiff: return DecodeDiff(message.diff(), inputs, vertex.op.emplace<DiffOp>());
    case pb::Op::kPassthrough: return DecodePassthrough(message.passthrough(), inputs, vertex.op.emplace<PassthroughOp>());
    case pb::Op::OP_NOT_SET: break;
  }
  return absl::InvalidArgumentError("invalid op of unknown kind");
}

void EncodeKind(const ExecOp& op, pb::Op& message) { EncodeExec(op, *message.mutable_exec()); }
void EncodeKind(const FileOp& op, pb::Op& message) { EncodeFile(op, *message.mutable_file()); }

void EncodeKind(const SourceOp& op, pb::Op& message) {
  message.mutable_source()->set_identifier(op.identifier);
  message.mutable_source()->mutable_attrs()->insert(op.attrs.begin(), op.attrs.end());
}

void EncodeKind(const MergeOp& op, pb::Op& message) {
  message.mutable_merge();
  for (int input : op.inputs) message.mutable_merge()->add_inputs()->set_input(input);
}

void EncodeKind(const DiffOp& op, pb::Op& message) {
  message.mutable_diff()->mutable_lower()->set_input(op.lower);
  message.mutable_diff()->mutable_upper()->set_input(op.upper);
}

void EncodeKind(const BuildOp& op, pb::Op& message) {
  pb::BuildOp& build = *message.mutable_build();
  build.set_builder(op.builder);
  for (const auto& [name, input] : op.inputs) (*build.mutable_inputs())[name].set_input(input);
  if (!op.definition.empty()) build.mutable_def()->ParsePartialFromString(op.definition);
  build.mutable_attrs()->insert(op.attrs.begin(), op.attrs.end());
}

void EncodeKind(const PassthroughOp& op, pb::Op& message) {
  message.mutable_passthrough()->set_id(op.id);
  message.mutable_passthrough()->mutable_outputs()->Assign(op.outputs.begin(), op.outputs.end());
}

}  // namespace

absl::Status CheckTexts(const google::protobuf::Message& message) {
  using google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        RETURN_IF_ERROR(CheckTexts(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i) : reflection.GetMessage(message, field)));
      } else if (field->type() == FieldDescriptor::TYPE_STRING) {
        std::string scratch;
        const std::string& text = field->is_repeated() ? reflection.GetRepeatedStringReference(message, field, i, &scratch)
                                                       : reflection.GetStringReference(message, field, &scratch);
        if (absl::StrContains(text, '\0')) {
          return absl::InvalidArgumentError(
              absl::StrCat("invalid ", field->full_name(), " \"", absl::Utf8SafeCEscape(text), "\": it holds a null byte"));
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::Status DecodeOp(const pb::Op& message, Vertex& vertex) {
  if (message.has_platform()) {
    const pb::Platform& platform = message.platform();
    vertex.platform = oci::Platform{platform.os(),
                                    platform.architecture(),
                                    platform.variant(),
                                    platform.osversion(),
                                    {platform.osfeatures().begin(), platform.osfeatures().end()}};
  }
  vertex.constraints.assign(message.constraints().filter().begin(), message.constraints().filter().end());
  return DecodeKind(message, vertex);
}

std::string EncodeOp(const Vertex& vertex) {
  pb::Op message;
  for (const Edge& input : vertex.inputs) {
    pb::Input& added = *message.add_inputs();
    added.set_digest(input.vertex->digest.str());
    added.set_index(input.output);
  }
  if (vertex.platform) {
    pb::Platform& platform = *message.mutable_platform();
    platform.set_os(vertex.platform->os);
    platform.set_architecture(vertex.platform->architecture);
    platform.set_variant(vertex.platform->variant);
    platform.set_osversion(vertex.platform->os_version);
    platform.mutable_osfeatures()->Assign(vertex.platform->os_features.begin(), vertex.platform->os_features.end());
  }
  // Go's library always writes this message, even empty.
  message.mutable_constraints()->mutable_filter()->Assign(vertex.constraints.begin(), vertex.constraints.end());
  pb::Op kind;
  std::visit([&kind](const auto& op) { EncodeKind(op, kind); }, vertex.op);
  return SerializeCanonically(message) + SerializeCanonically(kind);
}

OpMetadata DecodeMetadata(const pb::OpMetadata& message) {
  OpMetadata metadata;
  metadata.ignore_cache = message.ignore_cache();
  metadata.description = {message.description().begin(), message.description().end()};
  if (message.has_export_cache()) metadata.export_cache = message.export_cache().value();
  metadata.caps = {message.caps().begin(), message.caps().end()};
  if (message.has_progress_group()) {
    const pb::ProgressGroup& group = message.progress_group();
    metadata.progress_group = solver::ProgressGroup{group.id(), group.name(), group.weak()};
  }
  if (message.has_linux_resources()) {
    const pb::LinuxResources& limits = message.linux_resources();
    metadata.linux_resources = LinuxResources{limits.memory(),   limits.memoryswap(), limits.cpushares(), limits.cpuperiod(),
                                              limits.cpuquota(), limits.cpusetcpus(), limits.cpusetmems()};
  }
  return metadata;
}

void EncodeMetadata(const OpMetadata& metadata, pb::OpMetadata& message) {
  message.set_ignore_cache(metadata.ignore_cache);
  message.mutable_description()->insert(metadata.description.begin(), metadata.description.end());
  if (metadata.export_cache) message.mutable_export_cache()->set_value(*metadata.export_cache);
  message.mutable_caps()->insert(metadata.caps.begin(), metadata.caps.end());
  if (metadata.progress_group) {
    pb::ProgressGroup& group = *message.mutable_progress_group();
    group.set_id(metadata.progress_group->id);
    group.set_name(metadata.progress_group->name);
    group.set_weak(metadata.progress_group->weak);
  }
  if (metadata.linux_resources) {
    pb::LinuxResources& limits = *message.mutable_linux_resources();
    limits.set_memory(metadata.linux_resources->memory);
    limits.set_memoryswap(metadata.linux_resources->memory_swap);
    limits.set_cpushares(metadata.linux_resources->cpu_shares);
    limits.set_cpuperiod(metadata.linux_resources->cpu_period);
    limits.set_cpuquota(metadata.linux_resources->cpu_quota);
    limits.set_cpusetcpus(metadata.linux_resources->cpuset_cpus);
    limits.set_cpusetmems(metadata.linux_resources->cpuset_mems);
  }
}

std::string SerializeCanonically(const google::protobuf::MessageLite& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializePartialToCodedStream(&coded);
  }
  return bytes;
}

}  // namespace cachalot::llb
