#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "codec/compression.h"
#include "codec/sha256.h"
#include "codec/stream.h"

namespace cachalot::codec {
namespace {

std::string Sample(std::size_t size) {
  std::mt19937 random(7);
  std::string text;
  while (text.size() < size) absl::StrAppend(&text, "line ", random() % 1000, random() % 3 == 0 ? "\n" : std::string(random() % 40, 'x'));
  text.resize(size);
  return text;
}

std::string Compress(Compression kind, absl::string_view bytes, std::size_t cut, int level = -1, int threads = 0) {
  StringSink out;
  auto compressor = NewCompressor(kind, level, &out, threads);
  EXPECT_TRUE(compressor.ok());
  for (; !bytes.empty(); bytes.remove_prefix(std::min(cut, bytes.size()))) EXPECT_TRUE((*compressor)->Write(bytes.substr(0, cut)).ok());
  EXPECT_TRUE((*compressor)->Finish().ok());
  return out.bytes();
}

absl::StatusOr<std::string> Decompress(absl::string_view bytes) {
  auto source = NewAutoDecompressor(std::make_unique<StringSource>(bytes));
  if (!source.ok()) return source.status();
  auto ahead = NewReadAhead(*std::move(source));
  return ReadAll(*ahead, 64 << 20);
}

TEST(Sha256Test, KnownAnswer) {
  Sha256 hash;
  hash.Update("a");
  hash.Update("bc");
  EXPECT_EQ(hash.FinishHex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hash.FinishHex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

class CompressionTest : public testing::TestWithParam<Compression> {};

TEST_P(CompressionTest, RoundTripsAndIsDeterministic) {
  for (std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{100000}, std::size_t{3 << 20}}) {
    const std::string text = Sample(size);
    const std::string whole = Compress(GetParam(), text, text.size() + 1);
    EXPECT_EQ(whole, Compress(GetParam(), text, 777)) << size;
    if (size == 0 && GetParam() == Compression::kNone) continue;
    auto back = Decompress(whole);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, text);
  }
}

TEST_P(CompressionTest, MembersFollowEachOther) {
  const std::string a = Sample(300000), b = Sample(5);
  auto back = Decompress(absl::StrCat(Compress(GetParam(), a, 4096), Compress(GetParam(), b, 1)));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, a + b);
}

TEST_P(CompressionTest, TruncationAndDamageAreErrors) {
  if (GetParam() == Compression::kNone) return;
  std::string bytes = Compress(GetParam(), Sample(500000), 4096);
  for (std::size_t keep : {bytes.size() - 1, bytes.size() / 2, std::size_t{12}}) {
    EXPECT_FALSE(Decompress(absl::string_view(bytes).substr(0, keep)).ok()) << keep;
  }
  bytes[bytes.size() / 2] ^= 0x55;
  EXPECT_FALSE(Decompress(bytes).ok());
}

INSTANTIATE_TEST_SUITE_P(Kinds, CompressionTest, testing::Values(Compression::kNone, Compression::kGzip, Compression::kZstd));

TEST(CompressionLevelTest, EveryLevelWorks) {
  const std::string text = Sample(400000);
  for (int level = 0; level <= 9; ++level) EXPECT_EQ(*Decompress(Compress(Compression::kGzip, text, 9999, level)), text) << level;
  for (int level : {1, 5, 19, 100}) EXPECT_EQ(*Decompress(Compress(Compression::kZstd, text, 9999, level)), text) << level;
}

// Words of a language: there is something to find for those who look longer.
TEST(CompressionLevelTest, HigherLevelsAreSmaller) {
  std::mt19937 random(11);
  std::vector<std::string> words;
  for (int i = 0; i < 2000; ++i) {
    for (words.emplace_back(); words.back().size() < 2 + random() % 8;) words.back() += static_cast<char>('a' + random() % 26 * random() % 26);
  }
  std::string text;
  while (text.size() < 3 << 19) absl::StrAppend(&text, words[random() % (1 + random() % words.size())], random() % 9 == 0 ? "\n" : " ");
  const auto size = [&](Compression kind, int level) { return Compress(kind, text, 1 << 20, level).size(); };
  for (int level = 0; level < 9; ++level) EXPECT_LE(size(Compression::kGzip, level + 1), size(Compression::kGzip, level)) << level;
  EXPECT_LT(size(Compression::kGzip, 9), size(Compression::kGzip, 1));
  for (const auto& [fast, slow] : {std::pair{1, 3}, {3, 9}, {9, 16}})
    EXPECT_LT(size(Compression::kZstd, slow), size(Compression::kZstd, fast)) << slow;
}

// The size of `bytes` as a gzip of zlib at its default level, which is that of other builders.
std::size_t SizeByZlib(absl::string_view bytes) {
  const std::unique_ptr<archive, int (*)(archive*)> writer(archive_write_new(), archive_write_free);
  EXPECT_EQ(archive_write_add_filter_gzip(writer.get()), ARCHIVE_OK);
  EXPECT_EQ(archive_write_set_format_raw(writer.get()), ARCHIVE_OK);
  std::string out(bytes.size() + 100000, '\0');
  std::size_t size = 0;
  EXPECT_EQ(archive_write_open_memory(writer.get(), out.data(), out.size(), &size), ARCHIVE_OK);
  const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(), archive_entry_free);
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  EXPECT_EQ(archive_write_header(writer.get(), entry.get()), ARCHIVE_OK);
  EXPECT_EQ(archive_write_data(writer.get(), bytes.data(), bytes.size()), static_cast<la_ssize_t>(bytes.size()));
  EXPECT_EQ(archive_write_close(writer.get()), ARCHIVE_OK);
  return size;
}

// Of programs, of text and of both. Go's level 6, which is what counts, is larger than zlib's by 0.3% and more.
TEST(CompressionLevelTest, GzipIsByDefaultNoLargerThanElsewhere) {
  const auto contents = [](const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string program = contents("/proc/self/exe");
  std::string text;
  for (const auto& entry : std::filesystem::directory_iterator("/usr/include")) {
    if (entry.is_regular_file()) text += contents(entry.path());
  }
  ASSERT_GT(program.size(), 1000000U);
  ASSERT_GT(text.size(), 100000U);
  for (const std::string& bytes : {program, text, program.substr(0, 3 << 20) + text})
    EXPECT_LE(Compress(Compression::kGzip, bytes, 1 << 20).size() * 1000, SizeByZlib(bytes) * 1003) << bytes.size();
}

// CACHALOT_CODEC_ROUNDS: how many; CACHALOT_CODEC_SEED: the first (one, if it stands alone).
TEST(CompressionThreadsTest, OutputDoesNotDependOnThreads) {
  const auto number = [](const char* name) {
    unsigned value = 0;
    const char* text = std::getenv(name);
    return text != nullptr && absl::SimpleAtoi(text, &value) ? std::optional<unsigned>(value) : std::nullopt;
  };
  const std::optional<unsigned> first = number("CACHALOT_CODEC_SEED");
  const unsigned rounds = number("CACHALOT_CODEC_ROUNDS").value_or(first.has_value() ? 1 : 8);
  for (unsigned seed = first.value_or(0); seed < first.value_or(0) + rounds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(absl::StrCat("again with CACHALOT_CODEC_SEED=", seed));
    std::mt19937 random(seed);
    const std::size_t near = (random() % 10) << 20;  // where a member of gzip or a job of zstd may end
    std::string bytes = Sample(near + random() % 5 - std::min<std::size_t>(near, 2) + (random() % 2) * (random() % 1000000));
    if (random() % 2 == 0) {
      for (std::size_t i = bytes.size() / 2; i < bytes.size(); ++i) bytes[i] = static_cast<char>(random());
    }
    const std::size_t cut = 1 + random() % (random() % 2 == 0 ? 100000 : 5000000);
    for (const Compression kind : {Compression::kGzip, Compression::kZstd}) {
      const int level = static_cast<int>(random() % 8) - 1;
      const std::string alone = Compress(kind, bytes, cut, level, 1);
      for (const int threads : {2, 4, 8}) EXPECT_TRUE(Compress(kind, bytes, 1 + random() % 3000000, level, threads) == alone) << threads;
      const absl::StatusOr<std::string> back = Decompress(alone);
      ASSERT_TRUE(back.ok()) << back.status();
      EXPECT_TRUE(*back == bytes);
    }
  }
}

// Whoever stops in the middle leaves no thread and no memory behind.
TEST(CompressionThreadsTest, AbandonedEarly) {
  const std::string text = Sample(5 << 20);
  StringSink out;
  for (const Compression kind : {Compression::kGzip, Compression::kZstd}) {
    const auto compressor = NewCompressor(kind, -1, &out, 4);
    EXPECT_TRUE((*compressor)->Write(text).ok());
  }
}

TEST(CompressionThreadsTest, AFailingSinkIsReported) {
  const std::string text = Sample(9 << 20);
  FunctionSink full([](absl::string_view) { return absl::ResourceExhaustedError("no space"); });
  for (const Compression kind : {Compression::kGzip, Compression::kZstd}) {
    const auto compressor = NewCompressor(kind, -1, &full, 4);
    absl::Status status = (*compressor)->Write(text);
    if (status.ok()) status = (*compressor)->Finish();
    EXPECT_EQ(status.message(), "no space");
  }
}

TEST(FilterTest, ReadsXzAndBzip2) {
  // "hello\n" through xz and bzip2.
  const std::string xz = absl::HexStringToBytes(
      "fd377a585a000004e6d6b4460200210116000000742fe5a301000568656c6c6f0a000000a56097f194f6fde000011e06c12fa41d1fb6f37d010000000004595a");
  const std::string bz = absl::HexStringToBytes("425a6839314159265359c1c080e2000001410000100244a00030cd00c3462997177245385090c1c080e2");
  EXPECT_EQ(*Decompress(xz), "hello\n");
  EXPECT_EQ(*Decompress(bz), "hello\n");
  EXPECT_FALSE(Decompress(xz.substr(0, 40)).ok());
  EXPECT_EQ(DetectCompression(xz), Compression::kXz);
  EXPECT_EQ(DetectCompression("BZh91AY"), Compression::kBzip2);
}

TEST(ReadAllTest, Bounds) {
  StringSource ten("0123456789");
  EXPECT_FALSE(ReadAll(ten, 9).ok());
  StringSource again("0123456789");
  EXPECT_EQ(*ReadAll(again, 10), "0123456789");
}

TEST(ReadAheadTest, AbandonedEarly) {
  const std::string text = Sample(8 << 20);
  auto ahead = NewReadAhead(std::make_unique<StringSource>(text));
  char byte;
  EXPECT_EQ(*ahead->Read(&byte, 1), 1U);
}

}  // namespace
}  // namespace cachalot::codec
