#include "espalier/core/signals.h"

#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "espalier/core/error.h"
#include "espalier/core/exit_codes.h"

namespace espalier {
namespace {

constexpr const char* kInterrupted = "interrupted; what is finished is kept, the same command goes on from there";
constexpr suseconds_t kGrace = 500'000;  // microseconds, beside one second: SIGINT has ended the process within two

volatile std::sig_atomic_t interrupted = 0;

// A list that only grows, so that a signal handler may walk along it at any moment; entries are used again. The handler
// reads `start` last of what it needs, the writer sets it last.
struct Mapping {
  std::atomic<const std::byte*> start = nullptr;
  std::atomic<size_t> bytes = 0;
  std::array<char, 512> path = {};
  Mapping* next = nullptr;
};
std::atomic<Mapping*> mappings = nullptr;
std::mutex mapping_mutex;  // of the writers

// write(2) is one of the few functions that a signal handler may call.
void Say(const char* text) {
  if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) return;  // nobody is listening
}

void Interrupt(int) {
  if (interrupted != 0) std::_Exit(kExitInterrupted);  // the second one means now
  interrupted = 1;
  const itimerval grace = {{}, {1, kGrace}};
  ::setitimer(ITIMER_REAL, &grace, nullptr);
}

void EndOfGrace(int) {
  Say("\nespalier: ");
  Say(kInterrupted);
  Say("\n");
  std::_Exit(kExitInterrupted);
}

void BusError(int signal, siginfo_t* info, void*) {
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  for (const Mapping* mapping = mappings.load(); mapping != nullptr; mapping = mapping->next) {
    const std::byte* start = mapping->start.load();
    if (start == nullptr || address < start || address >= start + mapping->bytes.load()) continue;
    Say("\nespalier: ");
    Say(mapping->path.data());
    Say(": became shorter while it was read; restore the file and run the same command again\n");
    std::_Exit(kExitUsage);
  }
  std::signal(signal, SIG_DFL);  // not one of ours: the instruction runs again and ends the process as usual
}

void Handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigaction(signal, &action, nullptr);
}

}  // namespace

void CatchSignals() {
  Handle(SIGINT, Interrupt);
  Handle(SIGTERM, Interrupt);
  Handle(SIGALRM, EndOfGrace);
  struct sigaction action {};
  action.sa_sigaction = BusError;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

void CheckInterrupt() {
  if (interrupted != 0) throw Interrupted(kInterrupted);
}

void GuardMapping(const void* start, size_t bytes, const std::string& path) {
  const std::lock_guard lock(mapping_mutex);
  Mapping* free = mappings.load();
  while (free != nullptr && free->start.load() != nullptr) free = free->next;
  if (free == nullptr) {
    free = new Mapping;  // kept for ever: the handler may be looking at it
    free->next = mappings.load();
    mappings.store(free);
  }
  path.copy(free->path.data(), free->path.size() - 1);
  free->path[std::min(path.size(), free->path.size() - 1)] = '\0';
  free->bytes.store(bytes);
  free->start.store(static_cast<const std::byte*>(start));
}

void ForgetMapping(const void* start) {
  const std::lock_guard lock(mapping_mutex);
  for (Mapping* mapping = mappings.load(); mapping != nullptr; mapping = mapping->next)
    if (mapping->start.load() == start) mapping->start.store(nullptr);
}

}  // namespace espalier
