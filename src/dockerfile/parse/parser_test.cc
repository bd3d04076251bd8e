#include "dockerfile/parse/parser.h"

#include "absl/strings/str_cat.h"
#include "dockerfile/parse/directives.h"
#include "dockerfile/shell/quote.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cachalot::dockerfile {
namespace {

using ::testing::ElementsAre;

// One line per instruction: lines, keyword, flags, arguments, here-documents, comments.
std::string Dump(absl::string_view text) {
  const absl::StatusOr<File> file = ParseFile(text);
  std::string out;
  if (!file.ok()) {
    absl::StrAppend(&out, "error: ", file.status().message());
    for (const Lines lines : LinesOf(file.status())) absl::StrAppend(&out, " @", lines.first, "-", lines.last);
    return out;
  }
  for (const Node& node : file->nodes) {
    absl::StrAppend(&out, node.lines.first, "-", node.lines.last, " ", node.keyword);
    if (!node.flags.empty()) absl::StrAppend(&out, " flags", GoQuote(node.flags));
    absl::StrAppend(&out, node.json ? " json" : " ", GoQuote(node.arguments));
    for (const KeyValue& pair : node.pairs) absl::StrAppend(&out, " ", pair.key, pair.delimited ? "=" : " ", GoQuote(pair.value));
    for (const Heredoc& heredoc : node.heredocs) {
      absl::StrAppend(&out, " <<", heredoc.chomp ? "-" : "", heredoc.name, heredoc.expand ? "" : "'", " ", GoQuote(heredoc.content));
    }
    if (!node.comments.empty()) absl::StrAppend(&out, " #", GoQuote(node.comments));
    absl::StrAppend(&out, "\n");
  }
  return out;
}

TEST(Parser, InstructionsAndContinuations) {
  EXPECT_EQ(Dump("\xEF\xBB\xBF# escape=\\\n"
                 "# about base\n"
                 "FROM  --platform=$X  debian:12   AS base\r\n"
                 "\n"
                 "run  echo a \\ \n"
                 "  # inside\n"
                 "  && echo b\n"
                 "CMD [\"a\", \"b c\"]\n"
                 "CMD [\"a\", ]\n"
                 "ENV A=1 B=\"x y\" C=\\ z\n"
                 "LABEL old style  value\n"
                 "ARG one two=2\n"
                 "HEALTHCHECK --interval=1s CMD [\"t\"]\n"
                 "ONBUILD COPY --chown=1 a b\n"),
            "3-3 FROM flags[\"--platform=$X\"] [\"debian:12\" \"AS\" \"base\"] #[\"about base\"]\n"
            "5-7 run [\"echo a   && echo b\"]\n"
            "8-8 CMD json[\"a\" \"b c\"]\n"
            "9-9 CMD [\"[\\\"a\\\", ]\"]\n"
            "10-10 ENV [] A=\"1\" B=\"\\\"x y\\\"\" C=\"\\\\ z\"\n"
            "11-11 LABEL [] old \"style  value\"\n"
            "12-12 ARG [\"one\" \"two=2\"]\n"
            "13-13 HEALTHCHECK flags[\"--interval=1s\"] json[\"CMD\" \"t\"]\n"
            "14-14 ONBUILD [\"COPY\" \"a\" \"b\"]\n");
}

TEST(Parser, Unicode) {
  EXPECT_EQ(Dump("\u00A0\u3000FROM a"), "1-1 FROM [\"a\"]\n");
  EXPECT_EQ(Dump("CMD [\"\xFF\", \"\\ud800x\", \"\\\\ud800\", \"\\ud83d\\ude00\"]"),
            "1-1 CMD json[\"\uFFFD\" \"\uFFFDx\" \"\\\\ud800\" \"\U0001F600\"]\n");
}

TEST(Parser, NullBytes) { EXPECT_EQ(Dump(std::string("FROM a\nCOPY ..\0x /\n", 19)), "error: the instruction holds a null byte @2-2"); }

TEST(Parser, EscapeDirective) {
  EXPECT_EQ(Dump("# escape = `\nRUN a `\n b\\\nRUN c"), "2-3 RUN [\"a  b\\\\\"]\n4-4 RUN [\"c\"]\n");
  EXPECT_EQ(Dump("# comment\n# escape=`\nRUN a`\nRUN b"), "3-3 RUN [\"a`\"] #[\"comment\" \"escape=`\"]\n4-4 RUN [\"b\"]\n");
  EXPECT_EQ(Dump("# escape=x\nFROM a"), "error: invalid escape token 'x' does not match ` or \\ @1-1");
  EXPECT_EQ(Dump("# syntax=a\n# syntax=b\nFROM a"), "error: only one syntax parser directive can be used @2-2");
  EXPECT_EQ(Dump("RUN a \\\\\nRUN b"), "1-1 RUN [\"a \\\\\\\\\"]\n2-2 RUN [\"b\"]\n");
}

TEST(Parser, Heredocs) {
  EXPECT_EQ(Dump("RUN <<EOF\nls $x\nEOF\nCOPY <<-'A' <<\"B\" /d/\n\tone\n\tA\ntwo\nB\nRUN echo '<<X' && echo << Y\nx\nY\n"),
            "1-3 RUN [\"<<EOF\"] <<EOF \"ls $x\\n\"\n"
            "4-8 COPY [\"<<-'A'\" \"<<\\\"B\\\"\" \"/d/\"] <<-A' \"\\tone\\n\" <<B' \"two\\n\"\n"
            "9-11 RUN [\"echo '<<X' && echo << Y\"] <<Y \"x\\n\"\n");
  EXPECT_EQ(Dump("ONBUILD RUN <<E\nx\nE\n"), "1-3 ONBUILD [\"RUN\" \"<<E\"] <<E \"x\\n\"\n");
  EXPECT_EQ(Dump("CMD <<EOF\nRUN x\n"), "1-1 CMD [\"<<EOF\"]\n2-2 RUN [\"x\"]\n");
  EXPECT_EQ(Dump("FROM a\nRUN <<EOF\nx\n"), "error: unterminated heredoc @2-3");
  EXPECT_EQ(Dump("RUN [\"<<EOF\"]\n"), "1-1 RUN json[\"<<EOF\"]\n");
}

TEST(Parser, Errors) {
  EXPECT_EQ(Dump(""), "error: file with no instructions @0-0");
  EXPECT_EQ(Dump("# only\n\n"), "error: file with no instructions @2-2");
  EXPECT_EQ(Dump("FROM a\nENV a"), "error: ENV must have two arguments @2-2");
  EXPECT_EQ(Dump("LABEL a=b c"), "error: Syntax error - can't find = in \"c\". Must be of the form: name=value @1-1");
  EXPECT_EQ(Dump("CMD [1]"), "error: when using JSON array syntax, arrays must be comprised of strings only @1-1");
  EXPECT_EQ(Dump(absl::StrCat("FROM a\nRUN ", std::string(70000, 'x'))), "error: dockerfile line greater than max allowed size of 65535 @1-1");
}

TEST(Parser, EmptyContinuationLines) {
  const absl::StatusOr<File> file = ParseFile("FROM a\nRUN b \\\n\n c\n");
  ASSERT_TRUE(file.ok());
  EXPECT_THAT(file->empty_continuations, ElementsAre(4));
}

TEST(Directives, Syntax) {
  EXPECT_EQ(FindSyntax("#!/usr/bin/x\n# syntax = docker/dockerfile:1 a\nFROM x")->value, "docker/dockerfile:1 a");
  EXPECT_EQ(FindSyntax("#!/usr/bin/x\n# syntax = docker/dockerfile:1\nFROM x")->line, 2);
  EXPECT_EQ(FindSyntax("// syntax=b\n")->value, "b");
  EXPECT_EQ(FindSyntax("{\"syntax\": \"j\"}")->value, "j");
  EXPECT_FALSE(FindSyntax("FROM x\n# syntax=a").has_value());
  EXPECT_FALSE(FindSyntax("# other=a\n# syntax=b").has_value());
  EXPECT_EQ(FindDirective("check", "# syntax=a\n# check=skip=all\n")->value, "skip=all");
}

}  // namespace
}  // namespace cachalot::dockerfile
