// The digests that stand for operations in cache keys: everything about an operation but what its inputs contain. They are
// computed over the same JSON text as BuildKit's, so that caches can be exchanged (solver/llbsolver/ops), but where that would not tell two
// operations apart that do different things.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "llb/op.h"
#include "oci/platform.h"

namespace cachalot::op {

std::string FileOpDigest(const llb::FileOp& op, int input_count);
std::string ExecOpDigest(const llb::ExecOp& op, const oci::Platform& platform);
std::string MergeOpDigest(const llb::MergeOp& op);
std::string DiffOpDigest(const llb::DiffOp& op);
std::string PassthroughOpDigest(const llb::PassthroughOp& op);

// The digest of a source operation of any scheme that is known by `key`.
std::string SourceOpDigest(const std::string& key);
// Keys of image sources: of an image, by manifest; and of its layers, the chain id of the OCI image specification.
std::string ImageDigest(const std::string& manifest, const oci::Platform& platform);
std::string ChainId(const std::vector<oci::Digest>& diff_ids);

// The sha256 digest of `parts` with zero bytes between them.
std::string DigestOfList(const std::vector<std::string>& parts);

}  // namespace cachalot::op
