// The same share of every block. Groups of few units cannot lose a fraction of one: they lose the whole number below
// it, and the block's cheaper units make up for the rest, so that every block loses the same cost.
#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "espalier/plan/allocator.h"

namespace espalier {
namespace {

// A group with its units from the least important and what they cost, each alone.
struct Member {
  std::vector<Unit> order;
  int64_t block = 0, cost = 0;  // of all its units
  double MeanCost() const { return static_cast<double>(cost) / static_cast<double>(order.size()); }
};

Member MemberOf(const UnitGroup& group, const Savings& savings) {
  Member member{{}, group.block, 0};
  for (const int64_t unit : Ascending(group.score.mean(1).contiguous())) {
    member.order.push_back(group.At(unit));
    member.cost += savings.Alone(group.At(unit));
  }
  return member;
}

class Uniform final : public Allocator {
 public:
  int64_t Allocate(const AllocationInput& input, Savings& savings) const override {
    std::vector<Member> members;
    double total = 0;
    for (const UnitGroup& group : input.groups) {
      if (group.size() == 0) continue;
      members.push_back(MemberOf(group, savings));
      total += static_cast<double>(members.back().cost);
    }
    std::stable_sort(members.begin(), members.end(),
                     [](const Member& a, const Member& b) { return a.MeanCost() < b.MeanCost(); });
    std::map<int64_t, std::vector<const Member*>> by_block;  // dearest kind first
    for (auto member = members.rbegin(); member != members.rend(); ++member)
      if (member->cost > 0) by_block[member->block].push_back(&*member);
    int64_t saved = 0;
    for (const auto& [block, of_block] : by_block)
      saved += RemoveShare(of_block, static_cast<double>(input.target) / total, input.target - saved, savings);
    return saved + FillUp(members, input.target - saved, savings);
  }

 private:
  // What the dearer kinds cannot lose exactly, the cheapest kind of the block can.
  static int64_t RemoveShare(const std::vector<const Member*>& members, double share, int64_t target,
                             Savings& savings) {
    double due = 0;
    for (const Member* member : members) due += share * static_cast<double>(member->cost);
    int64_t saved = 0;
    for (const Member* member : members) {
      const bool last = member == members.back();
      const auto most =
          last ? std::ssize(member->order) : static_cast<int64_t>(share * static_cast<double>(member->order.size()));
      const int64_t left = last ? static_cast<int64_t>(due) - saved : target - saved;
      saved += RemoveInOrder(member->order, std::min(left, target - saved), savings, most);
    }
    return saved;
  }

  // Rounding down leaves a little: one more unit per group, cheapest kinds first, round after round.
  static int64_t FillUp(const std::vector<Member>& members, int64_t target, Savings& savings) {
    int64_t saved = 0;
    for (int64_t before = -1; before != saved;) {
      before = saved;
      for (const Member& member : members) saved += RemoveInOrder(member.order, target - saved, savings, 1);
    }
    return saved;
  }
};

const bool kRegistered = Registry<Allocator>::Register(
    {"uniform", "The same share of every block", "Wanda-sp, LLM-Pruner", {}, {}},
    [](const Options&) -> std::unique_ptr<Allocator> { return std::make_unique<Uniform>(); });

}  // namespace
}  // namespace espalier
