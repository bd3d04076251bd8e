#include "export/attestation.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "oci/go_json.h"
#include "os/file.h"

namespace cachalot::exporting {
namespace {

constexpr std::size_t kMaxBytes = 40 << 20;
constexpr char kStatementType[] = "https://in-toto.io/Statement/v1";
constexpr absl::string_view kProvenancePrefix = "https://slsa.dev/provenance/";
constexpr absl::string_view kUnnamed = "_";

absl::StatusOr<std::shared_ptr<snapshot::MountedTree>> Mount(const snapshot::SnapshotPtr& tree, const Context& context) {
  RETURN_IF_ERROR(context.snapshots->Materialize(tree, *context.fetcher, context.cancel));
  return context.snapshots->MountTree(tree, /*readonly=*/true);
}

absl::StatusOr<std::string> ReadRegularFile(int root, const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, os::OpenInRoot(root, RootedPath(path), O_RDONLY | O_NONBLOCK));
  ASSIGN_OR_RETURN(const struct stat status, os::Stat(fd.get()));
  if (!S_ISREG(status.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  return os::ReadAll(fd.get(), kMaxBytes, path);
}

absl::Status Check(const Attestation& attestation) {
  if (!attestation.bundle && attestation.path.empty()) return absl::InvalidArgumentError("attestation does not have set path");
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Subject>> ReadSubjects(const oci::Json& statement, const std::string& where) {
  std::vector<Subject> subjects;
  absl::Status status;
  oci::ObjectReader reader(statement, where, status);
  reader.Each("subject", [&](const oci::Json& item, const std::string& place) {
    oci::ObjectReader entry(item, place, status);
    Subject subject{.self = false, .digests = {}, .name = entry.String("name")};
    for (const auto& [algorithm, hex] : entry.StringMap("digest")) {
      absl::StatusOr<oci::Digest> digest = oci::Digest::Parse(absl::StrCat(algorithm, ":", hex));
      if (digest.ok()) {
        subject.digests.push_back(*std::move(digest));
      } else {
        entry.Fail("digest", digest.status().message());
      }
    }
    subjects.push_back(std::move(subject));
  });
  RETURN_IF_ERROR(status);
  return subjects;
}

// One file of a bundle.
absl::StatusOr<Attestation> ReadStatement(const std::string& text, const std::string& path, const Attestation& bundle) {
  const absl::StatusOr<oci::Json> statement = oci::ParseJson(text, path, kMaxBytes);
  if (!statement.ok()) return Annotate(statement.status(), "cannot decode in-toto statement");
  absl::Status status;
  oci::ObjectReader reader(*statement, path, status);
  Attestation out;
  out.metadata = bundle.metadata;
  out.path = path;
  out.predicate_type = reader.String("predicateType");
  RETURN_IF_ERROR(status);
  if (!bundle.predicate_type.empty() && out.predicate_type != bundle.predicate_type) {
    return absl::InvalidArgumentError(
        absl::StrCat("bundle entry ", out.predicate_type, " does not match required predicate type ", bundle.predicate_type));
  }
  if (absl::StartsWith(out.predicate_type, kProvenancePrefix)) {
    return absl::InvalidArgumentError("frontend may not bundle provenance attestations");
  }
  ASSIGN_OR_RETURN(out.subjects, ReadSubjects(*statement, path));
  const oci::Json* predicate = reader.Find("predicate");
  out.content = [predicate = predicate == nullptr ? std::string() : oci::DumpGo(*predicate)] { return predicate; };
  return out;
}

absl::Status AddBundle(const Attestation& bundle, const Context& context, std::vector<Attestation>& out) {
  if (bundle.content != nullptr) return absl::InvalidArgumentError("attestation bundle cannot have callback");
  ASSIGN_OR_RETURN(const std::shared_ptr<snapshot::MountedTree> mount, Mount(bundle.tree, context));
  ASSIGN_OR_RETURN(const UniqueFd root, os::OpenDirectory(mount->path()));
  ASSIGN_OR_RETURN(const UniqueFd directory, os::OpenInRoot(root.get(), RootedPath(bundle.path), O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(std::vector<os::DirectoryEntry> entries, os::ListDirectory(directory.get()));
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (const os::DirectoryEntry& entry : entries) {
    const std::string path = bundle.path.empty() ? entry.name : JoinPath(bundle.path, entry.name);
    ASSIGN_OR_RETURN(const std::string text, ReadRegularFile(root.get(), path));
    ASSIGN_OR_RETURN(Attestation attestation, ReadStatement(text, path, bundle));
    out.push_back(std::move(attestation));
  }
  return absl::OkStatus();
}

bool IsSbomCore(const Attestation& attestation) {
  const auto core = attestation.metadata.find(kAttestationSbomCore);
  return core != attestation.metadata.end() && attestation.path.substr(0, attestation.path.find('.')) == core->second;
}

void AddSubject(const std::string& name, const std::vector<oci::Digest>& digests, oci::Json& subjects) {
  oci::Json digest = oci::Json::object();
  for (const oci::Digest& one : digests) digest[std::string(one.algorithm())] = std::string(one.hex());
  subjects.push_back({{"name", name}, {"digest", std::move(digest)}});
}

oci::Json SubjectsJson(const Attestation& attestation, const std::vector<NamedDigest>& self) {
  oci::Json out = oci::Json::array();
  const std::vector<Subject> subjects = attestation.subjects.empty() ? std::vector<Subject>(1) : attestation.subjects;
  for (const Subject& subject : subjects) {
    if (!subject.self) {
      AddSubject(subject.name.empty() ? std::string(kUnnamed) : subject.name, subject.digests, out);
      continue;
    }
    for (const NamedDigest& thing : self) {
      AddSubject(thing.name, {thing.digest}, out);
      if (!subject.name.empty() && subject.name != kUnnamed) AddSubject(subject.name, {thing.digest}, out);
    }
  }
  return out;
}

}  // namespace

bool IsInlineOnly(const Attestation& attestation) {
  const auto found = attestation.metadata.find(kAttestationInlineOnly);
  return found != attestation.metadata.end() && found->second == "true";
}

bool HasOutlineAttestation(const std::vector<Attestation>& attestations) {
  return std::any_of(attestations.begin(), attestations.end(), [](const Attestation& attestation) { return !IsInlineOnly(attestation); });
}

absl::StatusOr<std::vector<Attestation>> Unbundle(const std::vector<Attestation>& attestations, const Context& context) {
  std::vector<Attestation> out;
  for (const Attestation& attestation : attestations) {
    RETURN_IF_ERROR(Check(attestation));
    if (attestation.bundle) {
      RETURN_IF_ERROR(AddBundle(attestation, context, out));
      continue;
    }
    if (absl::StartsWith(attestation.predicate_type, kProvenancePrefix) && attestation.content == nullptr) {
      return absl::InvalidArgumentError("frontend may not set provenance attestations");
    }
    out.push_back(attestation);
  }
  std::stable_partition(out.begin(), out.end(), IsSbomCore);
  return out;
}

absl::StatusOr<std::string> ReadPredicate(const Attestation& attestation, const Context& context) {
  if (attestation.content != nullptr) return attestation.content();
  ASSIGN_OR_RETURN(const std::shared_ptr<snapshot::MountedTree> mount, Mount(attestation.tree, context));
  ASSIGN_OR_RETURN(const UniqueFd root, os::OpenDirectory(mount->path()));
  absl::StatusOr<std::string> text = ReadRegularFile(root.get(), attestation.path);
  if (!text.ok()) return Annotate(text.status(), "cannot read in-toto attestation");
  return text;
}

absl::StatusOr<std::string> MakeStatement(const Attestation& attestation, const std::vector<NamedDigest>& self, int indent, const Context& context) {
  ASSIGN_OR_RETURN(const std::string text, ReadPredicate(attestation, context));
  oci::Json statement = oci::Json::object();
  statement["_type"] = kStatementType;
  statement["predicateType"] = attestation.predicate_type;
  statement["subject"] = SubjectsJson(attestation, self);
  statement["predicate"] = nullptr;
  if (!text.empty()) {
    ASSIGN_OR_RETURN(statement["predicate"], oci::ParseJson(text, attestation.path, kMaxBytes));
  }
  return oci::DumpGo(statement, indent);
}

}  // namespace cachalot::exporting
