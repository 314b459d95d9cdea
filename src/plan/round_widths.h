#pragma once
// FFN widths in multiples of a number, for kernels that are fast only then.
#include "espalier/plan/ledger.h"

namespace espalier {

// What an allocator did, `allocated`, changed so that the FFN width of every block is a multiple of `step`, or all that
// there were, or 0 where the allocator emptied it or may still do so. Of all such widths within the target those are
// taken that are nearest to the allocator's: first every width rounded up, then step by step down where that leads
// least away from what was allocated, as long as it fits; within a block the least important channels go. What other
// kinds can still save goes to the allocator again. `intact` is the ledger before it. RecipeError when a block has
// fewer channels than `step`, no kind of the plan is ffn_channel, or protection and minimums leave too few widths.
Ledger RoundFfnWidths(int64_t step, const Allocator& allocator, const AllocationInput& input, const Ledger& intact,
                      const Ledger& allocated);

}  // namespace espalier
