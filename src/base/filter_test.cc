#include "base/filter.h"

#include <map>

#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace cachalot {
namespace {

// "a.b" is the field with two parts.
bool Passes(const std::vector<std::string>& filters, const std::map<std::string, std::string>& fields) {
  const absl::StatusOr<Filter> filter = Filter::Parse(filters);
  EXPECT_TRUE(filter.ok()) << filter.status();
  if (!filter.ok()) return false;
  return filter->Matches([&](const std::vector<std::string>& field) -> std::optional<std::string> {
    const auto found = fields.find(absl::StrJoin(field, "/"));
    return found == fields.end() ? std::nullopt : std::optional(found->second);
  });
}

TEST(Filter, WithoutAnyEverythingPasses) {
  EXPECT_TRUE(Passes({}, {}));
  EXPECT_TRUE(Passes({""}, {}));
}

TEST(Filter, OperatorsCompareValues) {
  const std::map<std::string, std::string> fields = {{"type", "regular"}, {"inuse", ""}};
  EXPECT_TRUE(Passes({"inuse"}, fields));
  EXPECT_FALSE(Passes({"mutable"}, fields));
  EXPECT_TRUE(Passes({"type==regular"}, fields));
  EXPECT_FALSE(Passes({"kind==regular"}, fields));
  EXPECT_FALSE(Passes({"type!=regular"}, fields));
  EXPECT_TRUE(Passes({"kind!=regular"}, fields));
  EXPECT_TRUE(Passes({"type~=^reg"}, fields));
  EXPECT_FALSE(Passes({"type~=/^r[^e]/"}, fields));
}

TEST(Filter, AllSelectorsOfOneFilterMustHoldOfSeveralFiltersOne) {
  const std::map<std::string, std::string> fields = {{"a", "1"}, {"b", "2"}};
  EXPECT_TRUE(Passes({"a==1,b==2"}, fields));
  EXPECT_FALSE(Passes({"a==1,b==3"}, fields));
  EXPECT_TRUE(Passes({"a==2", "b==2"}, fields));
}

TEST(Filter, FieldsHavePartsAndQuotes) {
  const std::map<std::string, std::string> fields = {{"labels/org.example/x", "a,b"}};
  EXPECT_TRUE(Passes({R"(labels."org.example".x=="a,b")"}, fields));
  EXPECT_FALSE(Passes({"labels.org.example"}, fields));
}

TEST(Filter, MalformedOnesAreRefusedWithThePlace) {
  EXPECT_EQ(Filter::Parse({"a=b"}).status().message(), "filters: parse error: [a >|=|< b]: expected an operator (\"==\"|\"!=\"|\"~=\")");
  for (const char* text : {"==", "a==", "a==\"b", "a~=(", "a==b c"}) EXPECT_FALSE(Filter::Parse({text}).ok()) << text;
}

}  // namespace
}  // namespace cachalot
