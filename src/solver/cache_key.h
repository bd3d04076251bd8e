// What caches know a vertex by: a hash, and the parts that it was made of.
//
// The parts travel beside the hash because other engines hash them in another way: what this daemon imports and exports
// (remotecache/) is matched part by part.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cachalot::solver {

struct CacheKey;
using CacheKeyPtr = std::shared_ptr<const CacheKey>;

// How one input enters a key.
struct KeyInput {
  CacheKeyPtr vertex;  // of the vertex that the input comes from
  int output = 0;      // which of its outputs
  std::string selector;
  bool by_content = false;  // the operation can digest just what it reads
  std::string content;      // RecordDigest of what was read with output -1; empty while it is not known: then `vertex` counts
};

// The key of a vertex. Immutable, shared by those that rest on it.
struct CacheKey {
  CacheKey() = default;
  CacheKey(const CacheKey&) = delete;
  ~CacheKey();  // safe for keys of any depth

  std::string id;  // 64 hex digits
  std::string op_digest;
  std::vector<std::string> other_digests;  // that the same operation is known by elsewhere
  std::vector<KeyInput> inputs;
  bool ephemeral = false;  // means something in this build only
};

// Some of a vertex's key: an input that is not known yet has neither vertex nor content.
struct PartialKey {
  std::string op_digest;
  std::vector<std::string> other_digests;
  std::vector<KeyInput> inputs;
};

// `ephemeral`: what the operation itself says. Inputs that enter by their content do not make a key ephemeral.
CacheKeyPtr NewCacheKey(std::string op_digest, std::vector<std::string> other_digests, std::vector<KeyInput> inputs, bool ephemeral);
// The same key with other contents of its inputs, one each; contents of inputs that do not enter by content are ignored.
CacheKeyPtr WithContents(const CacheKey& key, bool ephemeral, const std::vector<std::string>& contents);
// The name of one output of a vertex.
std::string OutputKey(absl::string_view key_id, int output);

// "sha256:<hex>": what BuildKit's caches know output `output` of an operation by. For content, output -1 of its digest.
std::string RecordDigest(absl::string_view digest, int output);

}  // namespace cachalot::solver
