// A blob store in memory for tests.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/guarded.h"
#include "store/blobs.h"

namespace cachalot::store {

class MemoryBlobs final : public BlobStore {
 public:
  absl::StatusOr<std::unique_ptr<BlobWriter>> NewWriter() override { return std::make_unique<Writer>(*this); }
  bool Has(const oci::Digest& digest) override { return blobs_.Lock()->count(digest) > 0; }
  absl::StatusOr<UniqueFd> Open(const oci::Digest& digest) override {
    absl::StatusOr<std::string> bytes = Read(digest);
    if (!bytes.ok()) return bytes.status();
    UniqueFd fd(memfd_create("blob", MFD_CLOEXEC));
    if (write(fd.get(), bytes->data(), bytes->size()) != static_cast<ssize_t>(bytes->size())) return absl::InternalError("memfd");
    lseek(fd.get(), 0, SEEK_SET);
    return fd;
  }
  absl::StatusOr<std::int64_t> Size(const oci::Digest& digest) override {
    absl::StatusOr<std::string> bytes = Read(digest);
    if (!bytes.ok()) return bytes.status();
    return static_cast<std::int64_t>(bytes->size());
  }
  std::vector<Listed> List() override {
    std::vector<Listed> listed;
    auto blobs = blobs_.Lock();
    for (const auto& [digest, bytes] : *blobs) listed.push_back({digest, static_cast<std::int64_t>(bytes.size())});
    return listed;
  }
  std::shared_ptr<BlobPin> Pin(const oci::Digest&) override { return nullptr; }
  absl::StatusOr<std::string> Read(const oci::Digest& digest) override {
    auto blobs = blobs_.Lock();
    const auto it = blobs->find(digest);
    if (it == blobs->end()) return absl::NotFoundError(absl::StrCat("blob ", digest.str(), ": not found"));
    return it->second;
  }
  absl::StatusOr<oci::Digest> Put(absl::string_view bytes) override {
    const oci::Digest digest = oci::Digest::Of(bytes);
    (*blobs_.Lock())[digest] = std::string(bytes);
    return digest;
  }
  absl::Status AddSource(const oci::Digest& digest, const std::string& source) override {
    sources_.Lock()->emplace(digest, source);
    return absl::OkStatus();
  }
  absl::StatusOr<bool> HasSource(const oci::Digest& digest, const std::string& source) override {
    return sources_.Lock()->count({digest, source}) > 0;
  }

 private:
  class Writer final : public BlobWriter {
   public:
    explicit Writer(MemoryBlobs& owner) : owner_(owner) {}
    absl::Status Write(absl::string_view bytes) override {
      bytes_.append(bytes.data(), bytes.size());
      return absl::OkStatus();
    }
    std::int64_t written() const override { return static_cast<std::int64_t>(bytes_.size()); }
    absl::StatusOr<oci::Digest> Commit(const oci::Digest& expected, std::int64_t size) override {
      const oci::Digest got = oci::Digest::Of(bytes_);
      if (!expected.empty() && got != expected) {
        return absl::DataLossError(absl::StrCat("unexpected digest ", got.str(), ", expected ", expected.str()));
      }
      if (size >= 0 && size != written()) return absl::DataLossError(absl::StrCat("unexpected size ", written(), ", expected ", size));
      return owner_.Put(bytes_);
    }

   private:
    MemoryBlobs& owner_;
    std::string bytes_;
  };

  Guarded<std::map<oci::Digest, std::string>> blobs_;
  Guarded<std::set<std::pair<oci::Digest, std::string>>> sources_;
};

}  // namespace cachalot::store
