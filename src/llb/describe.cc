#include "llb/describe.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "buildkit/ops.pb.h"
#include "oci/digest.h"

namespace cachalot::llb {
namespace {

using Json = nlohmann::ordered_json;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;

Json MessageJson(const Message& message);

// One value: of the field itself, or of its element `index`.
Json ValueJson(const Message& message, const FieldDescriptor& field, int index) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const bool repeated = field.is_repeated();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageJson(repeated ? reflection.GetRepeatedMessage(message, &field, index) : reflection.GetMessage(message, &field));
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string text = repeated ? reflection.GetRepeatedString(message, &field, index) : reflection.GetString(message, &field);
      return field.type() == FieldDescriptor::TYPE_BYTES ? absl::Base64Escape(text) : text;
    }
    case FieldDescriptor::CPPTYPE_BOOL: return repeated ? reflection.GetRepeatedBool(message, &field, index) : reflection.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return repeated ? reflection.GetRepeatedEnumValue(message, &field, index) : reflection.GetEnumValue(message, &field);
    case FieldDescriptor::CPPTYPE_INT32: return repeated ? reflection.GetRepeatedInt32(message, &field, index) : reflection.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_INT64: return repeated ? reflection.GetRepeatedInt64(message, &field, index) : reflection.GetInt64(message, &field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return repeated ? reflection.GetRepeatedUInt32(message, &field, index) : reflection.GetUInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return repeated ? reflection.GetRepeatedUInt64(message, &field, index) : reflection.GetUInt64(message, &field);
    default: return nullptr;  // the protocol has no other kinds
  }
}

Json MapJson(const Message& message, const FieldDescriptor& field) {
  std::map<std::string, Json> sorted;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    const google::protobuf::Descriptor& type = *entry.GetDescriptor();
    sorted[entry.GetReflection()->GetString(entry, type.FindFieldByNumber(1))] = ValueJson(entry, *type.FindFieldByNumber(2), 0);
  }
  Json out = Json::object();
  for (auto& [key, value] : sorted) out[key] = std::move(value);
  return out;
}

Json FieldJson(const Message& message, const FieldDescriptor& field) {
  if (field.is_map()) return MapJson(message, field);
  if (!field.is_repeated()) return ValueJson(message, field, 0);
  Json list = Json::array();
  for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) list.push_back(ValueJson(message, field, i));
  return list;
}

// Members are named as the fields are; empty ones are left out. Alternatives are in a member of their own, named as their choice
// ("Op": {"exec": ...}).
Json MessageJson(const Message& message) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  Json out = Json::object();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.real_containing_oneof() != nullptr) continue;
    // Indices of file actions are always there: zero is the first input.
    const bool index = &type == pb::FileAction::descriptor();
    const bool has = field.is_repeated() ? reflection.FieldSize(message, &field) > 0 : reflection.HasField(message, &field);
    if (has || index) out[field.name()] = FieldJson(message, field);
  }
  for (int i = 0; i < type.real_oneof_decl_count(); ++i) {
    const OneofDescriptor& choice = *type.oneof_decl(i);
    std::string name = choice.name();
    name[0] = absl::ascii_toupper(static_cast<unsigned char>(name[0]));
    Json& chosen = out[name] = Json::object();
    if (const FieldDescriptor* field = reflection.GetOneofFieldDescriptor(message, &choice)) chosen[field->name()] = FieldJson(message, *field);
  }
  return out;
}

struct Operations {
  std::map<std::string, pb::Op> by_digest;
  std::string last;
};

absl::StatusOr<Operations> ParseOperations(const pb::Definition& definition) {
  Operations out;
  for (const std::string& bytes : definition.def()) {
    pb::Op op;
    if (!op.ParseFromString(bytes)) return absl::InvalidArgumentError("failed to parse llb proto op");
    if (op.has_source()) {
      op.mutable_source()->mutable_attrs()->erase("local.session");
      op.mutable_source()->mutable_attrs()->erase("local.unique");
    }
    out.last = oci::Digest::Of(bytes).str();
    out.by_digest[out.last] = std::move(op);
  }
  return out;
}

// Inputs before those who need them, without recursion: graphs can be deep.
absl::StatusOr<std::vector<std::string>> InOrder(const Operations& operations) {
  std::vector<std::string> ordered;
  std::set<std::string> seen = {operations.last};
  std::vector<std::pair<std::string, int>> path = {{operations.last, 0}};  // an operation and its next input
  while (!path.empty()) {
    auto& [digest, next] = path.back();
    const auto op = operations.by_digest.find(digest);
    if (op == operations.by_digest.end()) return absl::InvalidArgumentError(absl::StrCat("failed to find input ", digest));
    if (next == op->second.inputs_size()) {
      ordered.push_back(std::move(digest));
      path.pop_back();
      continue;
    }
    const std::string& input = op->second.inputs(next++).digest();
    if (seen.insert(input).second) path.emplace_back(input, 0);
  }
  return ordered;
}

absl::Status AddSteps(const pb::Definition& definition, Json& steps, StepNumbers& numbers) {
  if (definition.def().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(Operations operations, ParseOperations(definition));
  ASSIGN_OR_RETURN(const std::vector<std::string> ordered, InOrder(operations));
  for (std::size_t i = 0; i < ordered.size(); ++i) numbers[ordered[i]] = static_cast<int>(i);
  for (std::size_t i = 0; i < ordered.size(); ++i) {
    pb::Op& op = operations.by_digest.at(ordered[i]);
    Json inputs = Json::array();
    for (const pb::Input& input : op.inputs()) inputs.push_back(absl::StrCat("step", numbers.at(input.digest()), ":", input.index()));
    op.clear_inputs();
    Json& step = steps.emplace_back(Json::object());
    step["id"] = absl::StrCat("step", i);
    step["op"] = MessageJson(op);
    if (!inputs.empty()) step["inputs"] = std::move(inputs);
  }
  return absl::OkStatus();
}

// protobuf's own JSON: names in camel case, 64-bit numbers as text, enumerations by name.
absl::StatusOr<Json> CanonicalJson(const Message& message) {
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text);
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("failed to write ", message.GetTypeName(), " as JSON: ", status.ToString()));
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

absl::StatusOr<pb::Definition> Parse(const Definition& text) {
  pb::Definition definition;
  if (!definition.ParseFromString(text)) return absl::InvalidArgumentError("failed to parse llb definition");
  return definition;
}

}  // namespace

absl::Status DescribeSteps(const Definition& definition, Json& steps, StepNumbers& numbers) {
  ASSIGN_OR_RETURN(const pb::Definition parsed, Parse(definition));
  return AddSteps(parsed, steps, numbers);
}

absl::Status DescribeSources(const Definition& definition, const StepNumbers& numbers, Json& sources) {
  ASSIGN_OR_RETURN(const pb::Definition parsed, Parse(definition));
  sources = nullptr;
  if (parsed.source().infos().empty()) return absl::OkStatus();
  sources = Json::object();
  std::map<int, Json> locations;
  for (const auto& [digest, places] : parsed.source().locations()) {
    if (const auto number = numbers.find(digest); number != numbers.end()) locations[number->second] = MessageJson(places);
  }
  for (auto& [number, places] : locations) sources["locations"][absl::StrCat("step", number)] = std::move(places);
  for (const pb::SourceInfo& info : parsed.source().infos()) {
    Json& entry = sources["infos"].emplace_back(Json::object());
    if (!info.filename().empty()) entry["filename"] = info.filename();
    if (!info.language().empty()) entry["language"] = info.language();
    if (!info.data().empty()) entry["data"] = absl::Base64Escape(info.data());
    StepNumbers own;
    Json steps = Json::array();
    RETURN_IF_ERROR(AddSteps(info.definition(), steps, own));
    if (steps.empty()) continue;
    entry["llbDefinition"] = std::move(steps);
    entry["digestMapping"] = DigestMapping(own);
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> DescribeDefinition(const Definition& definition) {
  ASSIGN_OR_RETURN(const pb::Definition parsed, Parse(definition));
  std::map<std::string, Json> operations;
  for (const std::string& bytes : parsed.def()) {
    pb::Op op;
    if (!op.ParseFromString(bytes)) return absl::InvalidArgumentError("failed to parse llb proto op");
    ASSIGN_OR_RETURN(operations[oci::Digest::Of(bytes).str()], CanonicalJson(op));
  }
  Json out;
  out["def"] = Json::object();
  for (auto& [digest, operation] : operations) out["def"][digest] = std::move(operation);
  out["metadata"] = MapJson(parsed, *pb::Definition::descriptor()->FindFieldByName("metadata"));
  ASSIGN_OR_RETURN(out["source"], CanonicalJson(parsed.source()));
  return out;
}

absl::StatusOr<Json> DefinitionJson(const Definition& definition) {
  ASSIGN_OR_RETURN(const pb::Definition parsed, Parse(definition));
  return MessageJson(parsed);
}

Json DigestMapping(const StepNumbers& numbers) {
  Json out = Json::object();
  for (const auto& [digest, number] : numbers) out[digest] = absl::StrCat("step", number);
  return out;
}

}  // namespace cachalot::llb
