#include "os/cgroup.h"

#include <gtest/gtest.h>

namespace cachalot::os {
namespace {

constexpr char kHybrid[] =
    "30 20 0:1 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "31 30 0:2 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:3 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory\n"
    "33 30 0:4 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

TEST(CgroupLayoutTest, TellsTheLayoutsApart) {
  CgroupLayout hybrid = CgroupLayout::Parse(kHybrid, "hugetlb\n");
  EXPECT_EQ(hybrid.kind(), CgroupLayout::Kind::kHybrid);
  EXPECT_TRUE(hybrid.unified_beside_v1());
  EXPECT_EQ(hybrid.ControllerPath("cpuacct"), "/sys/fs/cgroup/cpu");
  EXPECT_EQ(hybrid.ControllerPath("hugetlb"), "");
  EXPECT_EQ(hybrid.roots().size(), 3u);
  EXPECT_FALSE(CgroupLayout::Parse(kHybrid, "\n").unified_beside_v1());

  std::string text = kHybrid;
  CgroupLayout v1 = CgroupLayout::Parse(text.substr(0, text.find("33 30")), "");
  EXPECT_EQ(v1.kind(), CgroupLayout::Kind::kV1);

  CgroupLayout v2 = CgroupLayout::Parse("30 20 0:1 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", "");
  EXPECT_EQ(v2.kind(), CgroupLayout::Kind::kV2);
  EXPECT_FALSE(v2.unified_beside_v1());
  EXPECT_EQ(v2.ControllerPath("memory"), "/sys/fs/cgroup");

  EXPECT_EQ(CgroupLayout::Parse("", "").kind(), CgroupLayout::Kind::kNone);
  EXPECT_EQ(CgroupLayout::Parse("x - y\n1 2 3 - cgroup\n", "").kind(), CgroupLayout::Kind::kNone);
}

TEST(CgroupTest, AbsentGroupIsEmpty) {
  Cgroup group(CgroupLayout::Detect(), "/cachalot-test-absent");
  EXPECT_TRUE(group.Processes().empty());
  EXPECT_TRUE(group.Kill().ok());
  EXPECT_FALSE(group.Usage().has_value());
}

}  // namespace
}  // namespace cachalot::os
