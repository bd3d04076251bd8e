// Identifiers that nobody can guess.
#pragma once

#include <string>

namespace cachalot {

// 25 characters of [a-z0-9], at least 125 random bits from the kernel: the shape of BuildKit's ids.
std::string RandomId();

}  // namespace cachalot
