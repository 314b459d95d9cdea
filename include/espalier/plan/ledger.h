#pragma once
// The exact account of a cut: which rows and columns of every layer are left when units of any kinds have gone, and
// what that costs. Plans, cuts and masks are made from it, so that they agree.
#include <array>
#include <set>
#include <string>
#include <vector>

#include "espalier/model/unit_space.h"
#include "espalier/plan/allocator.h"
#include "espalier/plan/cost.h"
#include "espalier/plan/plan.h"

namespace espalier {

struct LedgerOptions {
  std::string measure = "block_parameters";  // what savings are in: one of BudgetMeasures()
  bool compensation_adds_bias = false;       // a w_o or w_down that loses columns gains a bias if it has none
  bool residue_adds_bias = false;            // every w_gate gains one, likewise (residue.h)
  // Width kinds leave so much of a sublayer, or all of it if there was less; whole sublayers and blocks may go.
  int64_t min_kv_groups = 0, min_ffn_channels = 0;
  Timing timing{};  // for the measure that needs it
};

// Besides what the removed units own,
// - a query head none of whose columns of w_o stays goes as a whole: it writes nothing;
// - a KV group that no head reads goes as a whole, and with its last head a block's attention;
// - a removed sublayer leaves its norms and the bias of its output projection.
// The width kinds never take the last rotary pair of a group or the last residual channel.
class Ledger final : public Savings {
 public:
  explicit Ledger(const Model& model, LedgerOptions options = {});

  void Protect(const Unit& unit);  // it stays, and so does what holds it
  bool Stays(const Unit& unit) const;

  std::unique_ptr<Savings> Clone() const override;
  std::optional<int64_t> Of(const Unit& unit) const override;
  void Remove(const Unit& unit) override;
  int64_t Alone(const Unit& unit) const override;

  Cost Total() const;  // of what is left, with the biases that compensation adds
  int64_t Measured() const;

  // What is left, ascending, in the numbering before the cut.
  std::vector<int64_t> Kept(int64_t block, Role role, Axis axis) const;
  std::vector<int64_t> Kept(int64_t block, VectorRole role) const;
  std::vector<int64_t> KeptResidualChannels() const;
  KeptUnits KeptOf(int64_t block, UnitKind kind) const;
  // Writes what is left into the plan's lists: of KV groups, FFN channels and `kinds`.
  void ListKept(const std::vector<UnitKind>& kinds, Plan& plan) const;

 private:
  // Which of a number of things are left.
  struct Marks {
    std::vector<char> left;
    int64_t count = 0;
    explicit Marks(int64_t size = 0) : left(static_cast<size_t>(size), 1), count(size) {}
    int64_t size() const { return static_cast<int64_t>(left.size()); }
    bool operator[](int64_t i) const { return left[static_cast<size_t>(i)] != 0; }
    bool Any(const Run& run) const;
    std::vector<int64_t> Indices() const;
  };
  struct BlockState {
    std::array<Marks, std::size(kRoles)> rows, columns;
    std::array<Marks, std::size(kVectorRoles)> vectors;
    std::vector<Unit> protected_units;
  };
  // Every mark that one removal wiped, so that it can be taken back.
  using Journal = std::vector<std::pair<Marks*, int64_t>>;

  BlockState& At(int64_t block) const { return blocks_[static_cast<size_t>(block)]; }
  static void Wipe(Marks& marks, int64_t first, int64_t count, Journal& journal);
  void WipeUnit(const Unit& unit, Journal& journal) const;
  void WipeOwned(int64_t block, UnitKind kind, int64_t unit, Journal& journal) const;
  void CloseAttention(int64_t block, Journal& journal) const;
  static void Restore(const Journal& journal);
  bool Breaks(const Unit& unit) const;  // a minimum or a protection, as the state is now
  Cost CostOf(int64_t block) const;     // of its tensors
  Cost CostOutside() const;             // of embedding, head and final norm
  Cost CostAround(const Unit& unit) const;
  int64_t GroupsLeft(int64_t block) const;

  const Model& model_;
  LedgerOptions options_;
  int64_t Cost::*measure_;
  // Mutable, because Of tries a removal and takes it back: as if nothing had been. Not for two threads at once.
  mutable std::vector<BlockState> blocks_;
  mutable Marks residual_;
  std::set<Unit> protected_;
};

// The ledger after all that `plan` removes. RecipeError when the plan is not of this model.
Ledger LedgerOf(const Model& model, const Plan& plan, LedgerOptions options = {});
// A plan that keeps everything, listing `kinds` besides KV groups and FFN channels.
Plan KeepAll(const Model& model, const std::vector<UnitKind>& kinds = {});

}  // namespace espalier
