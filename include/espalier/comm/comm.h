#pragma once
// Processes that work on one run together. Every function here is called by all ranks in the same order.
#include <ATen/core/Tensor.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "espalier/comm/launch.h"

namespace espalier {

// An exchange under way. The tensor it was started with is neither read nor written before Wait returns.
class Transfer {
 public:
  virtual ~Transfer() = default;
  virtual void Wait() = 0;
};

// Exchanges throw IoError, one line naming this rank and the exchange, when another process ended or did not answer
// within the timeout; the group is of no use after that. Tensors are contiguous, of the same shape and dtype on every
// rank.
class Comm {
 public:
  virtual ~Comm() = default;
  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;
  bool Leads() const { return rank() == 0; }  // the one rank that writes files

  // Replaces the tensor by its sum over ranks.
  virtual std::unique_ptr<Transfer> StartAllReduce(const at::Tensor& tensor) = 0;
  void AllReduce(const at::Tensor& tensor) { StartAllReduce(tensor)->Wait(); }
  // Replaces the tensor by that of rank `root`.
  virtual void Broadcast(const at::Tensor& tensor, int64_t root) = 0;
  // Returns when every rank has called it.
  virtual void Barrier() = 0;

  // Small host data of every rank, by rank; lengths may differ.
  std::vector<std::string> Gather(const std::string& own);
  // RecipeError naming two ranks and what each has, on every rank, when ranks do not have the same: "recipe", a hash.
  void RequireSame(const std::string& what, const std::string& own);
};

// Whether this build knows more than one process: it was configured with Gloo's headers.
bool ManyProcesses();

// One process: every exchange is nothing.
std::unique_ptr<Comm> SingleProcess();

// The variable ESPALIER_COMM_TIMEOUT, seconds; 60 where it is not set. RecipeError when it is no positive number.
std::chrono::seconds CommTimeout(const Variable& variable);

// Meets the other processes: SingleProcess for one, c10d's Gloo (CPU tensors) for more. The network interface is that
// which this host's name resolves to, loopback when the meeting place is, or that of the variable GLOO_SOCKET_IFNAME.
// IoError when not all are there within the timeout; RecipeError when more than one is asked for and this build has no
// Gloo.
std::unique_ptr<Comm> Connect(const Launch& launch, std::chrono::seconds timeout);

}  // namespace espalier
