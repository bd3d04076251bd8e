// The fields of a tar header block (POSIX.1-1988 ustar; the GNU tar manual for GNU's); for the tar reader and writer alone.
#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"

namespace cachalot::codec {

inline constexpr std::size_t kTarBlock = 512;

struct TarField {
  std::size_t offset, size;
};
inline constexpr TarField kTarName{0, 100}, kTarMode{100, 8}, kTarUid{108, 8}, kTarGid{116, 8}, kTarSize{124, 12}, kTarMtime{136, 12},
    kTarChecksum{148, 8}, kTarLink{157, 100}, kTarMagic{257, 8}, kTarUser{265, 32}, kTarGroup{297, 32}, kTarMajor{329, 8}, kTarMinor{337, 8},
    kTarPrefix{345, 155};
inline constexpr std::size_t kTarTypeOffset = 156;
// GNU's header instead of the prefix: four sparse segments (offset and size of 12 bytes each), a flag that more follow, the file's size.
inline constexpr std::size_t kGnuSparseOffset = 386, kGnuExtendedOffset = 482;
inline constexpr TarField kGnuRealSize{483, 12};

inline constexpr absl::string_view kXattrPrefix = "SCHILY.xattr.";

}  // namespace cachalot::codec
