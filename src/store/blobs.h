// Content-addressed blobs on disk: <root>/blobs/<algorithm>/<hex>.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "oci/digest.h"

namespace cachalot::store {

// Receives one blob. Destruction without Commit drops what was written.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  virtual absl::Status Write(absl::string_view bytes) = 0;
  virtual std::int64_t written() const = 0;
  // Makes the blob visible under its digest (which is returned). When `expected` is not empty the content must have it,
  // when `size` is not negative that many bytes: otherwise an error that names both, and nothing is kept.
  virtual absl::StatusOr<oci::Digest> Commit(const oci::Digest& expected = {}, std::int64_t size = -1) = 0;
};

// Writes what of the blob `digest` has arrived. DATA_LOSS as soon as that is more than `size` bytes, if `size` is not negative: a server that
// sends without end must not fill the disk.
absl::Status WriteWithin(std::int64_t size, const oci::Digest& digest, absl::string_view bytes, BlobWriter& writer);

// Keeps a blob from being collected while held.
class BlobPin {
 public:
  virtual ~BlobPin() = default;
};

// Thread-safe. A blob lives while a snapshot's layer names it, a pin holds it, or a history record needs it.
class BlobStore {
 public:
  virtual ~BlobStore() = default;
  virtual absl::StatusOr<std::unique_ptr<BlobWriter>> NewWriter() = 0;
  virtual bool Has(const oci::Digest& digest) = 0;
  // Opens for reading; NOT_FOUND names the digest.
  virtual absl::StatusOr<UniqueFd> Open(const oci::Digest& digest) = 0;
  virtual absl::StatusOr<std::int64_t> Size(const oci::Digest& digest) = 0;
  virtual std::shared_ptr<BlobPin> Pin(const oci::Digest& digest) = 0;
  // A small blob (at most 64 MiB) in memory.
  virtual absl::StatusOr<std::string> Read(const oci::Digest& digest) = 0;
  virtual absl::StatusOr<oci::Digest> Put(absl::string_view bytes) = 0;
  // Remembers that `source` (a repository's full name) has a blob that is here, for as long as it is here.
  virtual absl::Status AddSource(const oci::Digest& digest, const std::string& source) = 0;
  virtual absl::StatusOr<bool> HasSource(const oci::Digest& digest, const std::string& source) = 0;
  struct Listed {
    oci::Digest digest;
    std::int64_t size;
  };
  virtual std::vector<Listed> List() = 0;
};

}  // namespace cachalot::store
