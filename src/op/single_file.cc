#include "op/single_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/attributes.h"
#include "op/tree_writer.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

constexpr int kDefaultPermissions = 0600;
// Its name until it is committed.
constexpr char kUnnamed[] = ".partial";

absl::StatusOr<int> ParseNumber(const std::string& name, const std::string& text) {
  // Decimal, octal ("0644", "0o644") or hexadecimal, as Go's ParseInt with base 0.
  std::string digits = text;
  int base = 10;
  if (absl::StartsWith(digits, "0o")) {
    base = 8, digits = digits.substr(2);
  } else if (absl::StartsWith(digits, "0x")) {
    base = 16, digits = digits.substr(2);
  } else if (digits.size() > 1 && digits[0] == '0') {
    base = 8;
  }
  char* end = nullptr;
  const long value = std::strtol(digits.c_str(), &end, base);
  if (digits.empty() || *end != '\0' || value < 0 || value > 0x7fffffff) return absl::InvalidArgumentError(absl::StrCat("invalid ", name, " ", text));
  return static_cast<int>(value);
}

}  // namespace

absl::StatusOr<bool> ParseFileOption(const std::string& name, const std::string& value, FileOptions& options) {
  if (name == "http.filename") {
    options.filename = SafeFileName(value);
  } else if (name == "http.perm") {
    ASSIGN_OR_RETURN(options.perm, ParseNumber(name, value));
  } else if (name == "http.uid") {
    ASSIGN_OR_RETURN(options.uid, ParseNumber(name, value));
  } else if (name == "http.gid") {
    ASSIGN_OR_RETURN(options.gid, ParseNumber(name, value));
  } else {
    return false;
  }
  return true;
}

std::string SafeFileName(absl::string_view name) {
  const std::string base = BaseName(absl::StripAsciiWhitespace(name));
  const bool control = std::any_of(base.begin(), base.end(), [](unsigned char c) { return absl::ascii_iscntrl(c); });
  return control || base.empty() || base == "." || base == ".." || base == "/" ? "download" : base;
}

absl::StatusOr<std::unique_ptr<SingleFileWriter>> SingleFileWriter::Open(snapshot::Snapshots& snapshots, const std::string& description) {
  snapshot::Label label;
  label.description = description;
  ASSIGN_OR_RETURN(snapshot::SnapshotPtr active, snapshots.Prepare(nullptr, label));
  std::unique_ptr<SingleFileWriter> writer(new SingleFileWriter(snapshots, std::move(active)));
  ASSIGN_OR_RETURN(const std::vector<std::string> layers, snapshots.LayerDirectories(writer->active_));
  ASSIGN_OR_RETURN(writer->directory_, os::OpenDirectory(layers.front()));
  ASSIGN_OR_RETURN(writer->file_, os::OpenBeneath(writer->directory_.get(), kUnnamed, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  return writer;
}

absl::Status SingleFileWriter::Write(absl::string_view bytes) {
  hash_.Update(bytes);
  return os::WriteAll(file_.get(), bytes, "file of a source");
}

absl::Status SingleFileWriter::CopyFrom(int fd) {
  char buffer[1 << 16];
  while (true) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n == 0) return absl::OkStatus();
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError("read");
    RETURN_IF_ERROR(Write(absl::string_view(buffer, static_cast<std::size_t>(n))));
  }
}

absl::StatusOr<snapshot::SnapshotPtr> SingleFileWriter::Commit(const FileOptions& options, absl::Time time) {
  digest_ = oci::Digest::FromSha256Hex(hash_.FinishHex());
  Attributes attributes;
  attributes.uid = static_cast<uid_t>(options.uid);
  attributes.gid = static_cast<gid_t>(options.gid);
  attributes.mode = static_cast<mode_t>(S_IFREG | (options.perm == 0 ? kDefaultPermissions : options.perm));
  attributes.atime = attributes.mtime = TimeOf(absl::ToUnixNanos(time));
  RETURN_IF_ERROR(SetAttributes(file_.get(), "", attributes));
  if (::renameat(directory_.get(), kUnnamed, directory_.get(), options.filename.c_str()) != 0) {
    return ErrnoError(absl::StrCat("rename to ", options.filename));
  }
  file_.reset();
  directory_.reset();
  return snapshots_.Commit(active_);
}

}  // namespace cachalot::op
