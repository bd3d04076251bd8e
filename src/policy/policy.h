// Source policies: rules that allow, deny or rewrite what builds take in. The meaning is the protocol's
// (proto/buildkit/policy.proto), and so are the numbers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cachalot::policy {

enum class Action { kAllow = 0, kDeny = 1, kConvert = 2 };
enum class Match { kWildcard = 0, kExact = 1, kRegex = 2 };
enum class Condition { kEqual = 0, kNotEqual = 1, kMatches = 2 };

// What an attribute of the source must be. An absent attribute is empty.
struct Constraint {
  std::string key, value;
  Condition condition = Condition::kEqual;
};

// Which sources a rule is about: the identifier equals the selector's or matches it, and all constraints hold.
struct Selector {
  std::string identifier;  // "docker-image://docker.io/library/busybox:*"
  Match match = Match::kWildcard;
  std::vector<Constraint> constraints;
};

struct Update {
  std::string identifier;  // with "$1", "${name}" for what the selector matched; empty: the selector's
  std::map<std::string, std::string> attrs;
};

struct Rule {
  Action action = Action::kAllow;
  Selector selector;
  std::optional<Update> update;  // of kConvert
};

struct Policy {
  std::int64_t version = 0;
  std::vector<Rule> rules;
};

// A source as policies see it.
struct Source {
  std::string identifier;
  std::map<std::string, std::string> attrs;
};

}  // namespace cachalot::policy
