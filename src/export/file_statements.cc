#include "export/file_statements.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/path.h"
#include "base/status_macros.h"
#include "codec/sha256.h"
#include "codec/stream.h"
#include "export/attestation.h"
#include "os/file.h"
#include "tree/path_walk.h"

namespace cachalot::exporting {
namespace {

constexpr int kIndent = 2;

absl::StatusOr<oci::Digest> DigestOf(UniqueFd fd, const std::string& name) {
  codec::FdSource source(std::move(fd), name);
  codec::DigestingSink digest(nullptr);
  RETURN_IF_ERROR(codec::Copy(source, digest).status());
  return oci::Digest::FromSha256Hex(digest.FinishHex());
}

// Adds every regular file below the directory, in the order of names.
absl::Status AddFiles(int dir_fd, const std::string& prefix, const CancelToken& cancel, std::vector<NamedDigest>& out) {
  RETURN_IF_ERROR(cancel.status());
  ASSIGN_OR_RETURN(std::vector<os::DirectoryEntry> entries, os::ListDirectory(dir_fd));
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (const os::DirectoryEntry& entry : entries) {
    const std::string path = absl::StrCat(prefix, entry.name);
    RETURN_IF_ERROR(tree::CheckPathLength("lstat", path));
    ASSIGN_OR_RETURN(const UniqueFd found, os::OpenBeneath(dir_fd, entry.name, O_PATH | O_NOFOLLOW));
    ASSIGN_OR_RETURN(const struct stat status, os::Stat(found.get()));
    if (S_ISDIR(status.st_mode)) {
      ASSIGN_OR_RETURN(const UniqueFd directory, os::OpenBeneath(dir_fd, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      RETURN_IF_ERROR(AddFiles(directory.get(), absl::StrCat(path, "/"), cancel, out));
    } else if (S_ISREG(status.st_mode)) {
      ASSIGN_OR_RETURN(UniqueFd file, os::OpenBeneath(dir_fd, entry.name, O_RDONLY | O_NOFOLLOW));
      ASSIGN_OR_RETURN(oci::Digest digest, DigestOf(std::move(file), path));
      out.push_back({path, std::move(digest)});
    }
  }
  return absl::OkStatus();
}

std::string NameOf(const std::string& prefix, const Attestation& attestation, const std::string& platform) {
  const std::string name = absl::StrCat(prefix, BaseName(attestation.path));
  if (platform.empty()) return name;
  const std::size_t dot = std::min(name.rfind('.'), name.size());
  return absl::StrCat(name.substr(0, dot), ".", absl::StrReplaceAll(platform, {{"/", "_"}}), name.substr(dot));
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> StatementsAboutFiles(const ExportOptions& options, const PlatformResult& result,
                                                                        const std::string& root, const std::string& platform,
                                                                        const Context& context) {
  std::map<std::string, std::string> out;
  std::vector<Attestation> wanted = result.attestations;
  wanted.erase(std::remove_if(wanted.begin(), wanted.end(), IsInlineOnly), wanted.end());
  ASSIGN_OR_RETURN(const std::vector<Attestation> attestations, Unbundle(wanted, context));
  if (attestations.empty()) return out;
  std::vector<NamedDigest> files;
  ASSIGN_OR_RETURN(const UniqueFd directory, os::OpenDirectory(root));
  RETURN_IF_ERROR(AddFiles(directory.get(), "", context.cancel, files));
  for (const Attestation& attestation : attestations) {
    ASSIGN_OR_RETURN(std::string statement, MakeStatement(attestation, files, kIndent, context));
    const std::string name = NameOf(options.attestation_prefix, attestation, platform);
    if (name.find('/') != std::string::npos) return absl::InvalidArgumentError(absl::StrCat("invalid attestation path name ", name));
    if (!out.emplace(name, std::move(statement)).second) return absl::InvalidArgumentError(absl::StrCat("duplicate attestation path name ", name));
  }
  return out;
}

}  // namespace cachalot::exporting
