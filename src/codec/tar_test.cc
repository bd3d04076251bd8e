#include "codec/tar.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace cachalot::codec {
namespace {

struct Item {
  TarEntry entry;
  std::string data;
};

std::string Write(const std::vector<Item>& items) {
  StringSink out;
  TarWriter writer(&out);
  for (const Item& item : items) {
    EXPECT_TRUE(writer.Add(item.entry).ok());
    EXPECT_TRUE(writer.Write(item.data).ok());
  }
  EXPECT_TRUE(writer.Finish().ok());
  return out.bytes();
}

absl::StatusOr<std::vector<Item>> Read(absl::string_view bytes) {
  StringSource source(bytes);
  TarReader reader(&source);
  std::vector<Item> items;
  while (true) {
    Item item;
    auto more = reader.Next(&item.entry);
    if (!more.ok()) return more.status();
    if (!*more) return items;
    char buffer[1000];
    while (true) {
      auto n = reader.Read(buffer, sizeof(buffer));
      if (!n.ok()) return n.status();
      if (*n == 0) break;
      item.data.append(buffer, *n);
    }
    items.push_back(item);
  }
}

Item File(std::string path, std::string data) {
  Item item;
  item.entry.path = std::move(path);
  item.entry.mode = 0644;
  item.entry.size = static_cast<std::int64_t>(data.size());
  item.entry.mtime = {1700000000, 0};
  item.data = std::move(data);
  return item;
}

TEST(TarTest, RoundTrip) {
  std::vector<Item> items;
  items.push_back(File("a/plain", "hello"));
  items.push_back(File(absl::StrCat(std::string(90, 'd'), "/", std::string(90, 'f')), std::string(70000, 'z')));
  items.push_back(File(absl::StrCat("d/", std::string(300, 'l')), "long"));
  items.push_back(File("\xC3\xA9t\xC3\xA9", "utf-8"));
  items.push_back(File("bytes-\xFF\xFE", "not utf-8"));
  Item odd = File("odd", "");
  odd.entry.uid = 3000000;
  odd.entry.gid = 4000000000U;
  odd.entry.mode = 06755;
  odd.entry.mtime = {-5, 250000000};
  odd.entry.xattrs = {{"security.capability", std::string("\1\0\0\2=\n", 6)}, {"user.x", ""}};
  odd.entry.user = "someone";
  items.push_back(odd);
  Item link;
  link.entry.type = TarType::kSymlink;
  link.entry.path = "link";
  link.entry.link = std::string(200, 't');
  items.push_back(link);
  Item device;
  device.entry.type = TarType::kCharDevice;
  device.entry.path = "null";
  device.entry.device_major = 1;
  device.entry.device_minor = 3;
  items.push_back(device);
  Item dir;
  dir.entry.type = TarType::kDirectory;
  dir.entry.path = "dir";
  dir.entry.mode = 01777;
  items.push_back(dir);

  auto back = Read(Write(items));
  ASSERT_TRUE(back.ok()) << back.status();
  ASSERT_EQ(back->size(), items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const TarEntry &want = items[i].entry, &got = (*back)[i].entry;
    EXPECT_EQ(got.path, want.path + (want.type == TarType::kDirectory ? "/" : ""));
    EXPECT_EQ(got.link, want.link);
    EXPECT_EQ(got.type, want.type);
    EXPECT_EQ(got.mode, want.mode);
    EXPECT_EQ(got.uid, want.uid);
    EXPECT_EQ(got.gid, want.gid);
    EXPECT_EQ(got.user, want.user);
    EXPECT_EQ(got.mtime.tv_sec, want.mtime.tv_sec);
    EXPECT_EQ(got.mtime.tv_nsec, want.mtime.tv_nsec);
    EXPECT_EQ(got.xattrs, want.xattrs);
    EXPECT_EQ(got.device_major, want.device_major);
    EXPECT_EQ(got.device_minor, want.device_minor);
    EXPECT_EQ((*back)[i].data, items[i].data);
  }
}

TEST(TarTest, PlainEntryIsOneUstarHeader) {
  const std::string bytes = Write({File("a", "x")});
  ASSERT_EQ(bytes.size(), 512U * 4);
  EXPECT_EQ(bytes.substr(100, 8), std::string("0000644\0", 8));
  EXPECT_EQ(bytes.substr(257, 8), std::string("ustar\00000", 8));
}

TEST(TarTest, WriterHoldsToTheSize) {
  StringSink out;
  TarWriter writer(&out);
  ASSERT_TRUE(writer.Add(File("a", "xyz").entry).ok());
  EXPECT_FALSE(writer.Write("xyz!").ok());
  EXPECT_FALSE(writer.Finish().ok());
}

TEST(TarTest, DamageIsReported) {
  const std::string good = Write({File("a", std::string(2000, 'x')), File("b", "y")});
  EXPECT_FALSE(Read(absl::string_view(good).substr(0, 1000)).ok());
  EXPECT_FALSE(Read(absl::string_view(good).substr(0, 600)).ok());
  std::string bad = good;
  bad[0] ^= 1;
  EXPECT_FALSE(Read(bad).ok());
  EXPECT_TRUE(Read(absl::string_view(good).substr(0, good.size() - 1024)).ok()) << "the end marker may be missing";
  EXPECT_TRUE(Read("")->empty());
}

TEST(TarTest, NamesHoldNoNullBytes) {
  Item item = File(std::string(200, 'n') + "/" + std::string(200, 'n'), "");
  item.entry.type = TarType::kSymlink;
  item.entry.link = std::string(200, 'l');
  const std::string good = Write({item});
  ASSERT_TRUE(Read(good).ok());
  for (const char* key : {" path=", " linkpath="}) {
    std::string bad = good;
    const std::size_t record = bad.find(key);
    ASSERT_NE(record, std::string::npos);
    bad[record + 20] = '\0';
    EXPECT_FALSE(Read(bad).ok()) << key;
  }
}

// GNU tar makes the forms that our writer does not.
TEST(TarTest, ReadsWhatGnuTarWrites) {
  if (std::system("tar --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "no tar program";
  char dir[] = "/tmp/tar_test.XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  const std::string make = absl::StrCat("cd ", dir,
                                        " && truncate -s 5000000 sparse && printf data | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none && "
                                        "printf end >>sparse && n=$(printf '%0150d' 7) && echo long >$n && ln $n hard");
  ASSERT_EQ(std::system(make.c_str()), 0);
  for (const char* format :
       {"--format=gnu", "--format=pax --sparse-version=0.0", "--format=pax --sparse-version=0.1", "--format=pax --sparse-version=1.0"}) {
    SCOPED_TRACE(format);
    FILE* tar = popen(absl::StrCat("cd ", dir, " && tar c -S ", format, " sparse $(printf '%0150d' 7) hard").c_str(), "r");
    std::string bytes;
    char buffer[4096];
    for (std::size_t n; (n = fread(buffer, 1, sizeof(buffer), tar)) > 0;) bytes.append(buffer, n);
    ASSERT_EQ(pclose(tar), 0);
    EXPECT_LT(bytes.size(), 100000U);
    auto items = Read(bytes);
    ASSERT_TRUE(items.ok()) << items.status();
    ASSERT_EQ(items->size(), 3U);
    EXPECT_EQ((*items)[0].entry.path, "sparse");
    ASSERT_EQ((*items)[0].data.size(), 5000003U);
    EXPECT_EQ((*items)[0].data.substr(3000000, 4), "data");
    EXPECT_EQ((*items)[0].data.substr(5000000), "end");
    EXPECT_EQ((*items)[1].entry.path.size(), 150U);
    EXPECT_EQ((*items)[1].data, "long\n");
    EXPECT_EQ((*items)[2].entry.type, TarType::kHardLink);
    EXPECT_EQ((*items)[2].entry.link, (*items)[1].entry.path);
  }
  std::system(absl::StrCat("rm -rf ", dir).c_str());
}

}  // namespace
}  // namespace cachalot::codec
