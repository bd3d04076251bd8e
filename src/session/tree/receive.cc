#include "session/tree/receive.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "fsutil/wire.pb.h"
#include "os/file.h"
#include "session/tree/path_order.h"
#include "session/tree/tree_writer.h"

namespace cachalot::session {
namespace {

using fsutil::types::Packet;

constexpr std::uint32_t kMaxEntries = 16 << 20;
constexpr std::size_t kMaxMetadataBytes = 512 << 20;
// Requests on the wire: enough to keep the sender busy, few enough that neither end ever waits for the other to read.
constexpr std::size_t kMaxRequested = 1024;
constexpr auto kReadPatience = std::chrono::microseconds(200);
constexpr auto kProgressInterval = std::chrono::milliseconds(100);

class Receiver {
 public:
  Receiver(RpcStream& stream, const std::string& dest, const ReceiveOptions& options) : stream_(stream), dest_(dest), options_(options) {}

  absl::StatusOr<SyncStats> Run() {
    ASSIGN_OR_RETURN(writer_, TreeWriter::Open(dest_, {.merge = options_.merge, .compare = options_.compare}));
    stream_.set_read_patience(kReadPatience);
    while (!finished_) {
      ASSIGN_OR_RETURN(const auto bytes, stream_.Read());
      if (!bytes.has_value()) {
        return absl::UnavailableError("the file transfer ended early");
      }
      if (!packet_.ParseFromArray(bytes->data(), static_cast<int>(bytes->size()))) {
        return absl::InvalidArgumentError("malformed packet in the file transfer");
      }
      stats_.bytes += static_cast<std::int64_t>(bytes->size());
      RETURN_IF_ERROR(Take());
      ReportProgress(/*last=*/false);
    }
    ReportProgress(/*last=*/true);
    return stats_;
  }

 private:
  absl::Status Take() {
    switch (packet_.type()) {
      case Packet::PACKET_STAT: RETURN_IF_ERROR(packet_.has_stat() ? TakeStat(packet_.mutable_stat()) : TakeEndOfStats()); break;
      case Packet::PACKET_DATA: RETURN_IF_ERROR(TakeData()); break;
      case Packet::PACKET_ERR: return absl::UnknownError(absl::StrCat("error from sender: ", packet_.data()));
      case Packet::PACKET_FIN:
        if (!fin_sent_) {
          return absl::InvalidArgumentError("the sender ended the file transfer early");
        }
        finished_ = true;
        return absl::OkStatus();
      default: return absl::InvalidArgumentError(absl::StrCat("unknown packet type ", packet_.type(), " in the file transfer"));
    }
    return FinishWhenComplete();
  }

  absl::Status TakeStat(Stat* stat) {
    if (stats_ended_ || entries_ == kMaxEntries) {
      return absl::InvalidArgumentError(absl::StrCat("unexpected entry ", stat->path(), " after ", entries_));
    }
    const std::uint32_t id = entries_++;
    RETURN_IF_ERROR(order_.Next(stat->path(), IsDirectory(*stat)));
    if (absl::StrContains(stat->linkname(), '\0'))
      return absl::InvalidArgumentError(absl::StrCat("link ", stat->path(), " to a null byte: invalid argument"));
    if (!options_.metadata_only) {
      return Add(*stat, id);
    }
    if (stat->path() == kMetadataFile) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(AddIfWanted(*stat, id));
    stat->clear_change();  // the list is of what other clients send, too
    return KeepMetadata(*stat);
  }

  absl::Status KeepMetadata(const Stat& stat) {
    const auto size = static_cast<std::uint32_t>(stat.ByteSizeLong());
    if (metadata_.size() + size > kMaxMetadataBytes) {
      return absl::ResourceExhaustedError(absl::StrCat("metadata of the tree is larger than ", kMaxMetadataBytes, " bytes"));
    }
    for (int shift = 0; shift < 32; shift += 8) {
      metadata_ += static_cast<char>(size >> shift);
    }
    stat.AppendToString(&metadata_);
    return absl::OkStatus();
  }

  // Directories are made once something in them is wanted.
  absl::Status AddIfWanted(const Stat& stat, std::uint32_t id) {
    const absl::string_view parent = ParentOf(stat.path());
    while (!parents_.empty() && parents_.back().stat.path() != parent) {
      parents_.pop_back();
    }
    const bool wanted = options_.wanted && options_.wanted(stat.path());
    if (wanted) {
      for (PendingParent& pending : parents_) {
        if (!pending.added) {
          pending.added = true;
          RETURN_IF_ERROR(Add(pending.stat, 0));
        }
      }
      RETURN_IF_ERROR(Add(stat, id));
    }
    if (IsDirectory(stat)) {
      parents_.push_back({stat, wanted});
    }
    return absl::OkStatus();
  }

  absl::Status Add(const Stat& original, std::uint32_t id) {
    const Stat* stat = &original;
    Stat owned;
    if (options_.owner.has_value()) {
      owned = original;
      owned.set_uid(options_.owner->first);
      owned.set_gid(options_.owner->second);
      stat = &owned;
    }
    ASSIGN_OR_RETURN(auto file, writer_->Add(*stat));
    if (file != nullptr) {
      wanted_.emplace_back(id, std::move(file));
      return RequestMore();
    }
    return absl::OkStatus();
  }

  absl::Status RequestMore() {
    Packet request;
    request.set_type(Packet::PACKET_REQ);
    while (!wanted_.empty() && requested_.size() < kMaxRequested) {
      request.set_id(wanted_.front().first);
      requested_.insert(std::move(wanted_.front()));
      wanted_.pop_front();
      RETURN_IF_ERROR(stream_.Write(request.SerializeAsString()));
    }
    return absl::OkStatus();
  }

  absl::Status TakeEndOfStats() {
    if (stats_ended_) {
      return absl::OkStatus();
    }
    stats_ended_ = true;
    return writer_->EndOfEntries();
  }

  absl::Status TakeData() {
    const auto found = requested_.find(packet_.id());
    if (found == requested_.end()) {
      return absl::InvalidArgumentError(absl::StrCat("invalid file request ", packet_.id()));
    }
    const bool last = packet_.data().empty();
    RETURN_IF_ERROR(writer_->WriteData(found->second, packet_.data(), last));
    if (last) {
      requested_.erase(found);
      ++stats_.files;
      return RequestMore();
    }
    return absl::OkStatus();
  }

  absl::Status FinishWhenComplete() {
    if (!stats_ended_ || fin_sent_ || !requested_.empty() || !wanted_.empty()) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(writer_->Finish());
    stats_.changed_directories = writer_->TouchedDirectories();
    if (options_.metadata_only) {
      stats_.changed_directories.emplace_back();
      RETURN_IF_ERROR(WriteMetadata());
    }
    fin_sent_ = true;
    Packet fin;
    fin.set_type(Packet::PACKET_FIN);
    return stream_.Write(fin.SerializeAsString());
  }

  absl::Status WriteMetadata() {
    ASSIGN_OR_RETURN(const UniqueFd root, os::OpenDirectory(dest_));
    RETURN_IF_ERROR(os::RemoveTreeAt(root.get(), kMetadataFile));
    const UniqueFd fd(openat(root.get(), kMetadataFile, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!fd.valid()) {
      return ErrnoError(absl::StrCat("create ", kMetadataFile));
    }
    return os::WriteAll(fd.get(), metadata_, kMetadataFile);
  }

  void ReportProgress(bool last) {
    if (!options_.on_progress || (!last && ++packets_ % 64 != 0)) {
      return;
    }
    const auto now = std::chrono::steady_clock::now();
    if (last || now - reported_ >= kProgressInterval) {
      reported_ = now;
      options_.on_progress(stats_);
    }
  }

  struct PendingParent {
    Stat stat;
    bool added;
  };

  RpcStream& stream_;
  const std::string dest_;
  const ReceiveOptions& options_;
  std::unique_ptr<TreeWriter> writer_;
  PathOrder order_;
  Packet packet_;
  std::uint32_t entries_ = 0;
  std::deque<std::pair<std::uint32_t, std::shared_ptr<NewFile>>> wanted_;  // not yet requested
  absl::flat_hash_map<std::uint32_t, std::shared_ptr<NewFile>> requested_;
  std::vector<PendingParent> parents_;
  std::string metadata_;
  bool stats_ended_ = false, fin_sent_ = false, finished_ = false;
  SyncStats stats_;
  std::uint64_t packets_ = 0;
  std::chrono::steady_clock::time_point reported_;
};

}  // namespace

absl::StatusOr<SyncStats> ReceiveTree(RpcStream& stream, const std::string& dest, const ReceiveOptions& options) {
  auto result = Receiver(stream, dest, options).Run();
  if (!result.ok()) {
    Packet error;
    error.set_type(Packet::PACKET_ERR);
    error.set_data(std::string(result.status().message()));
    stream.Write(error.SerializeAsString()).IgnoreError();  // the call may be over already
  }
  return result;
}

}  // namespace cachalot::session
