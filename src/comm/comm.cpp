#include "espalier/comm/comm.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "espalier/core/error.h"
#include "gloo.h"

namespace espalier {
namespace {

class Done final : public Transfer {
 public:
  void Wait() override {}
};

class Single final : public Comm {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }
  std::unique_ptr<Transfer> StartAllReduce(const at::Tensor&) override { return std::make_unique<Done>(); }
  void Broadcast(const at::Tensor&, int64_t) override {}
  void Barrier() override {}
};

at::Tensor Bytes(const std::string& text) {  // [bytes] uint8
  const at::Tensor bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  if (!text.empty()) std::memcpy(bytes.data_ptr<uint8_t>(), text.data(), text.size());
  return bytes;
}

}  // namespace

std::vector<std::string> Comm::Gather(const std::string& own) {
  if (size() == 1) return {own};
  const at::Tensor lengths = at::zeros({size()}, at::kLong);
  lengths.data_ptr<int64_t>()[rank()] = static_cast<int64_t>(own.size());
  AllReduce(lengths);
  std::vector<std::string> all;
  for (int64_t root = 0; root < size(); ++root) {
    const int64_t length = lengths.data_ptr<int64_t>()[root];
    const at::Tensor bytes = root == rank() ? Bytes(own) : at::empty({length}, at::kByte);
    if (length > 0) Broadcast(bytes, root);
    all.emplace_back(reinterpret_cast<const char*>(bytes.data_ptr<uint8_t>()), static_cast<size_t>(length));
  }
  return all;
}

void Comm::RequireSame(const std::string& what, const std::string& own) {
  const std::vector<std::string> all = Gather(own);
  for (size_t other = 1; other < all.size(); ++other) {
    if (all[other] == all[0]) continue;
    throw RecipeError(fmt::format("{}: rank 0 has {}, rank {} has {}; start every rank with the same", what, all[0],
                                  other, all[other]));
  }
}

std::unique_ptr<Comm> SingleProcess() {
  return std::make_unique<Single>();
}

std::chrono::seconds CommTimeout(const Variable& variable) {
  constexpr const char* kName = "ESPALIER_COMM_TIMEOUT";
  const char* text = variable(kName);
  if (text == nullptr) return std::chrono::seconds(60);
  constexpr int kMost = 7 * 24 * 3600;  // a week: anything longer is a slip of the hand
  int seconds = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, seconds);
  if (error != std::errc() || rest != end || seconds < 1 || seconds > kMost)
    throw RecipeError(fmt::format("{}: '{}'; expected seconds, a number from 1 to {}", kName, text, kMost));
  return std::chrono::seconds(seconds);
}

std::unique_ptr<Comm> Connect(const Launch& launch, std::chrono::seconds timeout) {
  return launch.size == 1 ? SingleProcess() : ConnectGloo(launch, timeout);
}

}  // namespace espalier
