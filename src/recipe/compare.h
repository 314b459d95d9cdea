#pragma once
// `protect: compare`: the ablation of protection (DESIGN.md 6), spelled out.
#include <string>
#include <vector>

#include "sections.h"
#include "yaml_tree.h"

namespace espalier {

struct LadderStep {
  std::string name;     // of the variant
  std::string protect;  // what `protect` becomes, as YAML
};

// The protection ladder, each rung with the rules of those before it:
//   none              no rule
//   spike_producers   spike_producers
//   +super_weights    and super_weights
//   +supernodes       and supernodes, when that rule is registered
// and, each with all rules above:
//   +no_op_sinks      sink_heads {heads: no_op, written: 0}
//   +broadcast_sinks  sink_heads {heads: broadcast, written: 0}
//   +all_sinks        sink_heads {heads: all, written: 0}
// `written: 0` takes a class whole: no-op heads write next to nothing, so any threshold would leave none of them.
std::vector<LadderStep> ProtectionLadder();

// Where `root` says `protect: compare`, the section goes and `sweep.variants` holds the ladder. A mistake when there
// are variants already, or when `compare` is not alone. `root` must be spelled out. Nothing happens in a schema without
// both sections.
void ExpandCompare(Node& root, const SectionNode& sections, Mistakes& mistakes);

}  // namespace espalier
