#include "session/attached.h"

namespace cachalot::session {
namespace {

absl::Status Missing() { return absl::UnimplementedError("sessions are not served yet"); }

class Attached : public AttachedSession {
 public:
  explicit Attached(SessionMetadata metadata) : metadata_(std::move(metadata)) {}
  const std::string& id() const override { return metadata_.id; }
  const std::string& name() const override { return metadata_.name; }
  const std::string& shared_key() const override { return metadata_.shared_key; }
  bool Offers(absl::string_view) const override { return false; }
  CancelToken gone() const override { return gone_.token(); }
  absl::StatusOr<SyncStats> SyncDirectory(const SyncRequest&, const std::string&, const std::function<void(const SyncStats&)>&,
                                          const CancelToken&) override {
    return Missing();
  }
  absl::StatusOr<std::string> Secret(const std::string&, const CancelToken&) override { return Missing(); }
  absl::Status CheckSshAgent(const std::string&, const CancelToken&) override { return Missing(); }
  absl::StatusOr<std::unique_ptr<SshSocket>> ForwardSsh(const std::string&, std::uint32_t, std::uint32_t, std::uint32_t) override {
    return Missing();
  }
  std::shared_ptr<registry::Credentials> credentials() override { return nullptr; }
  absl::StatusOr<std::unique_ptr<ByteSink>> OpenOutputFile(const std::map<std::string, std::string>&, int, const CancelToken&) override {
    return Missing();
  }
  absl::Status SendDirectory(const std::vector<OutputTree>&, int, const std::function<void(std::int64_t)>&, const CancelToken&) override {
    return Missing();
  }
  absl::Status PullUpload(const std::string&, const std::function<absl::Status(absl::string_view)>&, const CancelToken&) override {
    return Missing();
  }
  absl::StatusOr<std::vector<ExporterRequest>> FindExporters(const std::map<std::string, std::string>&, const std::vector<std::string>&,
                                                             const CancelToken&) override {
    return Missing();
  }
  absl::Status FinalizeExport(const std::map<std::string, std::string>&, const CancelToken&) override { return Missing(); }
  absl::StatusOr<std::string> Call(absl::string_view, absl::string_view, absl::Duration, const CancelToken&) override { return Missing(); }
  absl::Status Run(ByteStream&) override { return Missing(); }

 private:
  const SessionMetadata metadata_;
  CancelSource gone_;
};

}  // namespace

std::shared_ptr<AttachedSession> AttachedSession::Create(SessionMetadata metadata) { return std::make_shared<Attached>(std::move(metadata)); }

}  // namespace cachalot::session
