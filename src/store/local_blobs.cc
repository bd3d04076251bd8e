#include "store/local_blobs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "codec/sha256.h"
#include "codec/stream.h"
#include "os/file.h"

namespace cachalot::store {

namespace {

constexpr std::int64_t kMaxInMemory = 64 << 20;
constexpr char kTemporaryDirectory[] = "tmp";
constexpr char kAll[] = "SELECT digest, size FROM blobs";
constexpr char kUnowned[] = "SELECT digest, size FROM blobs WHERE digest NOT IN (SELECT digest FROM blob_owners)";

absl::Status NotHere(const oci::Digest& digest) { return absl::NotFoundError(absl::StrCat("blob ", digest.str(), ": not found")); }

}  // namespace

absl::Status OwnBlob(Connection& connection, const std::string& owner, const oci::Digest& digest) {
  return connection.Run("INSERT OR IGNORE INTO blob_owners (digest, owner) VALUES (?1, ?2)", digest.str(), owner);
}

absl::Status DisownBlobs(Connection& connection, const std::string& owner) {
  return connection.Run("DELETE FROM blob_owners WHERE owner = ?1", owner);
}

class LocalBlobs::Writer : public BlobWriter {
 public:
  Writer(LocalBlobs* store, std::string path, UniqueFd fd) : store_(store), path_(std::move(path)), fd_(std::move(fd)) {}

  ~Writer() override {
    if (!committed_) ::unlink(path_.c_str());
  }

  absl::Status Write(absl::string_view bytes) override {
    hash_.Update(bytes);
    written_ += static_cast<std::int64_t>(bytes.size());
    return codec::WriteFully(fd_.get(), bytes, path_);
  }

  std::int64_t written() const override { return written_; }

  absl::StatusOr<oci::Digest> Commit(const oci::Digest& expected, std::int64_t size) override {
    if (size >= 0 && size != written_) {
      return absl::DataLossError(absl::StrCat("unexpected size of blob ", expected.str(), ": got ", written_, " bytes, expected ", size));
    }
    const oci::Digest digest = oci::Digest::FromSha256Hex(hash_.FinishHex());
    if (!expected.empty() && digest != expected) {
      return absl::DataLossError(absl::StrCat("unexpected digest of a blob: got ", digest.str(), ", expected ", expected.str()));
    }
    fd_.reset();
    RETURN_IF_ERROR(store_->Publish(path_, digest, written_));
    committed_ = true;
    return digest;
  }

 private:
  LocalBlobs* store_;
  std::string path_;
  UniqueFd fd_;
  codec::Sha256 hash_;
  std::int64_t written_ = 0;
  bool committed_ = false;
};

class LocalBlobs::PinImpl : public BlobPin {
 public:
  PinImpl(std::shared_ptr<Guarded<Index>> index, std::string digest) : index_(std::move(index)), digest_(std::move(digest)) {}
  ~PinImpl() override {
    auto index = index_->Lock();
    const auto found = index->find(digest_);
    --found->second.pins;
  }

 private:
  std::shared_ptr<Guarded<Index>> index_;
  std::string digest_;
};

absl::StatusOr<std::unique_ptr<LocalBlobs>> LocalBlobs::Open(const std::string& root, Database* database) {
  std::unique_ptr<LocalBlobs> store(new LocalBlobs(absl::StrCat(root, "/blobs")));
  store->database_ = database;
  RETURN_IF_ERROR(os::MakeDirectories(absl::StrCat(store->root_, "/sha256"), 0700));
  RETURN_IF_ERROR(os::MakeDirectories(absl::StrCat(store->root_, "/", kTemporaryDirectory), 0700));
  RETURN_IF_ERROR(store->Sweep());
  return store;
}

LocalBlobs::~LocalBlobs() = default;

absl::Status LocalBlobs::Sweep() {
  const std::string temporary = absl::StrCat(root_, "/", kTemporaryDirectory);
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> unfinished, os::ListDirectory(temporary));
  for (const os::DirectoryEntry& entry : unfinished) ::unlink(absl::StrCat(temporary, "/", entry.name).c_str());
  const std::string directory = absl::StrCat(root_, "/sha256");
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> files, os::ListDirectory(directory));
  ASSIGN_OR_RETURN(const std::vector<Listed> blobs, Select(kAll));
  absl::flat_hash_set<std::string> known;
  for (const Listed& blob : blobs) known.insert(blob.digest.str());
  std::vector<std::string> unknown;
  for (const os::DirectoryEntry& file : files) {
    if (!known.contains(absl::StrCat("sha256:", file.name))) unknown.push_back(absl::StrCat(directory, "/", file.name));
  }
  if (unknown.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(database_->Sync());  // a row may have been deleted by a process that was killed then
  for (const std::string& path : unknown) ::unlink(path.c_str());
  return absl::OkStatus();
}

std::string LocalBlobs::PathOf(const oci::Digest& digest) const { return absl::StrCat(root_, "/", digest.algorithm(), "/", digest.hex()); }

absl::StatusOr<std::unique_ptr<BlobWriter>> LocalBlobs::NewWriter() {
  std::string path = absl::StrCat(root_, "/", kTemporaryDirectory, "/", RandomId());
  ASSIGN_OR_RETURN(UniqueFd fd, os::Open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  return std::make_unique<Writer>(this, std::move(path), std::move(fd));
}

absl::Status LocalBlobs::Publish(const std::string& temporary, const oci::Digest& digest, std::int64_t size) {
  std::lock_guard lock(files_mutex_);
  index_->Lock().Wait([&](const Index& index) {
    const auto found = index.find(digest.str());
    return found == index.end() || !found->second.going;
  });
  if (Has(digest)) {
    ::unlink(temporary.c_str());
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::optional<std::int64_t> known, RecordedSize(digest));
  if (known.has_value()) {  // its file has been lost or damaged
    RETURN_IF_ERROR(DeleteRows({digest}, /*even_owned=*/true).status());
    RETURN_IF_ERROR(database_->Sync());
  }
  const std::string path = PathOf(digest);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoError(absl::StrCat("rename ", temporary, " to ", path));
  const absl::Status status = database_->Write(
      [&](Connection& connection) { return connection.Run("INSERT OR IGNORE INTO blobs (digest, size) VALUES (?1, ?2)", digest.str(), size); });
  if (!status.ok()) {
    ::unlink(path.c_str());
    return status;
  }
  (*index_->Lock())[digest.str()].size = size;
  return absl::OkStatus();
}

bool LocalBlobs::Has(const oci::Digest& digest) { return Size(digest).ok(); }

absl::StatusOr<std::int64_t> LocalBlobs::Size(const oci::Digest& digest) {
  std::int64_t expected = kUnknownSize;
  {
    // Marked before it is looked for: what was found is spared then.
    auto index = index_->Lock();
    Entry& entry = (*index)[digest.str()];
    entry.asked_at = std::chrono::steady_clock::now();
    expected = entry.size;
  }
  const std::optional<std::int64_t> size = Peek(digest);
  if (!size.has_value()) return NotHere(digest);
  if (expected == kUnknownSize) {
    ASSIGN_OR_RETURN(const std::optional<std::int64_t> recorded, RecordedSize(digest));
    if (!recorded.has_value()) return NotHere(digest);
    expected = (*index_->Lock())[digest.str()].size = *recorded;
  }
  if (*size == expected) return *size;
  LogWarning("blob ", digest.str(), " has ", *size, " bytes instead of ", expected, ": it is not used");
  return NotHere(digest);
}

absl::StatusOr<std::optional<std::int64_t>> LocalBlobs::RecordedSize(const oci::Digest& digest) {
  std::optional<std::int64_t> size;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT size FROM blobs WHERE digest = ?1"));
    query.Bind(digest.str());
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (found) size = query.Int(0);
    return absl::OkStatus();
  }));
  return size;
}

std::optional<std::int64_t> LocalBlobs::Peek(const oci::Digest& digest) const {
  {
    auto index = index_->Lock();
    const auto found = index->find(digest.str());
    if (found != index->end() && found->second.going) return std::nullopt;
  }
  struct stat status;
  if (::stat(PathOf(digest).c_str(), &status) != 0) return std::nullopt;
  return status.st_size;
}

absl::StatusOr<UniqueFd> LocalBlobs::Open(const oci::Digest& digest) {
  if (!Has(digest)) return NotHere(digest);
  absl::StatusOr<UniqueFd> fd = os::Open(PathOf(digest), O_RDONLY);
  if (absl::IsNotFound(fd.status())) return NotHere(digest);
  return fd;
}

std::shared_ptr<BlobPin> LocalBlobs::Pin(const oci::Digest& digest) {
  auto index = index_->Lock();
  ++(*index)[digest.str()].pins;
  return std::make_shared<PinImpl>(index_, digest.str());
}

absl::StatusOr<std::string> LocalBlobs::Read(const oci::Digest& digest) {
  ASSIGN_OR_RETURN(UniqueFd fd, Open(digest));
  return os::ReadAll(fd.get(), kMaxInMemory, digest.str());
}

absl::StatusOr<oci::Digest> LocalBlobs::Put(absl::string_view bytes) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, NewWriter());
  RETURN_IF_ERROR(writer->Write(bytes));
  return writer->Commit();
}

absl::Status LocalBlobs::AddSource(const oci::Digest& digest, const std::string& source) {
  return database_->Write([&](Connection& connection) {
    return connection.Run("INSERT OR IGNORE INTO blob_sources SELECT digest, ?2 FROM blobs WHERE digest = ?1", digest.str(), source);
  });
}

absl::StatusOr<bool> LocalBlobs::HasSource(const oci::Digest& digest, const std::string& source) {
  bool found = false;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare("SELECT 1 FROM blob_sources WHERE digest = ?1 AND source = ?2"));
    query.Bind(digest.str(), source);
    ASSIGN_OR_RETURN(found, query.Step());
    return absl::OkStatus();
  }));
  return found;
}

std::vector<BlobStore::Listed> LocalBlobs::List() {
  absl::StatusOr<std::vector<Listed>> blobs = Select(kAll);
  if (!blobs.ok()) LogWarning("listing the blobs failed: ", blobs.status().message());
  return std::move(blobs).value_or(std::vector<Listed>());
}

absl::StatusOr<std::vector<BlobStore::Listed>> LocalBlobs::Select(const char* sql) {
  std::vector<Listed> blobs;
  RETURN_IF_ERROR(database_->Read([&](Connection& connection) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, connection.Prepare(sql));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, query.Step());
      if (!row) return absl::OkStatus();
      ASSIGN_OR_RETURN(oci::Digest digest, oci::Digest::Parse(query.Text(0)));
      blobs.push_back({std::move(digest), query.Int(1)});
    }
  }));
  return blobs;
}

absl::StatusOr<std::vector<oci::Digest>> LocalBlobs::DeleteRows(const std::vector<oci::Digest>& digests, bool even_owned) {
  std::vector<oci::Digest> deleted;
  if (digests.empty()) return deleted;
  RETURN_IF_ERROR(database_->WriteSetAside([&](Connection& connection) -> absl::Status {
    deleted.clear();
    for (const oci::Digest& digest : digests) {
      RETURN_IF_ERROR(connection.Run(even_owned ? "DELETE FROM blobs WHERE digest = ?1"
                                                : "DELETE FROM blobs WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM blob_owners WHERE digest = ?1)",
                                     digest.str()));
      if (connection.changes() == 0) continue;
      RETURN_IF_ERROR(connection.Run("DELETE FROM blob_sources WHERE digest = ?1", digest.str()));
      deleted.push_back(digest);
    }
    return absl::OkStatus();
  }));
  auto index = index_->Lock();
  for (const oci::Digest& digest : deleted) {
    if (const auto found = index->find(digest.str()); found != index->end()) found->second.size = kUnknownSize;
  }
  return deleted;
}

absl::StatusOr<std::int64_t> LocalBlobs::Collect(std::chrono::steady_clock::time_point asked_since, const std::vector<oci::Digest>& dropped) {
  ASSIGN_OR_RETURN(const std::vector<Listed> unowned, Select(kUnowned));
  const auto spared = [&](const Entry& entry, bool at_once) { return entry.going || entry.pins > 0 || (!at_once && entry.asked_at > asked_since); };
  std::map<oci::Digest, std::int64_t> going;
  {
    auto index = index_->Lock();
    for (const auto& [digest, size] : unowned) {
      const bool at_once = std::find(dropped.begin(), dropped.end(), digest) != dropped.end();
      const auto found = index->find(digest.str());
      if (found != index->end() && spared(found->second, at_once)) continue;
      (*index)[digest.str()].going = true;
      going.emplace(digest, size);
    }
  }
  std::vector<oci::Digest> digests;
  for (const auto& [digest, size] : going) digests.push_back(digest);
  absl::StatusOr<std::vector<oci::Digest>> deleted = DeleteRows(digests, /*even_owned=*/false);
  absl::Status status = deleted.status();
  if (status.ok() && !deleted->empty()) status = database_->Sync();
  std::int64_t freed = 0;
  if (status.ok()) {
    for (const oci::Digest& digest : *deleted) {
      ::unlink(PathOf(digest).c_str());
      freed += going.at(digest);
    }
  }
  for (const oci::Digest& digest : digests) (*index_->Lock())[digest.str()].going = false;
  index_->NotifyAll();
  RETURN_IF_ERROR(status);
  ForgetQuestions(asked_since);
  return freed;
}

void LocalBlobs::ForgetQuestions(std::chrono::steady_clock::time_point asked_since) {
  auto index = index_->Lock();
  absl::erase_if(*index, [&](const auto& entry) { return entry.second.pins == 0 && !entry.second.going && entry.second.asked_at <= asked_since; });
  if (index->size() < index->capacity() / 8) index->rehash(0);
}

}  // namespace cachalot::store
