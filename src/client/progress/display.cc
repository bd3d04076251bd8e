#include "client/progress/display.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/thread.h"
#include "client/progress/displays.h"

namespace cachalot::client::progress {
namespace {

class FdOutput : public Output {
 public:
  explicit FdOutput(int fd) : fd_(fd) {}

  void Write(absl::string_view text) override {
    while (!text.empty()) {
      const ssize_t written = write(fd_, text.data(), text.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  Size GetSize() const override {
    winsize size{};
    if (ioctl(fd_, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
    return {size.ws_col, size.ws_row};
  }

 private:
  int fd_;
};

class QuietDisplay : public Display {
 public:
  void Update(const Batch&) override {}
  void Refresh() override {}
  void Finish() override {}
};

}  // namespace

std::unique_ptr<Output> NewFdOutput(int fd) { return std::make_unique<FdOutput>(fd); }

absl::StatusOr<Mode> ParseMode(absl::string_view text) {
  if (text.empty() || text == "auto") return Mode::kAuto;
  if (text == "plain") return Mode::kPlain;
  if (text == "tty") return Mode::kTty;
  if (text == "rawjson") return Mode::kRawJson;
  if (text == "quiet" || text == "none") return Mode::kQuiet;
  return absl::InvalidArgumentError(absl::StrCat("invalid progress mode ", text));
}

std::unique_ptr<Display> NewDisplay(Mode mode, Output* output, Clock* clock, Options options) {
  switch (mode) {
    case Mode::kAuto:
    case Mode::kPlain: return NewPlainDisplay(output, clock, std::move(options));
    case Mode::kTty: return NewTtyDisplay(output, clock, std::move(options));
    case Mode::kRawJson: return NewRawJsonDisplay(output);
    case Mode::kQuiet: return std::make_unique<QuietDisplay>();
  }
  return std::make_unique<QuietDisplay>();
}

LiveDisplay::LiveDisplay(std::unique_ptr<Display> display, absl::Duration interval) : interval_(interval), display_(std::move(display)) {
  refresher_ = NewThread([this] { RefreshUntilFinished(); });
}

LiveDisplay::~LiveDisplay() { Finish(); }

void LiveDisplay::RefreshUntilFinished() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!finished_) {
    updated_ = false;
    const bool woken = changed_.wait_for(lock, absl::ToChronoMilliseconds(interval_), [this] { return finished_ || updated_; });
    if (!woken) display_->Refresh();
  }
}

void LiveDisplay::Update(const Batch& batch) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) return;
    display_->Update(batch);
    updated_ = true;
  }
  // An update has just shown what there is: the next refresh counts from here.
  changed_.notify_one();
}

void LiveDisplay::Finish() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) return;
    finished_ = true;
  }
  changed_.notify_one();
  refresher_.join();
  std::lock_guard<std::mutex> lock(mutex_);
  display_->Finish();
}

}  // namespace cachalot::client::progress
