#include "os/memory.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace cachalot::os {
namespace {

long ResidentFileKb() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    long kb = 0;
    if (word == "RssFile:" && status >> kb) return kb;
  }
  return -1;
}

TEST(MemoryTest, ReleasesWhatStartingUpTouched) {
  const long before = ResidentFileKb();
  ASSERT_GT(before, 0);
  ASSERT_TRUE(ReleaseFilePages().ok());
  EXPECT_LT(ResidentFileKb(), before);
  // Everything still works: code and relocated data are there.
  std::ifstream missing("/no/such/file");
  EXPECT_THROW(missing.exceptions(std::ios::failbit), std::ios::failure);
}

}  // namespace
}  // namespace cachalot::os
