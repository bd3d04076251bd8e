// The blob store on a local file system, its index in the metadata database.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/guarded.h"
#include "store/blobs.h"
#include "store/database.h"

namespace cachalot::store {

// Makes `owner` need the blob until DisownBlobs(owner); within the caller's transaction.
absl::Status OwnBlob(Connection& connection, const std::string& owner, const oci::Digest& digest);
absl::Status DisownBlobs(Connection& connection, const std::string& owner);

class LocalBlobs : public BlobStore {
 public:
  // Opens <root>/blobs; `database` (of OpenMetadata) outlives the store. Files without a row and half-written ones are removed.
  static absl::StatusOr<std::unique_ptr<LocalBlobs>> Open(const std::string& root, Database* database);
  ~LocalBlobs() override;

  absl::StatusOr<std::unique_ptr<BlobWriter>> NewWriter() override;
  bool Has(const oci::Digest& digest) override;
  absl::StatusOr<UniqueFd> Open(const oci::Digest& digest) override;
  absl::StatusOr<std::int64_t> Size(const oci::Digest& digest) override;
  std::shared_ptr<BlobPin> Pin(const oci::Digest& digest) override;
  absl::StatusOr<std::string> Read(const oci::Digest& digest) override;
  absl::StatusOr<oci::Digest> Put(absl::string_view bytes) override;
  absl::Status AddSource(const oci::Digest& digest, const std::string& source) override;
  absl::StatusOr<bool> HasSource(const oci::Digest& digest, const std::string& source) override;
  std::vector<Listed> List() override;

  // The size of a blob that is here; unlike Size, this does not count as asking for it.
  std::optional<std::int64_t> Peek(const oci::Digest& digest) const;

  // Deletes the blobs that have no owner, no pin and were not asked for since `asked_since` (of those `dropped`: at any time).
  // Returns the bytes freed.
  absl::StatusOr<std::int64_t> Collect(std::chrono::steady_clock::time_point asked_since, const std::vector<oci::Digest>& dropped = {});
  // The same for those that were not asked for within `grace`.
  absl::StatusOr<std::int64_t> Collect(std::chrono::seconds grace, const std::vector<oci::Digest>& dropped = {}) {
    return Collect(std::chrono::steady_clock::now() - grace, dropped);
  }
  // Gives up what is remembered of blobs that nobody asked for since then.
  void ForgetQuestions(std::chrono::steady_clock::time_point asked_since);

 private:
  static constexpr std::int64_t kUnknownSize = -1;
  // What is going on with a blob, here or not; most have none.
  struct Entry {
    int pins = 0;
    std::int64_t size = kUnknownSize;  // as its row has it
    std::chrono::steady_clock::time_point asked_at;
    bool going = false;  // being deleted: not here any more
  };
  using Index = absl::flat_hash_map<std::string, Entry>;
  class Writer;
  class PinImpl;

  explicit LocalBlobs(std::string root) : root_(std::move(root)) {}
  absl::Status Sweep();
  // What a query for digest and size yields.
  absl::StatusOr<std::vector<Listed>> Select(const char* sql);
  // What the blob's row says; nothing if there is none.
  absl::StatusOr<std::optional<std::int64_t>> RecordedSize(const oci::Digest& digest);
  // Those whose rows were there and are gone.
  absl::StatusOr<std::vector<oci::Digest>> DeleteRows(const std::vector<oci::Digest>& digests, bool even_owned);
  std::string PathOf(const oci::Digest& digest) const;
  absl::Status Publish(const std::string& temporary, const oci::Digest& digest, std::int64_t size);

  const std::string root_;
  Database* database_ = nullptr;
  std::mutex files_mutex_;  // a blob's file and row appear in one step; never held while data is written
  std::shared_ptr<Guarded<Index>> index_ = std::make_shared<Guarded<Index>>();  // shared with the pins, which may outlive the store
};

}  // namespace cachalot::store
