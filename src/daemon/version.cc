#include "daemon/version.h"

namespace cachalot::daemon {

const char kVersion[] = CACHALOT_VERSION;

}  // namespace cachalot::daemon
