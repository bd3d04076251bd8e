#include "daemon/history_filter.h"

#include "daemon/timestamps.h"
#include "gtest/gtest.h"

namespace cachalot::daemon {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(100'000);

moby::buildkit::v1::BuildHistoryRecord Record(const std::string& ref) {
  moby::buildkit::v1::BuildHistoryRecord record;
  record.set_ref(ref);
  EncodeTime(kNow - absl::Hours(2), record.mutable_createdat());
  EncodeTime(kNow - absl::Hours(1), record.mutable_completedat());
  (*record.mutable_frontendattrs())["context"] = "https://github.com/a/b.git#main";
  return record;
}

bool Passes(const std::vector<std::string>& filters, const moby::buildkit::v1::BuildHistoryRecord& record) {
  const auto filter = HistoryFilter::Parse(filters, kNow);
  EXPECT_TRUE(filter.ok()) << filter.status();
  return filter.ok() && filter->Matches(record);
}

TEST(HistoryFilter, ComparesFields) {
  auto record = Record("r1");
  EXPECT_TRUE(Passes({}, record));
  EXPECT_TRUE(Passes({"ref==r1"}, record));
  EXPECT_FALSE(Passes({"ref==r2"}, record));
  EXPECT_TRUE(Passes({"ref==r2", "ref==r1"}, record));
  EXPECT_TRUE(Passes({"status==completed,repository==https://github.com/a/b.git"}, record));
  record.mutable_error()->set_message("context canceled: deadline");
  EXPECT_TRUE(Passes({"status==canceled"}, record));
  record.mutable_error()->set_message("exit code 1");
  EXPECT_TRUE(Passes({"status==error"}, record));
  record.clear_completedat();
  EXPECT_TRUE(Passes({"status==running"}, record));
  (*record.mutable_frontendattrs())["vcs:source"] = "mine";
  EXPECT_TRUE(Passes({"repository==mine"}, record));
}

TEST(HistoryFilter, ComparesTimes) {
  auto record = Record("r1");
  EXPECT_TRUE(Passes({"startedAt<90m"}, record));
  EXPECT_FALSE(Passes({"startedAt>90m"}, record));
  EXPECT_TRUE(Passes({"completedAt>=1h,completedAt<=1h"}, record));
  EXPECT_TRUE(Passes({"startedAt>=1970-01-02T01:00:00Z"}, record));
  EXPECT_FALSE(Passes({"startedAt<=1970-01-02T01:00:00Z"}, record));
  EXPECT_TRUE(Passes({"duration>=1h,ref==r1"}, record));
  EXPECT_FALSE(Passes({"duration<30m"}, record));
  record.clear_completedat();
  EXPECT_FALSE(Passes({"completedAt>1h"}, record));
}

TEST(HistoryFilter, RefusesWhatItCannotRead) {
  EXPECT_EQ(HistoryFilter::Parse({"startedAt>yesterday"}, kNow).status().message(), "invalid time yesterday");
  EXPECT_EQ(HistoryFilter::Parse({"duration>long"}, kNow).status().message(), "invalid duration long");
  EXPECT_FALSE(HistoryFilter::Parse({"ref=1"}, kNow).ok());
  EXPECT_FALSE(HistoryFilter::Parse({"\"ref==1"}, kNow).ok());
}

}  // namespace
}  // namespace cachalot::daemon
