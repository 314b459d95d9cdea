#include "espalier/recipe/schema.h"

#include "espalier/analyze/options.h"
#include "espalier/calibrate/calibrate.h"
#include "espalier/calibrate/windows.h"
#include "espalier/heal/trainer.h"
#include "espalier/model/load.h"
#include "espalier/model/precision.h"
#include "espalier/plan/planner.h"

namespace espalier {
namespace {

std::vector<OptionSpec> RunOptions() {
  return {TextOption("name", std::nullopt, "Folder of the run under `runs`; default: the recipe's folder and file name")
              .Optional(),
          TextOption("question", std::nullopt, "What the recipe asks, for the report's heading").Optional(),
          TextOption("runs", "runs", "Folder that holds the run folders"),
          IntOption("seed", 0, "Seed of everything random").AtLeast(0),
          IntOption("threads", 0, "Threads of tensor work; 0: all cores. Results are bitwise equal for equal counts")
              .Between(0, 1024),
          TextOption("device", "cpu", "cpu, cuda, cuda:1"),
          BoolOption("allow_leak", false, "Calibrate or heal on evaluation text; every report says so")};
}

std::vector<std::string> StatisticsNeedNames() {
  std::vector<std::string> names;
  for (const StatisticsNeed& need : kStatisticsNeeds) names.emplace_back(need.name);
  return names;
}

std::vector<OptionSpec> CalibrationOptions() {
  std::vector<OptionSpec> options = TextSourceOptions();
  options.push_back(IntOption("sequences", 128, "Windows of text").Between(1, 1 << 20));
  options.push_back(IntOption("length", 512, "Tokens a window").Between(8, 1 << 20));
  options.push_back(TextOption("windows", "first",
                               "Which windows of the text, its documents joined in an order of the seed: the first; "
                               "or spread over all of it, so that more documents have a part")
                        .OneOf({"first", "spread"}));
  options.push_back(
      RealOption(
          "outlier_ratio", CalibrateOptions().outlier_ratio,
          "A token is apart when its largest residual value exceeds this many medians over tokens (arXiv 2410.05265)")
          .AtLeast(1));
  options.push_back(
      TextOption("tokens", std::string(TokenWeightingName(CalibrateOptions().tokens)),
                 "What a token counts: all 1; not_first 0 at position 0; ordinary 0 for spikes and sinks; "
                 "inverse_rms 1 / mean square of the residual stream")
          .OneOf(TokenWeightingNames()));
  options.push_back(IntOption("gradient_tokens", CalibrateOptions().gradient_tokens,
                              "Tokens whose gradients are taken, for scorers that need them")
                        .AtLeast(64));
  options.push_back(TextOption("gradient_targets", std::string(LossTargetsName(CalibrateOptions().targets.targets)),
                               "What the loss behind gradients is against: the text's next token (empirical Fisher), "
                               "or one drawn from the model (true Fisher)")
                        .OneOf(LossTargetsNames()));
  options.push_back(
      TextOption("matmul", std::string(DtypeName(CalibrateOptions().matmul)),
                 "What the matrix products of the passes round their factors to: bfloat16 is 2 to 3 times "
                 "as fast on CPUs that have it, and on GPUs; auto: bfloat16 there, float32 elsewhere; sums and the "
                 "residual stream stay as they are")
          .OneOf(MatmulNames()));
  options.push_back(TextListOption("also", std::vector<std::string>{},
                                   "Statistics besides those that the recipe needs: runs that name the same ones share "
                                   "a calibration in a sweep")
                        .OneOf(StatisticsNeedNames()));
  return options;
}

std::vector<OptionSpec> AnalyzeRecipeOptions() {
  std::vector<OptionSpec> options = {
      IntOption("tokens", 8192, "Tokens of the calibration windows that are looked at").AtLeast(64)};
  for (OptionSpec& option : AnalyzeOptionSpecs()) options.push_back(std::move(option));
  return options;
}

std::vector<OptionSpec> BudgetOptions() {
  return {TextOption("of", kBlockParameters, "What the share is of").OneOf(BudgetMeasures()),
          RealOption("remove", std::nullopt, "Share to remove; for 25 percent write 0.25").Below(0, 1)};
}

std::vector<OptionSpec> ModelOptions() {
  return {TextOption("path", std::nullopt, "GGUF file, or folder with config.json and safetensors"),
          TextOption("dtype", "float32", "Type of all tensor work").OneOf({"float32", "bfloat16"})};
}

std::vector<OptionSpec> SweepOptionSpecs() {
  return {
      RealListOption("remove", std::nullopt, "Each value in turn as prune.budget.remove; default: that of the recipe")
          .Below(0, 1)
          .Optional(),
      IntListOption("seeds", std::nullopt, "Each in turn as seed; default: that of the recipe").AtLeast(0).Optional()};
}

std::vector<OptionSpec> SweepVariantOptions() {
  return {TextOption("name", std::nullopt, "Name in tables and folders: letters, digits, _ + - ."),
          TextListOption("set", {{}}, "Overrides laid over the recipe, as on the command line: \"prune.score=wifv\"")};
}

std::vector<OptionSpec> HealingTextOptions() {
  std::vector<OptionSpec> options = TextSourceOptions();
  options.front().doc += "; or .safetensors with a tensor `ids`";
  options.push_back(
      RealOption("weight", 1, "How many windows of this text are trained on, relative to the others").AtLeast(1e-6));
  return options;
}

std::vector<std::string> UnitKindNames() {
  std::vector<std::string> names;
  for (const UnitKindInfo& info : UnitKinds()) names.emplace_back(info.name);
  return names;
}

}  // namespace

std::vector<SectionSpec> RunSchema() {
  const PlanOptions d;
  using enum SectionForm;
  return {
      {"", kMap, "The run", RunOptions(), "", "", false, ""},
      {"model", kMap, "The model that is pruned", ModelOptions(), "", "", true, ""},
      {"data", kMap, "Texts", {}, "", "", true, ""},
      {"data.calibration", kMap, "What statistics are measured on", CalibrationOptions(), "", "", true, ""},
      {"data.healing", kMap, "What the pruned model is trained on", HealingTextOptions(), "", "", false, ""},
      {"data.healing.mix", kMapList, "More texts, mixed in", HealingTextOptions(), "", "", false, ""},
      {"analyze", kMap, "How spikes and sinks are found", AnalyzeRecipeOptions(), "", "", false, ""},
      {"protect",
       kComponentList,
       "Units that must stay; `compare` alone: a sweep over the protection ladder",
       {},
       "rule",
       "protection rule",
       false,
       ""},
      {"prune",
       kMap,
       "What is cut",
       {TextListOption("units", std::vector<std::string>{"kv_group", "ffn_channel"}, "Kinds of units that may go")
            .OneOf(UnitKindNames())},
       "",
       "",
       true,
       ""},
      {"prune.score", kComponent, "Importance of units", {}, "method", "scorer", false, "wifv"},
      {"prune.budget", kMap, "How much goes", BudgetOptions(), "", "", true, ""},
      {"prune.schedule",
       kMap,
       "In how many goes",
       {IntOption(
            "steps", 1,
            "Equal shares of the budget, each calibrated, planned, cut and compensated on what the one before left")
            .Between(1, 1000)},
       "",
       "",
       false,
       ""},
      {"prune.allocate",
       kComponent,
       "Where it goes",
       {IntOption("min_kv_groups", d.min_kv_groups,
                  "KV groups that a block keeps while its attention stays; 0: attention may go by its width")
            .AtLeast(0),
        IntOption("min_ffn_channels", d.min_ffn_channels,
                  "FFN channels that a block keeps while its FFN stays; 0: the FFN may go by its width")
            .AtLeast(0),
        IntOption("round_ffn_to", d.round_ffn_to,
                  "FFN widths that stay are multiples of this, for fast kernels; 64 and 128 are usual")
            .AtLeast(1),
        IntOption(
            "swaps", d.swaps,
            "Then exchange kept and removed FFN channels, at most so many a block, while the least-squares cost of "
            "the removal falls (OSSCAR, arXiv 2403.12983)")
            .AtLeast(0)},
       "method",
       "allocator",
       false,
       "global"},
      {"prune.compensate",
       kComponent,
       "How the remaining weights make up for it",
       {},
       "method",
       "compensator",
       false,
       "least_squares"},
      {"heal", kComponent, "Fine-tuning of the pruned model", HealRecipeOptions(), "method", "healing method", false,
       ""},
      {"evaluate", kComponentList, "What is measured of dense, pruned and healed", {}, "suite", "evaluator", false, ""},
      {"gates", kComponentList, "Limits that decide the exit code", {}, "metric", "gate", false, ""},
      {"export",
       kComponentList,
       "Forms in which the run's last model is written, after the report",
       {},
       "to",
       "export form",
       false,
       ""},
      {"sweep", kMap, "Many runs of this recipe, for `espalier sweep`", SweepOptionSpecs(), "", "", false, "", true},
      {"sweep.variants", kMapList, "Recipes to compare; default: this one alone", SweepVariantOptions(), "", "", false,
       ""},
  };
}

std::vector<SectionSpec> SuiteSchema() {
  std::vector<SectionSpec> suite;
  for (SectionSpec& section : RunSchema())
    if (section.path == "evaluate") suite.push_back(std::move(section));
  return suite;
}

}  // namespace espalier
