#include "dockerfile/shell/expander.h"

#include "absl/strings/str_cat.h"
#include "dockerfile/shell/pattern.h"
#include "dockerfile/shell/quote.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cachalot::dockerfile {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Variables& Env() {
  static const Variables variables({"DIR=/srv", "NAME=a b", "EMPTY=", "FILE=archive.tar.gz", "KANJI=\xE6\xBC\xA2\xE5\xAD\x97"});
  return variables;
}

std::string Expand(absl::string_view text, ExpandOptions options = {}) {
  const absl::StatusOr<Expansion> expansion = Expander(options).Expand(text, Env());
  return expansion.ok() ? expansion->text : absl::StrCat("error: ", expansion.status().message());
}

TEST(Expander, QuotesAndEscapes) {
  EXPECT_EQ(Expand("x'$DIR'y"), "x$DIRy");
  EXPECT_EQ(Expand("\"$DIR\\\"q\\t\""), "/srv\"q\\t");
  EXPECT_EQ(Expand("a\\$DIR\\ b\\"), "a$DIR b");
  EXPECT_EQ(Expand("a`$DIR", {.escape = '`'}), "a$DIR");
  EXPECT_EQ(Expand("'$DIR' \"$DIR\"", {.raw_quotes = true}), "'$DIR' \"/srv\"");
  EXPECT_EQ(Expand("it's $DIR", {.skip_quotes = true}), "it's /srv");
  EXPECT_EQ(Expand("it's"), "error: failed to process \"it's\": unexpected end of statement while looking for matching single-quote");
  EXPECT_EQ(Expand("\"open"), "error: failed to process \"\\\"open\": unexpected end of statement while looking for matching double-quote");
}

TEST(Expander, References) {
  EXPECT_EQ(Expand("$DIR/x ${DIR}y $GONE. $"), "/srv/x /srvy . $");
  EXPECT_EQ(Expand("$1x $@y"), "x y");
  EXPECT_EQ(Expand("$KANJI"), "\xE6\xBC\xA2\xE5\xAD\x97");
  EXPECT_EQ(Expand("$DIR€ “$DIR” $DIR→x $DIR… $DIR\xFF"), "/srv€ “/srv” /srv→x /srv… /srv\xFF");  // no letters
  EXPECT_EQ(Expand("$DIR\xE6\xBC\xA2 $DIRé $DIR٣"), "  ");                                        // letters and a digit
  EXPECT_EQ(Expand("$GONE ${GONE} ${GONE:-x$DIR} ${GONE/a/b}", {.skip_unset = true}), "$GONE ${GONE} ${GONE:-x/srv} ${GONE/a/b}");
  EXPECT_THAT(Expand("${}"), HasSubstr("syntax error: bad substitution"));
  EXPECT_THAT(Expand("${DIR"), HasSubstr("unsupported modifier"));
  EXPECT_THAT(Expand("${DIR:-x"), HasSubstr("syntax error: missing '}'"));
  EXPECT_THAT(Expand("${DIR:=x}"), HasSubstr("unsupported modifier (:=) in substitution"));
}

TEST(Expander, Modifiers) {
  EXPECT_EQ(Expand("${EMPTY-d}|${EMPTY:-d}|${GONE-d}|${GONE:-${DIR}}"), "|d|d|/srv");
  EXPECT_EQ(Expand("${EMPTY+s}|${EMPTY:+s}|${DIR+s}|${GONE+s}"), "s||s|");
  EXPECT_THAT(Expand("${GONE?}"), HasSubstr("GONE: is not allowed to be unset"));
  EXPECT_THAT(Expand("${EMPTY:?}"), HasSubstr("EMPTY: is not allowed to be empty"));
  EXPECT_THAT(Expand("${GONE:?needs $DIR}"), HasSubstr("GONE: needs /srv"));
  EXPECT_EQ(Expand("${FILE%.*}|${FILE%%.*}|${FILE#*.}|${FILE##*.}|${FILE#z}"), "archive.tar|archive|tar.gz|gz|archive.tar.gz");
  EXPECT_EQ(Expand("${FILE/ar/X}|${FILE//ar/X}|${DIR//\\//_}|${KANJI#?}"), "Xchive.tar.gz|Xchive.tX.gz|_srv|\xE5\xAD\x97");
  EXPECT_THAT(Expand("${FILE#\\q}"), HasSubstr("invalid escape '\\q'"));
}

TEST(Expander, Words) {
  const auto words = [](absl::string_view text) { return Expander(ExpandOptions()).Expand(text, Env())->words; };
  EXPECT_THAT(words("x$NAME\"$NAME\" y\\ z"), ElementsAre("xa", "ba b", "y z"));
  EXPECT_THAT(words("  << EOF  "), ElementsAre("<< EOF"));
  EXPECT_THAT(words("p${DIR:-q}"), ElementsAre("p/srv"));
}

TEST(Expander, ReportsNames) {
  const Expansion expansion = *Expander(ExpandOptions()).Expand("$DIR ${GONE:-$EMPTY}", Env());
  EXPECT_THAT(expansion.matched, ElementsAre("DIR", "EMPTY"));
  EXPECT_THAT(expansion.unmatched, ElementsAre("GONE"));
}

TEST(Expander, BoundsWhatDoubles) {
  Variables variables({"a=0123456789"});
  const auto budget = std::make_shared<ExpansionBudget>();
  const Expander expander(ExpandOptions(), budget);
  absl::Status status;
  for (int i = 0; i < 24 && status.ok(); ++i) {
    const absl::StatusOr<Expansion> doubled = expander.Expand("$a$a", variables);
    status = doubled.status();
    if (status.ok()) variables.Set("a", doubled->text);
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the expanded value exceeds 1048576 bytes"));
}

TEST(Expander, BoundsTheSumAndTheDepth) {
  const auto budget = std::make_shared<ExpansionBudget>(ExpansionBudget{.word_bytes = 100, .total_bytes = 10});
  const Expander expander(ExpandOptions(), budget);
  EXPECT_TRUE(expander.Expand("1234567", Env()).ok());
  EXPECT_EQ(expander.Expand("1234567", Env()).status().code(), absl::StatusCode::kResourceExhausted);
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += "${x:-";
  EXPECT_THAT(Expand(deep), HasSubstr("error"));
}

TEST(Pattern, CostIsBounded) {
  const std::string value(1 << 20, 'a');
  std::string pattern;
  for (int i = 0; i < 500; ++i) pattern += "a*";
  EXPECT_EQ(ReplacePattern(pattern + "b", "", value, true, 1 << 20).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Pattern, EmptyMatches) {
  EXPECT_EQ(*ReplacePattern("", "-", "ab", true, 100), "-a-b-");
  EXPECT_EQ(*ReplacePattern("*", "-", "ab", true, 100), "-");
}

TEST(Quote, LikeGo) {
  EXPECT_EQ(GoQuote("a\"\\\n\x01\x7F\xFF\xC3\xA9"), "\"a\\\"\\\\\\n\\x01\\x7f\\xff\xC3\xA9\"");
  EXPECT_EQ(GoQuote(std::vector<std::string>{"a", "b c"}), "[\"a\" \"b c\"]");
  EXPECT_EQ(GoQuote("\xE2\x80\x8B"), "\"\\u200b\"");
}

}  // namespace
}  // namespace cachalot::dockerfile
