// The document at the heart of an exported cache: application/vnd.buildkit.cacheconfig.v0 (BuildKit: cache/remotecache/v1).
//
// A record stands for one output of one operation, or for some content. It names what it is by a digest (solver::RecordDigest
// of the operation's digest and the output, or of a content's digest and -1), and how it came to be by links to the records of
// each of its inputs, any of which will do. Records without inputs are where chains begin: sources and contents. Results are
// lists of layers.
//
// How BuildKit's keys and ours meet: our operation and content digests are computed over the same bytes as BuildKit's
// (op/cache_digest.h, snapshot/checksum.h), so their records have the same digests. Keys themselves are not compared: BuildKit's
// exist in one daemon's memory only. A key of ours is walked part by part along the links instead (key_matcher.h), and written
// out as such links (record_graph.h). Hence a cache that either daemon exports hits in the other, wherever an operation's digest
// depends on nothing that only one of them knows (BuildKit's local sources, for example, are keyed by session and match by
// content alone).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "oci/digest.h"

namespace cachalot::remotecache {

inline constexpr absl::string_view kMediaTypeCacheConfig = "application/vnd.buildkit.cacheconfig.v0";

// What else there is to say of a layer, where no manifest does.
struct LayerNote {
  std::string media_type;
  oci::Digest diff_id;
  std::int64_t size = 0;
  absl::Time created_at{};  // absl::InfinitePast() when unknown

  friend bool operator==(const LayerNote&, const LayerNote&) = default;
};

// A layer upon another one; a chain of them is a tree.
struct ConfigLayer {
  oci::Digest blob;
  int parent = -1;  // index of the layer below, -1 for none
  std::optional<LayerNote> note{};

  friend bool operator==(const ConfigLayer&, const ConfigLayer&) = default;
};

struct RecordResult {
  int layer = 0;            // index of the topmost layer
  absl::Time created_at{};  // absl::InfinitePast() when unknown

  friend bool operator==(const RecordResult&, const RecordResult&) = default;
};

// A result whose layers lie in another order than the list of layers has them.
struct ChainedResult {
  std::vector<int> layers;  // indexes, lowest first
  absl::Time created_at{};

  friend bool operator==(const ChainedResult&, const ChainedResult&) = default;
};

struct RecordLink {
  std::string selector;
  int record = 0;  // index of the input's record

  friend bool operator==(const RecordLink&, const RecordLink&) = default;
};

struct Record {
  std::string digest;
  std::vector<std::vector<RecordLink>> inputs;  // the ways to each input; none is empty
  std::vector<RecordResult> results;
  std::vector<ChainedResult> chains;

  friend bool operator==(const Record&, const Record&) = default;
};

struct CacheConfig {
  std::vector<ConfigLayer> layers;
  std::vector<Record> records;

  friend bool operator==(const CacheConfig&, const CacheConfig&) = default;
};

// Parses at most 8 MiB. What it returns holds no index out of range, and neither records nor layers in a loop; an error names
// what is wrong.
absl::StatusOr<CacheConfig> ParseCacheConfig(absl::string_view json);
// An image's inline cache: the records alone, over the image's `layers`, each upon the one before.
absl::StatusOr<CacheConfig> ParseInlineRecords(absl::string_view json, const std::vector<oci::Digest>& layers);

// The bytes that digests are computed over, members in BuildKit's order.
std::string Serialize(const CacheConfig& config);
std::string SerializeRecords(const std::vector<Record>& records);

// The indexes of a layer and all beneath it, lowest first.
std::vector<int> ChainOf(const CacheConfig& config, int layer);

}  // namespace cachalot::remotecache
