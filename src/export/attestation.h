// In-toto statements from the attestations of a result.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "export/exporter.h"
#include "oci/digest.h"

namespace cachalot::exporting {

inline constexpr char kStatementMediaType[] = "application/vnd.in-toto+json";

// Whether there is an attestation that belongs beside the exported files, not only into images.
bool HasOutlineAttestation(const std::vector<Attestation>& attestations);
bool IsInlineOnly(const Attestation& attestation);

// Takes bundles apart: every attestation of the outcome has one predicate. Statements about the core of an SBOM come first.
// Frontends may not claim provenance: that is an INVALID_ARGUMENT.
absl::StatusOr<std::vector<Attestation>> Unbundle(const std::vector<Attestation>& attestations, const Context& context);

// The predicate's JSON (at most 40 MiB); empty when there is none.
absl::StatusOr<std::string> ReadPredicate(const Attestation& attestation, const Context& context);

// What "self" stands for.
struct NamedDigest {
  std::string name;
  oci::Digest digest;
};
// The statement's JSON, indented by `indent` spaces a level.
absl::StatusOr<std::string> MakeStatement(const Attestation& attestation, const std::vector<NamedDigest>& self, int indent, const Context& context);

}  // namespace cachalot::exporting
