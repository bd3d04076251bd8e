#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "codec/tar.h"
#include "codec/tar_format.h"

namespace cachalot::codec {

namespace {

constexpr std::size_t kBufferSize = 64 * 1024;
constexpr std::int64_t kMaxSpecial = 1 << 20;
constexpr std::size_t kMaxSegments = 1 << 20;

absl::Status Malformed(absl::string_view what) { return absl::DataLossError(absl::StrCat("tar: ", what)); }

absl::string_view RawField(const char* block, const TarField& field) { return absl::string_view(block + field.offset, field.size); }

// Up to the first NUL.
absl::string_view TextField(const char* block, const TarField& field) {
  const absl::string_view raw = RawField(block, field);
  return raw.substr(0, raw.find('\0'));
}

// Octal digits in spaces and NULs, or GNU's base-256 with the top bit set.
absl::StatusOr<std::int64_t> ParseNumber(absl::string_view raw) {
  if (!raw.empty() && (raw[0] & 0x80) != 0) {
    const bool negative = (raw[0] & 0x40) != 0;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < raw.size(); ++i) {
      std::uint8_t byte = static_cast<std::uint8_t>(raw[i]) ^ (negative ? 0xFF : 0);
      if (i == 0) byte &= 0x7F;
      if ((value >> 56) != 0) return Malformed("number out of range");
      value = (value << 8) | byte;
    }
    if ((value >> 63) != 0) return Malformed("number out of range");
    return negative ? ~static_cast<std::int64_t>(value) : static_cast<std::int64_t>(value);
  }
  const auto is_blank = [](char c) { return c == ' ' || c == '\0'; };
  while (!raw.empty() && is_blank(raw.front())) raw.remove_prefix(1);
  while (!raw.empty() && is_blank(raw.back())) raw.remove_suffix(1);
  std::int64_t value = 0;
  for (char c : raw.substr(0, raw.find('\0'))) {
    if (c < '0' || c > '7') return Malformed("invalid number in a header");
    if ((value >> 60) != 0) return Malformed("number out of range");
    value = value * 8 + (c - '0');
  }
  return value;
}

absl::StatusOr<std::int64_t> NumberField(const char* block, const TarField& field) { return ParseNumber(RawField(block, field)); }

absl::StatusOr<std::int64_t> ParseDecimal(absl::string_view text, absl::string_view key) {
  std::int64_t value;
  if (!absl::SimpleAtoi(text, &value)) return Malformed(absl::StrCat("invalid ", key, " record"));
  return value;
}

// "seconds[.fraction]", possibly negative.
absl::StatusOr<timespec> ParseTime(absl::string_view text) {
  const std::size_t dot = text.find('.');
  timespec time{};
  ASSIGN_OR_RETURN(time.tv_sec, ParseDecimal(text.substr(0, dot), "time"));
  if (dot == absl::string_view::npos) return time;
  long scale = 100000000;
  for (char c : text.substr(dot + 1)) {
    if (c < '0' || c > '9') return Malformed("invalid time record");
    time.tv_nsec += (c - '0') * scale;
    scale /= 10;
  }
  if (absl::StartsWith(text, "-") && time.tv_nsec > 0 && time.tv_sec > std::numeric_limits<std::int64_t>::min()) {
    time.tv_sec -= 1;
    time.tv_nsec = 1000000000 - time.tv_nsec;
  }
  return time;
}

absl::StatusOr<std::uint32_t> ParseId(std::int64_t value, absl::string_view what) {
  if (value >= 0 && value <= std::numeric_limits<std::uint32_t>::max()) return static_cast<std::uint32_t>(value);
  return absl::OutOfRangeError(absl::StrCat("tar: ", what, " ", value, " out of range"));
}

absl::StatusOr<std::map<std::string, std::string>> ParsePax(absl::string_view body, std::vector<std::int64_t>* sparse_map) {
  std::map<std::string, std::string> records;
  while (!body.empty()) {
    const std::size_t space = body.find(' ');
    std::size_t length;
    if (space > 20 || !absl::SimpleAtoi(body.substr(0, space), &length) || length <= space + 1 || length > body.size() || body[length - 1] != '\n') {
      return Malformed("invalid PAX record");
    }
    const absl::string_view record = body.substr(space + 1, length - space - 2);
    const std::size_t equals = record.find('=');
    if (equals == 0 || equals == absl::string_view::npos) return Malformed("invalid PAX record");
    const absl::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    const bool is_text = key == "path" || key == "linkpath" || key == "uname" || key == "gname" || key == "GNU.sparse.name";
    if (absl::StrContains(is_text ? record : key, '\0')) return Malformed(absl::StrCat("null byte in PAX record ", absl::CEscape(key)));
    if (key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes") {  // format 0.0 repeats the keys
      ASSIGN_OR_RETURN(const std::int64_t number, ParseDecimal(value, key));
      sparse_map->push_back(number);
    } else {
      records[std::string(key)] = std::string(value);
    }
    body.remove_prefix(length);
  }
  return records;
}

std::optional<TarType> TypeOf(char flag, absl::string_view path) {
  switch (flag) {
    case '\0':
    case '0':
    case '7':
    case 'S': return absl::EndsWith(path, "/") && flag != 'S' ? TarType::kDirectory : TarType::kFile;
    case '1': return TarType::kHardLink;
    case '2': return TarType::kSymlink;
    case '3': return TarType::kCharDevice;
    case '4': return TarType::kBlockDevice;
    case '5': return TarType::kDirectory;
    case '6': return TarType::kFifo;
    default: return std::nullopt;
  }
}

}  // namespace

// What the special headers before an entry say about it.
struct TarReader::Pending {
  std::map<std::string, std::string> pax;
  std::vector<std::int64_t> sparse_map;  // alternating offsets and sizes
  std::optional<std::string> path, link;

  std::optional<std::string> Take(const std::string& key) {
    const auto found = pax.find(key);
    if (found == pax.end()) return std::nullopt;
    std::string value = std::move(found->second);
    pax.erase(found);
    return value;
  }
};

TarReader::TarReader(Source* from) : from_(from), buffer_(kBufferSize) {}

absl::StatusOr<std::size_t> TarReader::Take(char* buffer, std::size_t size) {
  if (begin_ == end_) {
    if (size >= kBufferSize) return from_->Read(buffer, size);
    begin_ = end_ = 0;
    ASSIGN_OR_RETURN(end_, from_->Read(buffer_.data(), buffer_.size()));
  }
  const std::size_t n = std::min(size, end_ - begin_);
  std::memcpy(buffer, buffer_.data() + begin_, n);
  begin_ += n;
  return n;
}

absl::Status TarReader::TakeAll(char* buffer, std::size_t size) {
  while (size > 0) {
    ASSIGN_OR_RETURN(const std::size_t n, Take(buffer, size));
    if (n == 0) return Malformed("unexpected end of the archive");
    buffer += n;
    size -= n;
  }
  return absl::OkStatus();
}

absl::Status TarReader::Skip(std::int64_t size) {
  while (size > 0) {
    if (begin_ == end_) {
      begin_ = end_ = 0;
      ASSIGN_OR_RETURN(end_, from_->Read(buffer_.data(), buffer_.size()));
      if (end_ == 0) return Malformed("unexpected end of the archive");
    }
    const std::int64_t n = std::min<std::int64_t>(size, end_ - begin_);
    begin_ += n;
    size -= n;
  }
  return absl::OkStatus();
}

absl::Status TarReader::Drain() {
  begin_ = end_ = 0;
  while (true) {
    ASSIGN_OR_RETURN(const std::size_t n, from_->Read(buffer_.data(), buffer_.size()));
    if (n == 0) return absl::OkStatus();
  }
}

// False at the end: two blocks of zeros, or the source's end where a header would be.
absl::StatusOr<bool> TarReader::ReadHeader(char* block) {
  const auto is_zero = [&] { return std::all_of(block, block + kTarBlock, [](char c) { return c == 0; }); };
  for (int zeros = 0; zeros < 2; ++zeros) {
    ASSIGN_OR_RETURN(const std::size_t n, Take(block, kTarBlock));
    if (n == 0) return false;
    RETURN_IF_ERROR(TakeAll(block + n, kTarBlock - n));
    if (is_zero()) continue;
    if (zeros > 0) return Malformed("data after the end of the archive");
    ASSIGN_OR_RETURN(const std::int64_t expected, NumberField(block, kTarChecksum));
    std::int64_t as_unsigned = 0, as_signed = 0;
    for (std::size_t i = 0; i < kTarBlock; ++i) {
      const bool own = i >= kTarChecksum.offset && i < kTarChecksum.offset + kTarChecksum.size;
      as_unsigned += own ? ' ' : static_cast<unsigned char>(block[i]);
      as_signed += own ? ' ' : static_cast<signed char>(block[i]);
    }
    if (expected != as_unsigned && expected != as_signed) return Malformed("wrong header checksum");
    return true;
  }
  return false;
}

absl::StatusOr<std::string> TarReader::ReadSpecial(std::int64_t size, absl::string_view what) {
  if (size < 0 || size > kMaxSpecial) return Malformed(absl::StrCat(what, " of ", size, " bytes is too long"));
  std::string body(size, '\0');
  RETURN_IF_ERROR(TakeAll(body.data(), body.size()));
  RETURN_IF_ERROR(Skip((kTarBlock - size % kTarBlock) % kTarBlock));
  return body;
}

absl::StatusOr<bool> TarReader::Next(TarEntry* entry) {
  RETURN_IF_ERROR(Skip(stored_left_));
  RETURN_IF_ERROR(Skip(padding_));
  stored_left_ = padding_ = 0;
  segments_.clear();
  Pending pending;
  char block[kTarBlock];
  while (true) {
    ASSIGN_OR_RETURN(const bool more, ReadHeader(block));
    if (!more) return false;
    ASSIGN_OR_RETURN(const std::int64_t size, NumberField(block, kTarSize));
    switch (block[kTarTypeOffset]) {
      case 'x': {
        ASSIGN_OR_RETURN(const std::string body, ReadSpecial(size, "PAX header"));
        ASSIGN_OR_RETURN(pending.pax, ParsePax(body, &pending.sparse_map));
        break;
      }
      case 'g':
      case 'V': RETURN_IF_ERROR(ReadSpecial(size, "global header").status()); break;
      case 'L': {
        ASSIGN_OR_RETURN(const std::string name, ReadSpecial(size, "long name"));
        pending.path = name.c_str();
        break;
      }
      case 'K': {
        ASSIGN_OR_RETURN(const std::string name, ReadSpecial(size, "long link name"));
        pending.link = name.c_str();
        break;
      }
      default: RETURN_IF_ERROR(ParseEntry(block, pending, entry)); return true;
    }
  }
}

absl::Status TarReader::ParseEntry(const char* block, Pending& pending, TarEntry* entry) {
  *entry = TarEntry();
  entry->path = std::string(TextField(block, kTarName));
  // GNU's magic "ustar  " has other things where ustar has the prefix.
  const bool ustar = RawField(block, kTarMagic).substr(0, 6) == absl::string_view("ustar\0", 6);
  if (const absl::string_view prefix = TextField(block, kTarPrefix); ustar && !prefix.empty()) entry->path = absl::StrCat(prefix, "/", entry->path);
  entry->link = std::string(TextField(block, kTarLink));
  entry->user = std::string(TextField(block, kTarUser));
  entry->group = std::string(TextField(block, kTarGroup));
  ASSIGN_OR_RETURN(const std::int64_t mode, NumberField(block, kTarMode));
  entry->mode = static_cast<std::uint32_t>(mode) & 07777;
  ASSIGN_OR_RETURN(std::int64_t uid, NumberField(block, kTarUid));
  ASSIGN_OR_RETURN(std::int64_t gid, NumberField(block, kTarGid));
  ASSIGN_OR_RETURN(entry->mtime.tv_sec, NumberField(block, kTarMtime));
  ASSIGN_OR_RETURN(entry->size, NumberField(block, kTarSize));

  if (pending.path) entry->path = *pending.path;
  if (pending.link) entry->link = *pending.link;
  if (auto path = pending.Take("path")) entry->path = *path;
  if (auto link = pending.Take("linkpath")) entry->link = *link;
  if (auto user = pending.Take("uname")) entry->user = *user;
  if (auto group = pending.Take("gname")) entry->group = *group;
  if (auto text = pending.Take("uid")) {
    ASSIGN_OR_RETURN(uid, ParseDecimal(*text, "uid"));
  }
  if (auto text = pending.Take("gid")) {
    ASSIGN_OR_RETURN(gid, ParseDecimal(*text, "gid"));
  }
  if (auto text = pending.Take("size")) {
    ASSIGN_OR_RETURN(entry->size, ParseDecimal(*text, "size"));
  }
  if (auto text = pending.Take("mtime")) {
    ASSIGN_OR_RETURN(entry->mtime, ParseTime(*text));
  }
  ASSIGN_OR_RETURN(entry->uid, ParseId(uid, "uid"));
  ASSIGN_OR_RETURN(entry->gid, ParseId(gid, "gid"));
  const char flag = block[kTarTypeOffset];
  const std::optional<TarType> type = TypeOf(flag, entry->path);
  if (!type) return Malformed(absl::StrCat("unsupported entry type ", static_cast<int>(flag), " of ", entry->path));
  entry->type = *type;
  if (*type == TarType::kCharDevice || *type == TarType::kBlockDevice) {
    ASSIGN_OR_RETURN(const std::int64_t major, NumberField(block, kTarMajor));
    ASSIGN_OR_RETURN(const std::int64_t minor, NumberField(block, kTarMinor));
    ASSIGN_OR_RETURN(entry->device_major, ParseId(major, "device number"));
    ASSIGN_OR_RETURN(entry->device_minor, ParseId(minor, "device number"));
  }
  RETURN_IF_ERROR(PlanData(block, flag, pending, entry));
  for (auto& [key, value] : pending.pax) {
    if (absl::StartsWith(key, kXattrPrefix)) {
      entry->xattrs[key.substr(kXattrPrefix.size())] = std::move(value);
    } else if (!absl::StartsWith(key, "GNU.sparse.")) {
      entry->pax[key] = std::move(value);
    }
  }
  return absl::OkStatus();
}

// Finds out how many bytes follow in the archive and where in the file they belong.
absl::Status TarReader::PlanData(const char* block, char type, Pending& pending, TarEntry* entry) {
  if (entry->size < 0) return Malformed(absl::StrCat("negative size of ", entry->path));
  // Links and directories may claim a size without having data.
  const bool header_only = entry->type != TarType::kFile;
  stored_left_ = header_only ? 0 : entry->size;
  padding_ = (kTarBlock - stored_left_ % kTarBlock) % kTarBlock;
  position_ = 0;
  segment_ = 0;
  if (header_only) {
    entry->size = size_ = 0;
    return absl::OkStatus();
  }
  segments_.push_back({0, entry->size});
  const std::string major = pending.Take("GNU.sparse.major").value_or("");
  const auto name = pending.Take("GNU.sparse.name");
  auto real_size = pending.Take("GNU.sparse.realsize");
  if (!real_size) real_size = pending.Take("GNU.sparse.size");
  if (type == 'S') {
    RETURN_IF_ERROR(ReadOldSparse(block, entry));
  } else if (real_size) {
    if (name) entry->path = *name;
    ASSIGN_OR_RETURN(entry->size, ParseDecimal(*real_size, "GNU.sparse.size"));
    if (const auto map = pending.Take("GNU.sparse.map")) {
      pending.sparse_map.clear();
      for (absl::string_view part : absl::StrSplit(*map, ',', absl::SkipEmpty())) {
        ASSIGN_OR_RETURN(const std::int64_t number, ParseDecimal(part, "GNU.sparse.map"));
        pending.sparse_map.push_back(number);
      }
    }
    segments_.clear();
    if (pending.sparse_map.size() % 2 != 0) return Malformed("incomplete sparse map");
    for (std::size_t i = 0; i < pending.sparse_map.size(); i += 2) segments_.push_back({pending.sparse_map[i], pending.sparse_map[i + 1]});
    if (major == "1") RETURN_IF_ERROR(ReadSparseOne(entry));
  }
  size_ = entry->size;
  return CheckSegments(*entry);
}

absl::Status TarReader::ReadOldSparse(const char* block, TarEntry* entry) {
  ASSIGN_OR_RETURN(entry->size, NumberField(block, kGnuRealSize));
  segments_.clear();
  char extension[kTarBlock];
  const auto add = [&](const char* at, int count) -> absl::Status {
    for (int i = 0; i < count; ++i, at += 24) {
      if (*at == '\0') break;
      ASSIGN_OR_RETURN(const std::int64_t offset, ParseNumber(absl::string_view(at, 12)));
      ASSIGN_OR_RETURN(const std::int64_t size, ParseNumber(absl::string_view(at + 12, 12)));
      segments_.push_back({offset, size});
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(add(block + kGnuSparseOffset, 4));
  for (bool more = block[kGnuExtendedOffset] != 0; more; more = extension[504] != 0) {
    RETURN_IF_ERROR(TakeAll(extension, sizeof(extension)));
    RETURN_IF_ERROR(add(extension, 21));
    if (segments_.size() > kMaxSegments) return Malformed("sparse map is too long");
  }
  return absl::OkStatus();
}

// PAX sparse format 1.0: the map is decimal lines in front of the data, padded to a block.
absl::Status TarReader::ReadSparseOne(TarEntry* entry) {
  std::string line;
  std::vector<std::int64_t> numbers;
  std::int64_t wanted = -1;
  segments_.clear();
  while (wanted < 0 || static_cast<std::int64_t>(numbers.size()) < 2 * wanted) {
    char block[kTarBlock];
    if (stored_left_ < static_cast<std::int64_t>(kTarBlock)) return Malformed("incomplete sparse map");
    RETURN_IF_ERROR(TakeAll(block, sizeof(block)));
    stored_left_ -= kTarBlock;
    for (char c : block) {
      if (c != '\n') {
        if (c == '\0') break;
        line += c;
        if (line.size() > 20) return Malformed("invalid sparse map");
        continue;
      }
      ASSIGN_OR_RETURN(const std::int64_t number, ParseDecimal(line, "sparse map"));
      line.clear();
      if (wanted < 0) {
        if (number < 0 || number > static_cast<std::int64_t>(kMaxSegments)) return Malformed("sparse map is too long");
        wanted = number;
      } else {
        numbers.push_back(number);
      }
    }
  }
  for (std::int64_t i = 0; i < wanted; ++i) segments_.push_back({numbers[2 * i], numbers[2 * i + 1]});
  return absl::OkStatus();
}

absl::Status TarReader::CheckSegments(const TarEntry& entry) const {
  std::int64_t end = 0, stored = 0;
  for (const Segment& segment : segments_) {
    if (segment.offset < end || segment.size < 0 || segment.size > entry.size || segment.offset > entry.size - segment.size) {
      return Malformed(absl::StrCat("invalid sparse map of ", entry.path));
    }
    end = segment.offset + segment.size;
    stored += segment.size;
  }
  if (stored != stored_left_) return Malformed(absl::StrCat("sparse map of ", entry.path, " does not fit its data"));
  return absl::OkStatus();
}

absl::StatusOr<std::size_t> TarReader::ReadData(char* buffer, std::size_t size, std::int64_t* offset) {
  while (segment_ < segments_.size() && position_ >= segments_[segment_].offset + segments_[segment_].size) ++segment_;
  if (segment_ == segments_.size() || size == 0) return 0;
  const Segment& segment = segments_[segment_];
  position_ = std::max(position_, segment.offset);
  const std::int64_t wanted =
      std::min<std::int64_t>(segment.offset + segment.size - position_, static_cast<std::int64_t>(std::min<std::size_t>(size, 1 << 30)));
  ASSIGN_OR_RETURN(const std::size_t n, Take(buffer, wanted));
  if (n == 0) return Malformed("unexpected end of the archive");
  *offset = position_;
  position_ += static_cast<std::int64_t>(n);
  stored_left_ -= static_cast<std::int64_t>(n);
  return n;
}

absl::StatusOr<std::size_t> TarReader::Read(char* buffer, std::size_t size) {
  while (segment_ < segments_.size() && position_ >= segments_[segment_].offset + segments_[segment_].size) ++segment_;
  const std::int64_t data = segment_ < segments_.size() ? segments_[segment_].offset : size_;
  if (position_ < data) {
    const std::size_t n = std::min<std::uint64_t>(size, data - position_);
    std::memset(buffer, 0, n);
    position_ += static_cast<std::int64_t>(n);
    return n;
  }
  std::int64_t offset;
  return ReadData(buffer, size, &offset);
}

}  // namespace cachalot::codec
