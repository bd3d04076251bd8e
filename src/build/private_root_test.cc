#include "build/private_root.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/file.h"
#include "os/scratch_testing.h"

namespace cachalot::build {
namespace {

using testing::HasSubstr;

class PrivateRootTest : public testing::Test {
 protected:
  std::string Refusal() { return std::string(MakePrivateRoot(root_).message()); }

  os::Scratch scratch_;
  const std::string root_ = scratch_ / "root";
};

TEST_F(PrivateRootTest, LinksBelowItAreRefused) {
  ASSERT_TRUE(os::MakeDirectories(scratch_ / "outside").ok());
  for (const char* name : {"snapshots", "engine.lock", "blobs", "metadata.db", "work", "mounts", "runtime", "synced"}) {
    ASSERT_TRUE(MakePrivateRoot(root_).ok()) << name;
    const std::string link = root_ + "/" + name;
    ::unlink(link.c_str());
    ASSERT_EQ(::symlink((scratch_ / "outside").c_str(), link.c_str()), 0);
    EXPECT_THAT(Refusal(), HasSubstr(std::string(name) + " is a link"));
    ASSERT_EQ(::unlink(link.c_str()), 0);
  }
}

TEST_F(PrivateRootTest, WhatIsSomebodyElsesIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give files away";
  ASSERT_TRUE(MakePrivateRoot(root_).ok());
  ASSERT_TRUE(os::MakeDirectories(root_ + "/snapshots").ok());
  ASSERT_EQ(::chown((root_ + "/snapshots").c_str(), 65534, 65534), 0);
  EXPECT_THAT(Refusal(), HasSubstr("snapshots does not belong to the user that runs this engine"));
  ASSERT_EQ(::rmdir((root_ + "/snapshots").c_str()), 0);
  ASSERT_EQ(::chown(root_.c_str(), 65534, 65534), 0);
  EXPECT_THAT(Refusal(), HasSubstr("root does not belong to the user that runs this engine"));
}

TEST_F(PrivateRootTest, WhatNoEngineMadeIsRefused) {
  for (const char* name : {"snapshots", "work", "mounts", "blobs", "runtime", "metadata.db"}) {
    const std::string root = root_ + name;
    ASSERT_TRUE(os::MakeDirectories(root + "/" + name + "/photos").ok());
    EXPECT_THAT(std::string(MakePrivateRoot(root).message()), HasSubstr(std::string("holds ") + name + ", which no engine has made"));
  }
  ASSERT_TRUE(os::MakeDirectories(root_ + "/lost+found").ok());
  EXPECT_TRUE(MakePrivateRoot(root_).ok()) << "names that are not an engine's are left alone";
  ASSERT_TRUE(os::MakeDirectories(root_ + "/snapshots").ok());
  EXPECT_TRUE(MakePrivateRoot(root_).ok()) << "it is an engine's by now";
}

TEST_F(PrivateRootTest, OthersNeverWriteThere) {
  ASSERT_TRUE(os::MakeDirectories(root_).ok());
  ASSERT_EQ(::chmod(root_.c_str(), 0777), 0);
  ASSERT_TRUE(MakePrivateRoot(root_).ok());
  EXPECT_EQ(os::Lstat(root_)->st_mode & 07777, 0755u);
  ASSERT_EQ(::chmod((root_ + "/engine.lock").c_str(), 0644), 0);
  ASSERT_TRUE(MakePrivateRoot(root_).ok());
  EXPECT_EQ(os::Lstat(root_)->st_mode & 07777, 0711u);
  EXPECT_EQ(os::Lstat(root_ + "/engine.lock")->st_mode & 07777, 0600u);
}

}  // namespace
}  // namespace cachalot::build
