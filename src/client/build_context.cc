#include "client/build_context.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "client/image_layout.h"
#include "oci/digest.h"
#include "oci/reference.h"
#include "os/file.h"

namespace cachalot::client {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kTarBlock = 512;
constexpr std::size_t kTarMagicOffset = 257;
constexpr std::size_t kMaxDockerfileBytes = 16 << 20;
constexpr std::size_t kReadChunk = 1 << 16;
constexpr absl::string_view kLayoutScheme = "oci-layout://";

// Appends what comes next; false at the end.
absl::StatusOr<bool> ReadSome(int fd, std::string& text, std::size_t count) {
  const std::size_t before = text.size();
  text.resize(before + count);
  ssize_t got = 0;
  do {
    got = read(fd, text.data() + before, count);
  } while (got < 0 && errno == EINTR);
  text.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0) {
    return ErrnoError("reading stdin");
  }
  return got > 0;
}

absl::StatusOr<std::string> ReadAtLeast(int fd, std::size_t count) {
  std::string text;
  while (text.size() < count) {
    ASSIGN_OR_RETURN(const bool more, ReadSome(fd, text, count - text.size()));
    if (!more) break;
  }
  return text;
}

absl::StatusOr<std::string> ReadDockerfile(int fd, std::string beginning) {
  while (true) {
    ASSIGN_OR_RETURN(const bool more, ReadSome(fd, beginning, kReadChunk));
    if (!more) return beginning;
    if (beginning.size() > kMaxDockerfileBytes) {
      return absl::InvalidArgumentError("the Dockerfile on stdin is larger than 16 MiB");
    }
  }
}

// Offers a Dockerfile that came over stdin as a directory.
absl::Status OfferDockerfile(const std::string& text, BuildContext& context) {
  ASSIGN_OR_RETURN(TemporaryDirectory directory, TemporaryDirectory::Create());
  const std::string path = directory.path() + "/Dockerfile";
  ASSIGN_OR_RETURN(const UniqueFd file, os::Open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  RETURN_IF_ERROR(os::WriteAll(file.get(), text, path));
  context.directories["dockerfile"] = directory.path();
  context.attrs["filename"] = "Dockerfile";
  context.temporary.push_back(std::move(directory));
  return absl::OkStatus();
}

absl::Status OpenStdin(const BuildOptions& options, int stdin_fd, BuildContext& context) {
  if (options.dockerfile == "-") {
    return absl::InvalidArgumentError("invalid argument: can't use stdin for both build context and dockerfile");
  }
  ASSIGN_OR_RETURN(std::string beginning, ReadAtLeast(stdin_fd, kTarBlock));
  if (absl::StartsWith(beginning, "\x28\xb5\x2f\xfd")) {
    return absl::InvalidArgumentError("the context on stdin is compressed with zstd, which the build does not unpack: use gzip, bzip2 or xz");
  }
  if (LooksLikeArchive(beginning)) {
    if (!options.dockerfile.empty()) context.attrs["filename"] = options.dockerfile;
    context.upload = [stdin_fd, beginning = std::move(beginning)](std::string& chunk) mutable -> absl::StatusOr<bool> {
      chunk = std::exchange(beginning, "");
      return chunk.empty() ? ReadSome(stdin_fd, chunk, kReadChunk) : true;
    };
    return absl::OkStatus();
  }
  if (!options.dockerfile.empty()) {
    return absl::InvalidArgumentError("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles");
  }
  ASSIGN_OR_RETURN(const std::string text, ReadDockerfile(stdin_fd, std::move(beginning)));
  if (text.empty()) {
    return absl::InvalidArgumentError("stdin is empty: neither a Dockerfile nor an archive");
  }
  RETURN_IF_ERROR(OfferDockerfile(text, context));
  ASSIGN_OR_RETURN(TemporaryDirectory empty, TemporaryDirectory::Create());
  context.directories["context"] = empty.path();
  context.temporary.push_back(std::move(empty));
  return absl::OkStatus();
}

absl::Status OpenDirectory(const BuildOptions& options, int stdin_fd, BuildContext& context) {
  std::error_code error;
  const fs::path directory = fs::canonical(options.context, error);
  if (error) {
    return absl::NotFoundError(absl::StrCat("unable to prepare context: path \"", options.context, "\" not found"));
  }
  if (!fs::is_directory(directory, error)) {
    return absl::InvalidArgumentError(absl::StrCat("unable to prepare context: \"", options.context, "\" is not a directory"));
  }
  context.directories["context"] = directory.string();
  // Builds of one directory find again what the daemon has of it.
  context.shared_key = oci::Digest::Of(absl::StrCat("context of cachalot build\n", directory.string())).str();
  if (options.dockerfile == "-") {
    ASSIGN_OR_RETURN(const std::string text, ReadDockerfile(stdin_fd, ""));
    return OfferDockerfile(text, context);
  }
  if (IsRemoteContext(options.dockerfile)) {
    return absl::UnimplementedError("a Dockerfile from a URL is only possible as the context itself");
  }
  fs::path dockerfile = options.dockerfile.empty() ? directory / "Dockerfile" : fs::absolute(options.dockerfile, error);
  if (options.dockerfile.empty() && !fs::exists(dockerfile, error) && fs::exists(directory / "dockerfile", error)) {
    dockerfile = directory / "dockerfile";
  }
  if (!fs::exists(dockerfile, error)) {
    return absl::NotFoundError(
        absl::StrCat("failed to read dockerfile: open ", dockerfile.filename().string(), ": no such file or directory (", dockerfile.string(), ")"));
  }
  context.directories["dockerfile"] = dockerfile.parent_path().string();
  context.attrs["filename"] = dockerfile.filename().string();
  return absl::OkStatus();
}

// DIRECTORY[:TAG][@DIGEST] of an image layout.
absl::Status AddLayout(const std::string& name, const std::string& place, BuildContext& context) {
  const std::pair<std::string, std::string> at = absl::StrSplit(place, absl::MaxSplits('@', 1));
  const std::pair<std::string, std::string> colon = absl::StrSplit(at.first, absl::MaxSplits(':', 1));
  std::string digest = at.second;
  if (digest.empty()) {
    const absl::StatusOr<oci::Descriptor> found = FindInLayout(colon.first, colon.second);
    if (!found.ok()) return Annotate(found.status(), absl::StrCat("failed to get build context ", name));
    digest = found->digest.str();
  }
  const std::string id = RandomId();
  context.layouts[absl::StrCat("oci:", id)] = colon.first;
  context.attrs[absl::StrCat("context:", name)] = absl::StrCat(kLayoutScheme, id, ":", colon.second.empty() ? "latest" : colon.second, "@", digest);
  return absl::OkStatus();
}

// --build-context NAME=PATH, docker-image://.., URL, oci-layout://..
absl::Status AddNamedContext(const std::string& text, BuildContext& context) {
  const std::size_t equal = text.find('=');
  if (equal == std::string::npos || equal == 0) {
    return absl::InvalidArgumentError(absl::StrCat("invalid context value: ", text, ", expected key=value"));
  }
  // As the frontend looks for it.
  const absl::StatusOr<oci::Reference> reference = oci::Reference::ParseNormalized(text.substr(0, equal));
  if (!reference.ok()) return Annotate(reference.status(), absl::StrCat("invalid context name ", text.substr(0, equal)));
  const std::string name(absl::StripSuffix(reference->familiar(), ":latest"));
  const std::string value = text.substr(equal + 1);
  if (IsRemoteContext(value) || absl::StrContains(value, "://")) {
    if (absl::StartsWith(value, kLayoutScheme)) return AddLayout(name, value.substr(kLayoutScheme.size()), context);
    context.attrs[absl::StrCat("context:", name)] = value;
    return absl::OkStatus();
  }
  std::error_code error;
  const fs::path directory = fs::canonical(value, error);
  if (error || !fs::is_directory(directory, error)) {
    return absl::NotFoundError(absl::StrCat("failed to get build context ", name, ": \"", value, "\" is not a directory"));
  }
  context.directories[name] = directory.string();
  context.attrs[absl::StrCat("context:", name)] = absl::StrCat("local:", name);
  return absl::OkStatus();
}

}  // namespace

bool IsRemoteContext(absl::string_view text) {
  for (const char* prefix : {"http://", "https://", "git://", "ssh://", "git@", "github.com/"}) {
    if (absl::StartsWith(text, prefix)) return true;
  }
  return false;
}

bool LooksLikeArchive(absl::string_view beginning) {
  for (const absl::string_view magic : {absl::string_view("\x1f\x8b\x08", 3), absl::string_view("BZh", 3),
                                        absl::string_view("\xfd"
                                                          "7zXZ\0",
                                                          6)}) {
    if (absl::StartsWith(beginning, magic)) return true;
  }
  if (beginning.size() < kTarBlock) {
    return false;
  }
  // Archives without ustar's mark are told by an octal checksum field, which no Dockerfile has there.
  if (beginning.substr(kTarMagicOffset, 5) == "ustar") {
    return true;
  }
  const absl::string_view checksum = beginning.substr(148, 6);
  return beginning[0] != '\0' && checksum.find_first_not_of(" 01234567") == absl::string_view::npos &&
         checksum.find_first_of("01234567") != absl::string_view::npos && beginning.find('\0') != absl::string_view::npos;
}

absl::StatusOr<BuildContext> OpenContext(const BuildOptions& options, int stdin_fd) {
  BuildContext context;
  if (options.context == "-") {
    RETURN_IF_ERROR(OpenStdin(options, stdin_fd, context));
  } else if (IsRemoteContext(options.context)) {
    context.attrs["context"] = options.context;
    if (options.dockerfile == "-") {
      ASSIGN_OR_RETURN(const std::string text, ReadDockerfile(stdin_fd, ""));
      RETURN_IF_ERROR(OfferDockerfile(text, context));
      context.attrs["dockerfilekey"] = "dockerfile";
    } else if (!options.dockerfile.empty()) {
      context.attrs["filename"] = options.dockerfile;
    }
  } else {
    RETURN_IF_ERROR(OpenDirectory(options, stdin_fd, context));
  }
  for (const std::string& named : options.build_contexts) {
    RETURN_IF_ERROR(AddNamedContext(named, context));
  }
  return context;
}

}  // namespace cachalot::client
