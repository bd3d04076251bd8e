#include "base/thread.h"

#include <chrono>
#include <system_error>

#include "base/log.h"

namespace cachalot {

std::thread NewThread(std::function<void()> work) {
  constexpr std::chrono::milliseconds kPause(20);
  for (bool told = false;; told = true) {
    try {
      return std::thread(work);
    } catch (const std::system_error& error) {
      if (!told) LogWarning("no thread can be started, which is tried again: ", error.what());
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace cachalot
