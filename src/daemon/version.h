// The names and numbers that the program gives of itself.
#pragma once

namespace cachalot::daemon {

extern const char kVersion[];  // of this program: 0.1.0
inline constexpr char kPackage[] = "cachalot";
// The release of BuildKit whose protocol is spoken: clients switch features by it.
inline constexpr char kProtocolVersion[] = "v0.32.0";

}  // namespace cachalot::daemon
