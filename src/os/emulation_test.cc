#include "os/emulation.h"

#include <sys/stat.h>

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "os/scratch_testing.h"

namespace cachalot::os {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kArm64[] = "7f454c460201010000000000000000000200b700";
constexpr char kArm[] = "7f454c4601010100000000000000000002002800";
constexpr char kS390x[] = "7f454c4602020100000000000000000000020016";
constexpr char kMask[] = "ffffffffffffff00fffffffffffffffffeffffff";
constexpr char kBigEndianMask[] = "ffffffffffffff00fffffffffffffffffffeffff";

class EmulationTest : public ::testing::Test {
 protected:
  void Register(const std::string& name, const std::string& text) { std::ofstream(scratch_ / name) << text; }
  void Register(const std::string& name, const std::string& state, const std::string& flags, const std::string& magic, const std::string& mask) {
    Register(name, state + "\ninterpreter /usr/bin/" + name + "\nflags: " + flags + "\noffset 0\nmagic " + magic + "\nmask " + mask + "\n");
  }
  Scratch scratch_;
};

TEST_F(EmulationTest, WhatIsRegisteredForContainersIsListed) {
  Register("register", "");
  Register("status", "enabled\n");
  Register("qemu-s390x", "enabled", "F", kS390x, kBigEndianMask);
  Register("qemu-arm", "enabled", "POCF", kArm, kMask);
  Register("qemu-aarch64", "enabled", "OCF", kArm64, kMask);
  EXPECT_THAT(EmulatedArchitectures(scratch_.path()), ElementsAre("arm64", "s390x", "arm"));
}

TEST_F(EmulationTest, WhatContainersCannotUseIsNot) {
  Register("disabled", "disabled", "F", kArm64, kMask);
  Register("looked-up-by-path", "enabled", "OC", kArm, kMask);
  Register("by-extension", "enabled\ninterpreter /usr/bin/x\nflags: F\nextension .exe\n");
  Register("far", "enabled\ninterpreter /usr/bin/x\nflags: F\noffset 60\nmagic 7f454c46020101\n");
  Register("nonsense", "enabled\nflags: F\noffset many\nmagic zz\n");
  EXPECT_THAT(EmulatedArchitectures(scratch_.path()), IsEmpty());
  EXPECT_THAT(EmulatedArchitectures(scratch_.path() + "/nothing"), IsEmpty());
}

TEST_F(EmulationTest, WithoutMaskAllBitsCount) {
  Register("qemu-aarch64", "enabled\ninterpreter /q\nflags: F\noffset 0\nmagic " + std::string(kArm64) + "\n");
  EXPECT_THAT(EmulatedArchitectures(scratch_.path()), ElementsAre("arm64"));
}

}  // namespace
}  // namespace cachalot::os
