// Feeds arbitrary bytes to the tar reader: it must neither crash nor take more memory than its bounds allow.
#include <cstddef>
#include <cstdint>

#include "codec/compression.h"
#include "codec/tar.h"

using cachalot::codec::StringSource;
using cachalot::codec::TarEntry;
using cachalot::codec::TarReader;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  StringSource source(absl::string_view(reinterpret_cast<const char*>(data), size));
  TarReader reader(&source);
  TarEntry entry;
  char buffer[4096];
  for (auto more = reader.Next(&entry); more.ok() && *more; more = reader.Next(&entry)) {
    std::int64_t offset = 0;
    for (auto n = reader.ReadData(buffer, sizeof(buffer), &offset); n.ok() && *n > 0;) n = reader.ReadData(buffer, sizeof(buffer), &offset);
  }
  return 0;
}
