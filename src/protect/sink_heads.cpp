// Heads that park attention on the first token, split as arXiv 2606.08105 does: a no-op sink reads a value near zero
// and writes nothing (removable), a broadcast sink carries it to every token (keep). The literature disagrees on
// whether sink heads should be protected or removed first (arXiv 2601.06787); on SmolLM2-135M sink mass alone says
// nothing about a head's cost, so the rule asks what the head writes as well.
#include <fmt/format.h>

#include <map>

#include "espalier/protect/rule.h"

namespace espalier {
namespace {

class SinkHeads final : public ProtectionRule {
 public:
  explicit SinkHeads(const Options& options)
      : heads_(options.Text("heads")), mass_(options.Real("mass")), written_(options.Real("written")) {}

  std::vector<Protection> Protect(const ProtectionInput& input) const override {
    const ModelConfig& model = input.model;
    const Phenomena& phenomena = input.phenomena;
    // A head, and with it its group and the attention that it is in, for plans that cut those.
    std::map<Unit, std::string> units;
    for (size_t l = 0; l < phenomena.blocks.size() && l < model.blocks.size(); ++l) {
      const auto& heads = phenomena.blocks[l].heads;
      double mean = 0;
      for (const HeadPhenomena& head : heads) mean += head.written_norm / static_cast<double>(heads.size());
      for (size_t h = 0; h < heads.size() && h < model.blocks[l].kv_of_head.size(); ++h)
        if (Keeps(heads[h], mean))
          for (const auto& [kind, index] : {std::pair{UnitKind::kKvGroup, model.blocks[l].kv_of_head[h]},
                                            {UnitKind::kQueryHead, static_cast<int64_t>(h)},
                                            {UnitKind::kAttention, int64_t{0}}})
            units.try_emplace({static_cast<int64_t>(l), kind, index}, Reason(h, heads[h], mean));
    }
    std::vector<Protection> protections;
    for (const auto& [unit, reason] : units) protections.push_back({unit, "sink_heads", reason});
    return protections;
  }

 private:
  bool Keeps(const HeadPhenomena& head, double mean) const {
    if (!head.IsSink() || head.first_token_mass < mass_) return false;
    if (heads_ != "all" && HeadClassName(head.head_class) != heads_) return false;
    return head.written_norm >= written_ * mean;
  }

  static std::string Reason(size_t h, const HeadPhenomena& head, double mean) {
    return fmt::format(
        "head {} is a {} sink: attention to the first token {:.2f}, value-norm ratio {:.2f}, writes {:.2f} times the "
        "mean "
        "of its block",
        h, head.head_class == HeadClass::kNoOp ? "no-op" : "broadcast", head.first_token_mass, head.value_norm_ratio,
        mean > 0 ? head.written_norm / mean : 0);
  }

  std::string heads_;
  double mass_, written_;
};

const bool kRegistered = Registry<ProtectionRule>::Register(
    {"sink_heads",
     "Heads that park attention on the first token, with their KV group and attention, by class and what they write",
     "arXiv 2606.08105 (no-op, broadcast), 2504.03889 (output norm); together ours",
     {"phenomena"},
     {TextOption("heads", "broadcast", "Which sink heads stay").OneOf({"broadcast", "no_op", "all"}),
      RealOption("mass", 0.3, "Attention to the first token from which a head counts").Between(0, 1),
      RealOption("written", 1.0, "What the head writes, as a multiple of its block's mean, from which it stays; 0: any")
          .AtLeast(0)}},
    [](const Options& options) -> std::unique_ptr<ProtectionRule> { return std::make_unique<SinkHeads>(options); });

}  // namespace
}  // namespace espalier
