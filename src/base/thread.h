// Threads in a system that may have no more of them.
#pragma once

#include <functional>
#include <thread>

namespace cachalot {

// A thread that runs `work`. Where the system has no thread to give (limits of processes), it waits until there is one again: to throw
// would end the program with all its builds.
std::thread NewThread(std::function<void()> work);

}  // namespace cachalot
