#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/path.h"
#include "base/status_macros.h"
#include "codec/tar.h"
#include "codec/tar_format.h"

namespace cachalot::codec {

namespace {

constexpr std::size_t kBufferSize = 64 * 1024;

char TypeFlag(TarType type) {
  switch (type) {
    case TarType::kFile: return '0';
    case TarType::kHardLink: return '1';
    case TarType::kSymlink: return '2';
    case TarType::kCharDevice: return '3';
    case TarType::kBlockDevice: return '4';
    case TarType::kDirectory: return '5';
    case TarType::kFifo: return '6';
  }
  return '0';
}

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::string AsciiOnly(absl::string_view text) {
  std::string out;
  std::copy_if(text.begin(), text.end(), std::back_inserter(out), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  return out;
}

// Fills a header; what does not fit becomes a PAX record.
class HeaderBuilder {
 public:
  void Text(const TarField& field, absl::string_view text, const char* pax_key) {
    if (text.size() > field.size || !IsAscii(text)) records_[pax_key] = std::string(text);
    const std::string fit = AsciiOnly(text).substr(0, field.size);
    std::memcpy(block_ + field.offset, fit.data(), fit.size());
  }

  void Number(const TarField& field, std::int64_t value, const char* pax_key) {
    const std::size_t digits = field.size - 1;
    if (value < 0 || (value >> (3 * digits)) != 0) {
      records_[pax_key] = absl::StrCat(value);
      value = 0;
    }
    const std::string octal = absl::StrFormat("%0*o", static_cast<int>(digits), value);
    std::memcpy(block_ + field.offset, octal.data(), octal.size());
  }

  // Splits a long name at a slash into prefix and name when that is all it takes.
  void Path(const std::string& path) {
    if (path.size() > kTarName.size && path.size() <= kTarPrefix.size + 1 + kTarName.size && IsAscii(path)) {
      const std::size_t slash = path.rfind('/', std::min(path.size() - 2, kTarPrefix.size));
      if (slash != std::string::npos && slash > 0 && path.size() - slash - 1 <= kTarName.size) {
        std::memcpy(block_ + kTarPrefix.offset, path.data(), slash);
        std::memcpy(block_ + kTarName.offset, path.data() + slash + 1, path.size() - slash - 1);
        return;
      }
    }
    Text(kTarName, path, "path");
  }

  void Type(char flag) { block_[kTarTypeOffset] = flag; }
  std::map<std::string, std::string>& records() { return records_; }

  std::string Finish() {
    std::memcpy(block_ + kTarMagic.offset, "ustar\00000", 8);
    std::memset(block_ + kTarChecksum.offset, ' ', kTarChecksum.size);
    unsigned sum = 0;
    for (char c : block_) sum += static_cast<unsigned char>(c);
    const std::string octal = absl::StrFormat("%06o", sum);
    std::memcpy(block_ + kTarChecksum.offset, octal.data(), octal.size());
    block_[kTarChecksum.offset + 6] = '\0';
    return std::string(block_, sizeof(block_));
  }

 private:
  char block_[kTarBlock] = {};
  std::map<std::string, std::string> records_;
};

// "<length> <key>=<value>\n", where the length counts itself.
std::string PaxRecord(const std::string& key, const std::string& value) {
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t length = rest + absl::StrCat(rest).size();
  if (absl::StrCat(length).size() != absl::StrCat(rest).size()) length = rest + absl::StrCat(length).size();
  return absl::StrCat(length, " ", key, "=", value, "\n");
}

std::string PaxTime(const timespec& time) {
  // A negative time with a fraction counts the fraction towards zero in text, upwards in timespec.
  std::int64_t seconds = time.tv_sec;
  long nanos = time.tv_nsec;
  const bool negative = seconds < 0;
  if (negative && nanos > 0) {
    ++seconds;
    nanos = 1000000000 - nanos;
  }
  std::string text = absl::StrFormat("%s%d.%09d", negative ? "-" : "", negative ? -seconds : seconds, nanos);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

std::size_t PaddingOf(std::int64_t size) { return (kTarBlock - size % kTarBlock) % kTarBlock; }

}  // namespace

TarWriter::TarWriter(Sink* to) : to_(to) { buffer_.reserve(kBufferSize); }

absl::Status TarWriter::Add(const TarEntry& entry) {
  RETURN_IF_ERROR(EndEntry());
  const bool has_data = entry.type == TarType::kFile;
  std::string path = entry.path;
  if (entry.type == TarType::kDirectory && !absl::EndsWith(path, "/")) path += '/';

  HeaderBuilder header;
  header.Path(path);
  header.Number(kTarMode, entry.mode, "mode");
  header.Number(kTarUid, entry.uid, "uid");
  header.Number(kTarGid, entry.gid, "gid");
  header.Number(kTarSize, has_data ? entry.size : 0, "size");
  header.Number(kTarMtime, entry.mtime.tv_sec, "mtime");
  if (entry.mtime.tv_nsec != 0) header.records()["mtime"] = PaxTime(entry.mtime);
  header.Type(TypeFlag(entry.type));
  header.Text(kTarLink, entry.link, "linkpath");
  header.Text(kTarUser, entry.user, "uname");
  header.Text(kTarGroup, entry.group, "gname");
  header.Number(kTarMajor, entry.device_major, "SCHILY.devmajor");
  header.Number(kTarMinor, entry.device_minor, "SCHILY.devminor");
  for (const auto& [name, value] : entry.xattrs) header.records()[absl::StrCat(kXattrPrefix, name)] = value;
  for (const auto& [key, value] : entry.pax) header.records()[key] = value;

  if (!header.records().empty()) {
    std::string body;
    for (const auto& [key, value] : header.records()) body += PaxRecord(key, value);
    HeaderBuilder pax;
    const std::string name = AsciiOnly(JoinPath(JoinPath(DirName(CleanPath(path)), "PaxHeaders.0"), BaseName(path)));
    pax.Text(kTarName, absl::string_view(name).substr(0, kTarName.size), "");
    for (const TarField& field : {kTarMode, kTarUid, kTarGid, kTarMtime, kTarMajor, kTarMinor}) pax.Number(field, 0, "");
    pax.Number(kTarSize, static_cast<std::int64_t>(body.size()), "");
    pax.Type('x');
    RETURN_IF_ERROR(Append(pax.Finish()));
    body.append(PaddingOf(body.size()), '\0');
    RETURN_IF_ERROR(Append(body));
  }
  left_ = has_data ? entry.size : 0;
  padding_ = PaddingOf(left_);
  return Append(header.Finish());
}

absl::Status TarWriter::Write(absl::string_view bytes) {
  if (static_cast<std::int64_t>(bytes.size()) > left_) return absl::InternalError("tar: more data than the entry's size");
  left_ -= static_cast<std::int64_t>(bytes.size());
  return Append(bytes);
}

absl::Status TarWriter::Finish() {
  RETURN_IF_ERROR(EndEntry());
  RETURN_IF_ERROR(Append(std::string(2 * kTarBlock, '\0')));
  return Flush();
}

absl::Status TarWriter::EndEntry() {
  if (left_ != 0) return absl::InternalError(absl::StrCat("tar: ", left_, " bytes of the last entry are missing"));
  const std::int64_t padding = std::exchange(padding_, 0);
  return Append(std::string(padding, '\0'));
}

absl::Status TarWriter::Append(absl::string_view bytes) {
  if (buffer_.size() + bytes.size() > kBufferSize) RETURN_IF_ERROR(Flush());
  if (bytes.size() >= kBufferSize) return to_->Write(bytes);
  buffer_.append(bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::Status TarWriter::Flush() {
  if (buffer_.empty()) return absl::OkStatus();
  const absl::Status status = to_->Write(buffer_);
  buffer_.clear();
  return status;
}

}  // namespace cachalot::codec
