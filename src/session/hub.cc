#include <chrono>
#include <map>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/guarded.h"
#include "base/thread.h"
#include "base/value_of.h"
#include "session/attached.h"
#include "session/session.h"

namespace cachalot::session {
namespace {

// Clients join the id with a prefix that tells vertices of different contexts apart.
absl::string_view WithoutPrefix(absl::string_view id) {
  const std::size_t colon = id.find(':');
  return colon == absl::string_view::npos || colon + 1 == id.size() ? id : id.substr(colon + 1);
}

// How often the health of the sessions is looked at; each is asked at its own interval.
constexpr auto kHealthTick = std::chrono::milliseconds(500);

class Hub : public SessionHub {
 public:
  ~Hub() override {
    *quitting_.Lock() = true;
    quitting_.NotifyAll();
    if (health_.joinable()) {
      health_.join();
    }
  }

  absl::Status Serve(SessionMetadata metadata, ByteStream& stream) override {
    const std::string id = metadata.id;
    const auto attached = std::make_shared<AttachedSession>(std::move(metadata));
    {
      auto sessions = sessions_.Lock();
      (*sessions)[id] = attached;
      if (!health_.joinable()) {
        health_ = NewThread([this] { WatchHealth(); });
      }
    }
    sessions_.NotifyAll();
    const absl::Status status = attached->Run(stream);
    auto sessions = sessions_.Lock();
    // A client that attached again under the same id has replaced this entry.
    if (const auto found = sessions->find(id); found != sessions->end() && found->second == attached) {
      sessions->erase(found);
    }
    return status;
  }

  absl::StatusOr<SessionPtr> Find(const std::string& full_id, absl::Duration patience, const CancelToken& cancel) override {
    const std::string id(WithoutPrefix(full_id));
    const auto wake = cancel.OnCancel([this] {
      { auto lock = sessions_.Lock(); }  // orders the notification after the check of a waiter
      sessions_.NotifyAll();
    });
    const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(std::min(patience, absl::Hours(24)));
    SessionPtr result;
    auto sessions = sessions_.Lock();
    sessions.WaitUntil(deadline, [&](Sessions& all) {
      result = ValueOf(all, id);
      return result != nullptr || cancel.cancelled();
    });
    if (result != nullptr) {
      return result;
    }
    if (cancel.cancelled()) {
      return cancel.status();
    }
    return absl::DeadlineExceededError(absl::StrCat("no active session for ", id, ": context deadline exceeded"));
  }

 private:
  using Sessions = std::map<std::string, std::shared_ptr<AttachedSession>>;

  void WatchHealth() {
    for (;;) {
      const auto now = std::chrono::steady_clock::now();
      std::vector<std::shared_ptr<AttachedSession>> all;
      {
        auto sessions = sessions_.Lock();
        for (const auto& [id, session] : *sessions) {
          all.push_back(session);
        }
      }
      for (const auto& session : all) {
        session->CheckHealth(now);
      }
      all.clear();
      auto quitting = quitting_.Lock();
      if (quitting.WaitUntil(now + kHealthTick, [](bool quit) { return quit; })) {
        return;
      }
    }
  }

  Guarded<Sessions> sessions_;
  Guarded<bool> quitting_{false};
  std::thread health_;  // runs from the first session on
};

}  // namespace

std::unique_ptr<SessionHub> SessionHub::Create() { return std::make_unique<Hub>(); }

}  // namespace cachalot::session
