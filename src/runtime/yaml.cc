#include "runtime/yaml.h"

#include <yaml.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace cachalot::runtime {
namespace {

constexpr int kMaxDepth = 64;

class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  ~Event() { yaml_event_delete(&event_); }
  yaml_event_t* get() { return &event_; }
  const yaml_event_t* operator->() const { return &event_; }

 private:
  yaml_event_t event_ = {};
};

class Parser {
 public:
  explicit Parser(absl::string_view text) {
    yaml_parser_initialize(&parser_);
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  }
  Parser(const Parser&) = delete;
  ~Parser() { yaml_parser_delete(&parser_); }

  absl::StatusOr<YamlNode> Document() {
    for (const yaml_event_type_t expected : {YAML_STREAM_START_EVENT, YAML_DOCUMENT_START_EVENT}) {
      Event event;
      RETURN_IF_ERROR(Next(event));
      if (event->type != expected) return absl::InvalidArgumentError("no YAML document");
    }
    Event first;
    RETURN_IF_ERROR(Next(first));
    return Node(first, 0);
  }

 private:
  absl::Status Next(Event& event) {
    if (yaml_parser_parse(&parser_, event.get()) != 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("line ", parser_.problem_mark.line + 1, ": ", parser_.problem != nullptr ? parser_.problem : "?"));
  }

  static absl::Status Refused(const Event& event, absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("line ", event->start_mark.line + 1, ": ", what));
  }

  absl::StatusOr<YamlNode> Node(const Event& event, int depth) {
    if (depth > kMaxDepth) return Refused(event, "nested too deeply");
    YamlNode node;
    switch (event->type) {
      case YAML_SCALAR_EVENT: node.text.assign(reinterpret_cast<const char*>(event->data.scalar.value), event->data.scalar.length); return node;
      case YAML_SEQUENCE_START_EVENT: node.kind = YamlNode::Kind::kSequence; break;
      case YAML_MAPPING_START_EVENT: node.kind = YamlNode::Kind::kMapping; break;
      default: return Refused(event, "aliases are not supported");
    }
    while (true) {
      Event next;
      RETURN_IF_ERROR(Next(next));
      if (next->type == YAML_SEQUENCE_END_EVENT || next->type == YAML_MAPPING_END_EVENT) return node;
      ASSIGN_OR_RETURN(YamlNode child, Node(next, depth + 1));
      if (node.kind == YamlNode::Kind::kSequence) {
        node.items.push_back(std::move(child));
        continue;
      }
      if (child.kind != YamlNode::Kind::kScalar) return Refused(next, "a key is not a text");
      Event value;
      RETURN_IF_ERROR(Next(value));
      ASSIGN_OR_RETURN(YamlNode member, Node(value, depth + 1));
      if (!node.members.emplace(child.text, std::move(member)).second) return Refused(next, absl::StrCat("key ", child.text, " is there twice"));
    }
  }

  yaml_parser_t parser_;
};

}  // namespace

const YamlNode* YamlNode::Find(absl::string_view name) const {
  const auto found = members.find(std::string(name));
  return found == members.end() ? nullptr : &found->second;
}

absl::StatusOr<YamlNode> ParseYaml(absl::string_view text) { return Parser(text).Document(); }

}  // namespace cachalot::runtime
