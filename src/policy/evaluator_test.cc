#include "policy/evaluator.h"

#include "gtest/gtest.h"

namespace cachalot::policy {
namespace {

constexpr char kBusybox[] = "docker-image://docker.io/library/busybox:1.36";

Rule Convert(const std::string& from, const std::string& to, Match match = Match::kWildcard) {
  return {Action::kConvert, {from, match, {}}, Update{to, {}}};
}
Rule Deny(const std::string& what, std::vector<Constraint> constraints = {}) { return {Action::kDeny, {what, Match::kWildcard, constraints}, {}}; }
Rule Allow(const std::string& what) { return {Action::kAllow, {what, Match::kWildcard, {}}, {}}; }

// The identifier after the rules, or the error's text.
std::string Apply(std::vector<Rule> rules, const std::string& identifier, std::map<std::string, std::string> attrs = {}) {
  Evaluator evaluator({{1, std::move(rules)}});
  Source source{identifier, std::move(attrs)};
  const absl::StatusOr<bool> changed = evaluator.Apply(source);
  if (!changed.ok()) return std::string(changed.status().message());
  EXPECT_EQ(*changed, source.identifier != identifier);
  return source.identifier;
}

std::string Denied(const std::string& what) { return "source \"" + what + "\" denied by policy: source denied by policy"; }

TEST(Evaluator, WithoutAMatchASourceStays) {
  EXPECT_EQ(Apply({}, kBusybox), kBusybox);
  EXPECT_EQ(Apply({Deny("https://*")}, kBusybox), kBusybox);
}

TEST(Evaluator, TheLastRuleThatMatchesDecides) {
  EXPECT_EQ(Apply({Deny("*")}, kBusybox), Denied(kBusybox));
  EXPECT_EQ(Apply({Deny("*"), Allow("docker-image://*/busybox:*")}, kBusybox), kBusybox);
  EXPECT_EQ(Apply({Allow("docker-image://*"), Deny("*")}, kBusybox), Denied(kBusybox));
}

TEST(Evaluator, EveryPolicyMustAllow) {
  Evaluator evaluator({{1, {Allow("*")}}, {1, {Deny("*busybox*")}}});
  Source source{kBusybox, {}};
  EXPECT_TRUE(absl::IsFailedPrecondition(evaluator.Apply(source).status()));
}

TEST(Evaluator, WildcardsFillInWhatTheyMatched) {
  EXPECT_EQ(Apply({Convert("docker-image://docker.io/*/busybox:*", "docker-image://mirror/$1/busybox:${2}-musl$$")}, kBusybox),
            "docker-image://mirror/library/busybox:1.36-musl$");
  EXPECT_EQ(Apply({Convert("b*", "docker-image://a:$3${0}x")}, "b"), "docker-image://a:bx");
  EXPECT_EQ(Apply({Convert("x**", "y")}, kBusybox),
            "error matching source policy: failed to translate wildcard \"x**\" to regexp: invalid wildcard: \"**\"");
}

TEST(Evaluator, WildcardsTakeOtherCharactersAsTheyAre) {
  EXPECT_EQ(Apply({Deny("docker-image://a.b:(*)")}, "docker-image://aXb:(1)"), "docker-image://aXb:(1)");
  EXPECT_EQ(Apply({Deny("docker-image://a.b:(*)")}, "docker-image://a.b:(1)"), Denied("docker-image://a.b:(1)"));
}

TEST(Evaluator, RegularExpressionsReplaceEveryMatch) {
  EXPECT_EQ(Apply({Convert("a(?P<n>[0-9])", "b${n}$n_$", Match::kRegex)}, "xa1ya2"), "xb1$yb2$");
  EXPECT_EQ(Apply({Convert("(", "y", Match::kRegex)}, kBusybox).substr(0, 50), "error matching source policy: error parsing regexp");
}

TEST(Evaluator, ExactSelectorsAndTheirUpdatesAreTakenLiterally) {
  EXPECT_EQ(Apply({Convert(kBusybox, "docker-image://$1", Match::kExact)}, kBusybox), "docker-image://$1");
  EXPECT_EQ(Apply({Convert("docker-image://*", "x", Match::kExact)}, kBusybox), kBusybox);
}

TEST(Evaluator, ConstraintsLookAtAttributes) {
  const std::string url = "https://example.com/a";
  const Rule unless_checked = Deny("https://*", {{"http.checksum", "", Condition::kEqual}});
  EXPECT_EQ(Apply({unless_checked}, url), Denied(url));
  EXPECT_EQ(Apply({unless_checked}, url, {{"http.checksum", "sha256:1"}}), url);
  EXPECT_EQ(Apply({Deny("*", {{"a", "1", Condition::kNotEqual}})}, url, {{"a", "1"}}), url);
  EXPECT_EQ(Apply({Deny("*", {{"a", "^[0-9]+$", Condition::kMatches}})}, url, {{"a", "12"}}), Denied(url));
  EXPECT_EQ(Apply({Deny("*", {{"a", "^[0-9]+$", Condition::kMatches}})}, url, {{"a", "1x"}}), url);
}

TEST(Evaluator, AttributesAreSetAndCountAsAChange) {
  Evaluator evaluator({{1, {{Action::kConvert, {"https://*", Match::kWildcard, {}}, Update{"https://${1}", {{"http.checksum", "sha256:1"}}}}}}});
  Source source{"https://example.com", {{"kept", "yes"}}};
  EXPECT_EQ(evaluator.Apply(source).value_or(false), true);
  EXPECT_EQ(source.attrs, (std::map<std::string, std::string>{{"kept", "yes"}, {"http.checksum", "sha256:1"}}));
  EXPECT_EQ(evaluator.Apply(source).value_or(true), false);
}

TEST(Evaluator, WhatWasConvertedIsJudgedAgain) {
  EXPECT_EQ(Apply({Convert("a", "b"), Deny("b")}, "a"), Denied("b"));
  EXPECT_EQ(Apply({Convert("a", "b"), Convert("b", "a")}, "a"), "too many mutations on a single source: too many operations");
}

TEST(Evaluator, InvalidRulesAreNamed) {
  EXPECT_EQ(Apply({{static_cast<Action>(9000), {"a", Match::kWildcard, {}}, {}}}, "a"), "source policy: rule 9000 a: unknown type \"a\"");
  EXPECT_EQ(Apply({{Action::kConvert, {"a", Match::kWildcard, {}}, {}}}, "a"), "error mutating source policy: missing destination for convert rule");
  EXPECT_EQ(Apply({{Action::kDeny, {"x", static_cast<Match>(7), {}}, {}}}, "a"), "error matching source policy: unknown match type: 7");
}

}  // namespace
}  // namespace cachalot::policy
