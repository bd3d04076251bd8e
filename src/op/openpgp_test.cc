#include "op/openpgp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "os/run.h"
#include "os/scratch_testing.h"

namespace cachalot::op {
namespace {

using testing::HasSubstr;

constexpr char kValid[] = "[GNUPG:] VALIDSIG ABCD 2026-01-01 1767225600 0 4 0 22 10 00 ABCD\n";

TEST(OpenPgpTest, DearmorsSeveralBlocks) {
  const auto bytes = Dearmor(
      "junk\n-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\naGVs\nbG8=\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
      "-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n\r\nIQ==\r\n-----END PGP PUBLIC KEY BLOCK-----\r\n");
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, "hello!");
  EXPECT_FALSE(Dearmor("nothing").ok());
  EXPECT_FALSE(Dearmor("-----BEGIN PGP SIGNATURE-----\n\n***\n-----END PGP SIGNATURE-----\n").ok());
}

TEST(OpenPgpTest, JudgesStatusLines) {
  EXPECT_TRUE(JudgeGpgvStatus(kValid, true).ok());
  EXPECT_FALSE(JudgeGpgvStatus("", false).ok());
  EXPECT_FALSE(JudgeGpgvStatus("VALIDSIG without the prefix", false).ok());
  EXPECT_FALSE(JudgeGpgvStatus(std::string(kValid) + "[GNUPG:] BADSIG ABCD x\n", false).ok());
  EXPECT_FALSE(JudgeGpgvStatus(std::string("[GNUPG:] REVKEYSIG ABCD x\n") + kValid, false).ok());
  const std::string expired = std::string("[GNUPG:] EXPKEYSIG ABCD x\n") + kValid;
  EXPECT_TRUE(JudgeGpgvStatus(expired, false).ok());
  EXPECT_FALSE(JudgeGpgvStatus(expired, true).ok());
  EXPECT_THAT(JudgeGpgvStatus("[GNUPG:] VALIDSIG ABCD 2026-01-01 1 0 4 0 22 2 00 ABCD\n", false).message(), HasSubstr("weak/unknown hash"));
}

TEST(OpenPgpTest, VerifiesWithTheProgram) {
  if (!os::FindProgram("gpg").ok() || !os::FindProgram("gpgv").ok()) GTEST_SKIP() << "needs gpg and gpgv";
  const os::Scratch scratch;
  const std::string script =
      "export GNUPGHOME=$PWD/home; mkdir -m 700 home && echo data >file && for u in a b; do gpg -q --batch --passphrase '' --quick-gen-key "
      "$u ed25519 sign never && gpg -q --armor --export $u >$u.pub || exit 1; done && gpg -q --batch -u a --armor --detach-sign file; "
      "status=$?; gpgconf --kill all; exit $status";
  const auto made = os::Run({.argv = {"sh", "-c", script}, .cwd = scratch.path()}, {}, {});
  ASSERT_TRUE(made.ok() && made->exit.code == 0) << made.status() << made->err;
  const auto read = [&](const char* name) {
    std::stringstream text;
    text << std::ifstream(scratch / name).rdbuf();
    return text.str();
  };
  OpenPgpRequest request{scratch / "file", read("file.asc"), read("b.pub") + read("a.pub"), scratch.path()};
  EXPECT_TRUE(VerifyOpenPgp(request, {}).ok()) << VerifyOpenPgp(request, {});
  request.public_keys = read("b.pub");
  EXPECT_THAT(VerifyOpenPgp(request, {}).message(), HasSubstr("unknown entity"));
  request.public_keys = read("a.pub");
  std::ofstream(scratch / "file") << "other data";
  EXPECT_THAT(VerifyOpenPgp(request, {}).message(), HasSubstr("invalid signature"));
}

}  // namespace
}  // namespace cachalot::op
