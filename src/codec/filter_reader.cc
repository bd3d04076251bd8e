#include <archive.h>
#include <archive_entry.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "codec/codecs.h"

namespace cachalot::codec {

namespace {

class FilterReader : public Source {
 public:
  explicit FilterReader(std::unique_ptr<Source> from) : from_(std::move(from)), input_(kBlockSize), archive_(archive_read_new()) {
    // Named one by one: "all" would include filters that start programs.
    archive_read_support_filter_xz(archive_.get());
    archive_read_support_filter_bzip2(archive_.get());
    archive_read_support_format_raw(archive_.get());
  }

  absl::StatusOr<std::size_t> Read(char* buffer, std::size_t size) override {
    if (!opened_) {
      opened_ = true;
      archive_entry* entry = nullptr;
      if (archive_read_open(archive_.get(), this, nullptr, &FilterReader::Next, nullptr) != ARCHIVE_OK) return Error();
      const int code = archive_read_next_header(archive_.get(), &entry);
      if (code == ARCHIVE_EOF) return 0;
      if (code != ARCHIVE_OK) return Error();
    }
    const la_ssize_t n = archive_read_data(archive_.get(), buffer, size);
    if (n < 0) return Error();
    return static_cast<std::size_t>(n);
  }

 private:
  struct Free {
    void operator()(archive* a) const { archive_read_free(a); }
  };

  static la_ssize_t Next(archive* archive, void* self, const void** block) {
    auto* reader = static_cast<FilterReader*>(self);
    const absl::StatusOr<std::size_t> n = reader->from_->Read(reader->input_.data(), reader->input_.size());
    if (!n.ok()) {
      reader->source_error_ = n.status();
      archive_set_error(archive, EIO, "read error");
      return -1;
    }
    *block = reader->input_.data();
    return static_cast<la_ssize_t>(*n);
  }

  absl::Status Error() const {
    if (!source_error_.ok()) return source_error_;
    const char* text = archive_error_string(archive_.get());
    return absl::DataLossError(absl::StrCat("decompress: ", text == nullptr ? "invalid data" : text));
  }

  std::unique_ptr<Source> from_;
  std::vector<char> input_;
  absl::Status source_error_;
  bool opened_ = false;
  std::unique_ptr<archive, Free> archive_;
};

}  // namespace

std::unique_ptr<Source> NewFilterReader(std::unique_ptr<Source> from) { return std::make_unique<FilterReader>(std::move(from)); }

}  // namespace cachalot::codec
