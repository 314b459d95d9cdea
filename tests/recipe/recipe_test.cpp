#include "espalier/recipe/recipe.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/registry.h"
#include "support/support.h"

namespace espalier {
namespace {

// Three kinds of components that exist only while these tests run.
bool fakes_are_registered = false;

ComponentInfo Component(std::string name, std::vector<OptionSpec> options) {
  return {std::move(name), "a fake", "ours", {}, std::move(options)};
}

void AddFakes(std::string kind, std::vector<ComponentInfo> infos) {
  AddRegistryView({std::move(kind), [infos = std::move(infos)] {
                     std::vector<const ComponentInfo*> view;
                     for (const ComponentInfo& info : infos)
                       if (fakes_are_registered) view.push_back(&info);
                     return view;
                   }});
}

std::vector<SectionSpec> Schema() {
  SectionSpec top{.path = "", .doc = {}, .options = {}, .selector = {}, .registry = {}, .default_component = {}};
  const auto map = [&](std::string path, std::vector<OptionSpec> options) {
    SectionSpec spec = top;
    spec.path = std::move(path);
    spec.doc = "what " + spec.path + " is";
    spec.options = std::move(options);
    return spec;
  };
  const auto components = [&](std::string path, SectionForm form, std::string selector, std::string registry,
                              std::vector<OptionSpec> options) {
    SectionSpec spec = map(std::move(path), std::move(options));
    spec.form = form;
    spec.selector = std::move(selector);
    spec.registry = std::move(registry);
    return spec;
  };
  std::vector<SectionSpec> schema = {
      map("", {TextOption("name", "run", "of the run's folder"), IntOption("seed", 0, "of every draw"),
               BoolOption("allow_leak", false, "calibrate on evaluation texts")}),
      map("model", {TextOption("path", std::nullopt, "folder or file"),
                    TextOption("dtype", "float32", "of the weights").OneOf({"float32", "bfloat16"})}),
      map("data.calibration",
          {TextOption("path", std::nullopt, "text"), IntOption("sequences", 128, "windows").AtLeast(1)}),
      map("analyze", {IntOption("tokens", 8192, "to look at").Between(1, 1000000)}),
      components("protect", SectionForm::kComponentList, "rule", "fake rule", {}),
      map("prune",
          {TextListOption("units", {{"kv_group", "ffn_channel"}}, "kinds").OneOf({"kv_group", "ffn_channel", "block"}),
           IntListOption("blocks", std::nullopt, "which").AtLeast(0).Optional()}),
      components("prune.score", SectionForm::kComponent, "method", "fake scorer",
                 {BoolOption("per_column", true, "leave sinks out")}),
      map("prune.budget", {TextOption("of", "block_parameters", "what is counted"),
                           RealOption("remove", 0.3, "share to remove").Below(0, 1)}),
      components("heal", SectionForm::kComponent, "method", "fake scorer", {}),
      map("heal.distill", {RealOption("weight", 0.5, "of the teacher").Between(0, 1),
                           RealOption("temperature", 2, "of both").AtLeast(0)}),
      components(
          "evaluate", SectionForm::kComponentList, "suite", "fake suite",
          {TextOption("data", std::nullopt, "text").Optional(), IntOption("windows", 32, "how many").AtLeast(1)}),
  };
  schema[1].required = true;
  schema[6].default_component = "obs";
  schema[9].optional = true;
  return schema;
}

class RecipeFile : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    static const bool added = [] {
      AddFakes("fake scorer",
               {Component("obs", {RealOption("damping", 0.01, "of the diagonal").AtLeast(0)}), Component("wanda", {}),
                Component("taylor", {IntOption("tokens", std::nullopt, "to differentiate")})});
      AddFakes("fake rule", {Component("keep", {TextListOption("units", {{}}, "explicit")}),
                             Component("sinks", {RealOption("above", 0.5, "share").Between(0, 1)})});
      AddFakes("fake suite", {Component("perplexity", {TextOption("preset", "gptq", "protocol")}),
                              Component("passkey", {IntListOption("lengths", {{512, 1024}}, "tokens").AtLeast(64)})});
      return true;
    }();
    fakes_are_registered = added;
  }
  static void TearDownTestSuite() { fakes_are_registered = false; }

  std::filesystem::path Write(const std::string& name, const std::string& text) const {
    WriteFile(folder_.path() / name, text);
    return folder_.path() / name;
  }
  Recipe Read(const std::string& text, const std::vector<std::string>& overrides = {}) const {
    return Recipe::Read(Write("x.yaml", text), overrides, Schema());
  }
  // What is wrong, with the folder's name taken out.
  std::string Mistakes(const std::string& text, const std::vector<std::string>& overrides = {}) const {
    std::string message = MessageOf([&] { Read(text, overrides); });
    const std::string prefix = folder_.path().string() + "/";
    for (size_t at = message.find(prefix); at != std::string::npos; at = message.find(prefix))
      message.erase(at, prefix.size());
    return message;
  }
  // One mistake after a `model` section that is in order, so on line 2.
  std::string MistakeIn(const std::string& second_line, const std::vector<std::string>& overrides = {}) const {
    const std::string message = Mistakes("model: {path: m}\n" + second_line + "\n", overrides);
    const std::string last = "\n1 error; nothing was run.";
    EXPECT_TRUE(message.ends_with(last)) << message;
    return message.substr(0, message.size() - std::min(message.size(), last.size()));
  }

  TempFolder folder_;
};

// Everything that a recipe says, for comparing two.
std::string Content(const Recipe& recipe) {
  Json json;
  for (const SectionSpec& spec : Schema())
    for (const RecipeEntry& entry : recipe.List(spec.path))
      json[spec.path].push_back({entry.name, entry.options.ToJson()});
  return json.dump();
}

constexpr char kFull[] = R"(# A comment first.
name: trial
seed: 2e2
model:
  path: models/x y
  dtype: bfloat16
data:
  calibration: {path: "c4: one.jsonl", sequences: 4}
protect: [sinks, {rule: keep, units: [a.b, "1"]}, sinks: {above: 1e-4}]
prune:
  units: block
  blocks: [0, 3]
  score: {method: obs, damping: 0}
  budget: {remove: .25}
heal:
  method: taylor
  tokens: 0x10
  distill: {weight: 1}
evaluate:
  - perplexity
  - suite: passkey
    lengths: 128
  - perplexity: {preset: strict, data: "line\nbreak \"é\" \\ \t"}
)";

TEST_F(RecipeFile, GivesEveryFormOfSectionWithItsDefaults) {
  const Recipe recipe = Read(kFull);
  EXPECT_EQ(recipe.Entry("").options.Int("seed"), 200);
  EXPECT_FALSE(recipe.Entry("").options.Bool("allow_leak"));
  EXPECT_EQ(recipe.Entry("model").options.Text("path"), "models/x y");
  EXPECT_EQ(recipe.Entry("data.calibration").options.Text("path"), "c4: one.jsonl");
  EXPECT_EQ(recipe.Entry("analyze").options.Int("tokens"), 8192);
  ASSERT_EQ(recipe.List("protect").size(), 3u);
  EXPECT_EQ(recipe.List("protect")[0].options.Real("above"), 0.5);
  EXPECT_EQ(recipe.List("protect")[1].options.TextList("units"), (std::vector<std::string>{"a.b", "1"}));
  EXPECT_EQ(recipe.List("protect")[2].options.Real("above"), 1e-4);
  EXPECT_EQ(recipe.Entry("prune").options.TextList("units"), std::vector<std::string>{"block"});
  EXPECT_EQ(recipe.Entry("prune").options.IntList("blocks"), (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(recipe.Entry("prune.score").name, "obs");
  EXPECT_TRUE(recipe.Entry("prune.score").options.Bool("per_column"));
  EXPECT_EQ(recipe.Entry("prune.budget").options.Real("remove"), 0.25);
  EXPECT_EQ(recipe.Entry("heal").options.Int("tokens"), 16);
  EXPECT_EQ(recipe.Entry("heal.distill").options.Real("weight"), 1.0);
  ASSERT_EQ(recipe.List("evaluate").size(), 3u);
  EXPECT_FALSE(recipe.List("evaluate")[0].options.Has("data"));
  EXPECT_EQ(recipe.List("evaluate")[1].options.IntList("lengths"), std::vector<int64_t>{128});
  EXPECT_EQ(recipe.List("evaluate")[2].options.Text("data"), "line\nbreak \"é\" \\ \t");
}

TEST_F(RecipeFile, LeavesOptionalSectionsOutAndFillsTheOthers) {
  const Recipe recipe = Read("model: {path: m}\nprune:\n  budget:\n");
  EXPECT_TRUE(recipe.Has("model"));
  EXPECT_TRUE(recipe.Has("analyze"));            // every option has a default
  EXPECT_FALSE(recipe.Has("data.calibration"));  // its path has none
  EXPECT_FALSE(recipe.Has("heal"));              // no default component
  EXPECT_FALSE(recipe.Has("heal.distill"));      // inside an absent section
  EXPECT_FALSE(recipe.Has("evaluate"));
  EXPECT_TRUE(recipe.List("evaluate").empty());
  EXPECT_EQ(recipe.Entry("prune.score").name, "obs");
  EXPECT_EQ(recipe.Entry("prune.budget").options.Real("remove"), 0.3);
  EXPECT_THROW(recipe.Entry("heal"), InternalError);
}

TEST_F(RecipeFile, TreatsAnOptionalMapAsAbsentUntilItIsNamed) {
  EXPECT_FALSE(Read("model: {path: m}\nheal: wanda\n").Has("heal.distill"));
  EXPECT_TRUE(Read("model: {path: m}\nheal: {method: wanda, distill: }\n").Has("heal.distill"));
  EXPECT_FALSE(Read("model: {path: m}\nheal: {method: wanda, distill: none}\n").Has("heal.distill"));
  EXPECT_FALSE(Read("model: {path: m}\nheal: none\nprotect: none\n").Has("heal"));
}

TEST_F(RecipeFile, AcceptsAComponentByItsNameAlone) {
  const Recipe recipe = Read("model: {path: m}\nprune: {score: wanda}\nprotect: sinks\n");
  EXPECT_EQ(recipe.Entry("prune.score").name, "wanda");
  EXPECT_EQ(recipe.List("protect").at(0).name, "sinks");
}

TEST_F(RecipeFile, WritesEveryDefaultOut) {
  EXPECT_EQ(Read("model: {path: m}\nevaluate: [passkey]\n").ToYaml(),
            "name: run\n"
            "seed: 0\n"
            "allow_leak: false\n"
            "model: {path: m, dtype: float32}\n"
            "analyze: {tokens: 8192}\n"
            "prune:\n"
            "  units: [kv_group, ffn_channel]\n"
            "  score: {method: obs, damping: 0.01, per_column: true}\n"
            "  budget: {of: block_parameters, remove: 0.3}\n"
            "evaluate:\n"
            "  - {suite: passkey, lengths: [512, 1024], windows: 32}\n");
}

TEST_F(RecipeFile, ReadsItsOwnTextBackAsTheSameRecipe) {
  for (const std::string& text :
       {std::string(kFull), std::string("model: {path: \"true\"}\nname: \"0x1F\"\n"),
        std::string("model: {path: ./a/../b}\nname: \"\"\nprune: {budget: {remove: 1e-300}}"),
        std::string("model: {path: \"~\"}\nname: \"a: b #c\"\nprune: {score: {damping: 12345678.9}}"),
        std::string("model: {path: \"-\"}\nname: \".inf\"\nheal: {method: wanda, distill: }\n")}) {
    const Recipe recipe = Read(text);
    const Recipe again = Read(recipe.ToYaml());
    EXPECT_EQ(Content(again), Content(recipe));
    EXPECT_EQ(again.ToYaml(), recipe.ToYaml());
  }
}

TEST_F(RecipeFile, PutsAMapThatIsTooLongForALineOnLinesOfItsOwn) {
  const std::string path(90, 'p');
  EXPECT_NE(Read("model: {path: " + path + "}\n").ToYaml().find("model:\n  path: " + path + "\n  dtype: float32\n"),
            std::string::npos);
  const Recipe recipe = Read("model: {path: m}\nevaluate: [perplexity: {data: " + path + "}]\n");
  EXPECT_NE(recipe.ToYaml().find("  - suite: perplexity\n    preset: gptq\n    data: " + path + "\n    windows: 32\n"),
            std::string::npos);
  EXPECT_EQ(Content(Read(recipe.ToYaml())), Content(recipe));
}

TEST_F(RecipeFile, SaysWhereAnEntryWasWritten) {
  const Recipe recipe = Read(kFull, {"evaluate.3=passkey", "evaluate.0.windows=4"});
  const std::string file = (folder_.path() / "x.yaml").string();
  EXPECT_EQ(recipe.Where(recipe.Entry("prune.score")), file + ":13:3");
  EXPECT_EQ(recipe.Where(recipe.List("evaluate")[0]), file + ":20:5");
  EXPECT_EQ(recipe.Where(recipe.List("evaluate")[3]), "override evaluate.3=passkey");
  EXPECT_EQ(recipe.Where(recipe.Entry("analyze")), file + ":2:1");  // a default of the top level, which begins there
  EXPECT_EQ(recipe.Entry("prune.score").line, 13);
  EXPECT_EQ(recipe.Entry("prune.score").column, 3);
}

TEST_F(RecipeFile, GathersAllMistakesSortedByPlace) {
  EXPECT_EQ(
      Mistakes("seed: many\n"
               "model: {dtype: float16}\n"
               "analyse: {}\n"
               "prune:\n"
               "  score: {method: wand}\n"
               "  budget:\n"
               "    remove: 25\n"
               "    remove: 0.25\n"
               "evaluate:\n"
               "  - {suite: passkey, lengths: [8, 64, x], window: 3}\n",
               {"analyze.tokens=0"}),
      "x.yaml:1:7: seed: expected a whole number, found 'many'.\n"
      "x.yaml:2:1: model.path: a value is required: folder or file.\n"
      "x.yaml:2:16: model.dtype: 'float16' is not one of float32, bfloat16. Nearest: bfloat16, float32.\n"
      "x.yaml:3:1: analyse: unknown key. Nearest: analyze. Keys here: allow_leak, analyze, base, data, evaluate, "
      "heal, model, name, protect, prune, seed.\n"
      "x.yaml:5:19: prune.score.method: unknown fake scorer 'wand'. Nearest: wanda. Known: obs, taylor, wanda.\n"
      "x.yaml:7:13: prune.budget.remove: 25 is not in the range 0 to below 1. For 25 percent write 0.25.\n"
      "x.yaml:8:5: prune.budget.remove: this key is on line 7 already\n"
      "x.yaml:10:32: evaluate.0.lengths.0: [8] is not in the range at least 64.\n"
      "x.yaml:10:39: evaluate.0.lengths.2: expected a whole number, found 'x'.\n"
      "x.yaml:10:43: evaluate.0.window: unknown key. Nearest: windows. Keys here: data, lengths, suite, windows.\n"
      "override analyze.tokens=0: 0 is not in the range 1 to 1000000.\n"
      "11 errors; nothing was run.");
}

TEST_F(RecipeFile, WantsTheSectionsThatAreRequired) {
  EXPECT_EQ(Mistakes(""), "x.yaml:1:1: model: this section is required: what model is.\n1 error; nothing was run.");
  EXPECT_EQ(Mistakes("# nothing\n\nmodel:\n"),
            "x.yaml:3:1: model.path: a value is required: folder or file.\n1 error; nothing was run.");
}

TEST_F(RecipeFile, TellsWhereAKeyBelongs) {
  EXPECT_EQ(MistakeIn("prune: {remove: 0.5}"),
            "x.yaml:2:9: prune.remove: unknown key. 'remove' is a key of prune.budget. "
            "Keys here: blocks, budget, score, units.");
  EXPECT_EQ(MistakeIn("data: {calibrations: 1}"),
            "x.yaml:2:8: data.calibrations: unknown key. Nearest: calibration. Keys here: calibration.");
}

TEST_F(RecipeFile, TypesScalarsByTheCoreSchema) {
  EXPECT_TRUE(Read("model: {path: m}\nallow_leak: True\n").Entry("").options.Bool("allow_leak"));
  EXPECT_EQ(Read("model: {path: m}\nseed: -7\n").Entry("").options.Int("seed"), -7);
  EXPECT_EQ(Read("model: {path: m}\nseed: 0o17\n").Entry("").options.Int("seed"), 15);
  EXPECT_EQ(Read("model: {path: yes}\n").Entry("model").options.Text("path"), "yes");
  EXPECT_EQ(Read("model: {path: 1.2.3}\n").Entry("model").options.Text("path"), "1.2.3");
  EXPECT_EQ(Read("model: {path: m}\nprune: {score: {damping: +5.}}\n").Entry("prune.score").options.Real("damping"),
            5.0);
}

TEST_F(RecipeFile, HintsAtWhatWasMeant) {
  EXPECT_EQ(MistakeIn("allow_leak: yes"), "x.yaml:2:13: allow_leak: expected true or false, found 'yes'. Write true.");
  EXPECT_EQ(MistakeIn("allow_leak: OFF"), "x.yaml:2:13: allow_leak: expected true or false, found 'OFF'. Write false.");
  EXPECT_EQ(MistakeIn("allow_leak: \"true\""),
            "x.yaml:2:13: allow_leak: expected true or false, found the text 'true'. Write true.");
  EXPECT_EQ(MistakeIn("seed: \"1\""),
            "x.yaml:2:7: seed: expected a whole number, found the text '1'. Write it without quotes.");
  EXPECT_EQ(MistakeIn("seed: 32k"), "x.yaml:2:7: seed: expected a whole number, found '32k'. Write 32000 or 32768.");
  EXPECT_EQ(MistakeIn("seed: 1_000"), "x.yaml:2:7: seed: expected a whole number, found '1_000'. Write 1000.");
  EXPECT_EQ(MistakeIn("seed: 0.5"), "x.yaml:2:7: seed: expected a whole number, found '0.5'.");
  EXPECT_EQ(MistakeIn("seed: 1e30"), "x.yaml:2:7: seed: 1e30 is too large for a whole number.");
  EXPECT_EQ(MistakeIn("seed:"), "x.yaml:2:1: seed: expected a whole number, found nothing. Leave the key out for 0.");
  EXPECT_EQ(MistakeIn("name: 12"), "x.yaml:2:7: name: expected a text, found '12'. Write \"12\".");
  EXPECT_EQ(MistakeIn("name: [a]"), "x.yaml:2:7: name: expected a text, found a list.");
  EXPECT_EQ(MistakeIn("prune: {budget: {remove: 25%}}"),
            "x.yaml:2:26: prune.budget.remove: expected a number, found '25%'. For 25 percent write 0.25.");
  EXPECT_EQ(MistakeIn("prune: {budget: {remove: .nan}}"),
            "x.yaml:2:26: prune.budget.remove: expected a finite number, found .nan.");
  EXPECT_EQ(MistakeIn("prune: {budget: {remove: 1}}"),
            "x.yaml:2:26: prune.budget.remove: 1 is not in the range 0 to below 1.");
  EXPECT_EQ(MistakeIn("prune: {units: [kv_grup]}"),
            "x.yaml:2:17: prune.units.0: [kv_grup] is not one of kv_group, ffn_channel, block. Nearest: kv_group.");
  EXPECT_EQ(MistakeIn("prune: {blocks: {a: 1}}"),
            "x.yaml:2:17: prune.blocks: expected a list of whole numbers, found a map.");
}

TEST_F(RecipeFile, NamesTheFormThatASectionWants) {
  EXPECT_EQ(MistakeIn("analyze: 5"),
            "x.yaml:2:10: analyze: expected a map (key: value), found '5'. Keys here: tokens.");
  EXPECT_EQ(MistakeIn("prune: {score: [obs]}"),
            "x.yaml:2:16: prune.score: expected the name of a fake scorer or a map with 'method', found a list. "
            "Known: obs, taylor, wanda.");
  EXPECT_EQ(MistakeIn("heal: {tokens: 3}"),
            "x.yaml:2:1: heal.method: a value is required: the name of a fake scorer. Known: obs, taylor, wanda.");
  EXPECT_EQ(MistakeIn("heal: taylor"), "x.yaml:2:1: heal.tokens: a value is required: to differentiate.");
  EXPECT_EQ(MistakeIn("evaluate: {suite: passkey}"),
            "x.yaml:2:11: evaluate: expected a list, found a map. Begin each entry with '- '.");
  EXPECT_EQ(
      MistakeIn("evaluate: [{windows: 3}]"),
      "x.yaml:2:12: evaluate.0.suite: a value is required: the name of a fake suite. Known: passkey, perplexity.");
  EXPECT_EQ(
      MistakeIn("evaluate: [pass_key: {lengths: 64}]"),
      "x.yaml:2:12: evaluate.0.suite: unknown fake suite 'pass_key'. Nearest: passkey. Known: passkey, perplexity.");
  EXPECT_EQ(MistakeIn("evaluate: [[passkey]]"),
            "x.yaml:2:12: evaluate.0: expected the name of a fake suite or a map with 'suite', found a list. "
            "Known: passkey, perplexity.");
  EXPECT_EQ(MistakeIn("prune: {score: 7}"),
            "x.yaml:2:16: prune.score.method: expected a text, found '7'. Write \"7\".");
}

TEST_F(RecipeFile, LaysOverridesOverTheFile) {
  const Recipe recipe =
      Read(kFull, {"seed=9", "prune.score.damping=0.5", "evaluate.0.windows=4", "prune.units=[kv_group]",
                   "data.calibration.path=a b", "analyze.tokens=1e3", "protect.0=keep"});
  EXPECT_EQ(recipe.Entry("").options.Int("seed"), 9);
  EXPECT_EQ(recipe.Entry("prune.score").options.Real("damping"), 0.5);
  EXPECT_EQ(recipe.List("evaluate")[0].options.Int("windows"), 4);
  EXPECT_EQ(recipe.Entry("prune").options.TextList("units"), std::vector<std::string>{"kv_group"});
  EXPECT_EQ(recipe.Entry("data.calibration").options.Text("path"), "a b");
  EXPECT_EQ(recipe.Entry("data.calibration").options.Int("sequences"), 4);  // the file's, beside what was overridden
  EXPECT_EQ(recipe.Entry("analyze").options.Int("tokens"), 1000);
  EXPECT_EQ(recipe.List("protect")[0].name, "keep");
}

TEST_F(RecipeFile, DropsTheOptionsOfAComponentThatAnOverrideReplaces) {
  const std::string file = "model: {path: m}\nprune: {score: {damping: 3, per_column: false}}\nheal: wanda\n";
  const Recipe recipe = Read(file, {"prune.score.method=wanda", "heal=none"});
  EXPECT_EQ(recipe.Entry("prune.score").name, "wanda");
  EXPECT_FALSE(recipe.Entry("prune.score").options.Bool("per_column"));  // common to all scorers: stays
  EXPECT_FALSE(recipe.Has("heal"));
  EXPECT_EQ(Read(file, {"prune.score=obs"}).Entry("prune.score").options.Real("damping"), 3.0);  // the same: stays
}

TEST_F(RecipeFile, BuildsSectionsAndListsFromOverridesAlone) {
  const Recipe recipe = Read("", {"model.path=m", "heal=wanda", "evaluate.0=passkey", "evaluate.1.suite=perplexity",
                                  "protect=[sinks: {above: 0.25}]"});
  EXPECT_EQ(recipe.Entry("heal").name, "wanda");
  EXPECT_EQ(recipe.List("evaluate").at(1).name, "perplexity");
  EXPECT_EQ(recipe.List("protect").at(0).options.Real("above"), 0.25);
}

TEST_F(RecipeFile, NamesTheOverrideThatIsWrong) {
  const auto wrong = [this](const std::string& text) { return MistakeIn("evaluate: [passkey]", {text}); };
  EXPECT_EQ(wrong("prune.budget.remove=x"), "override prune.budget.remove=x: expected a number, found 'x'.");
  EXPECT_EQ(wrong("prune.budget={remove: x}"),
            "override prune.budget={remove: x}: prune.budget.remove: expected a number, found 'x'.");
  EXPECT_EQ(wrong("prune.budget.remov=0.1"),
            "override prune.budget.remov=0.1: unknown key. Nearest: remove. Keys here: of, remove.");
  EXPECT_EQ(wrong("seed"), "override seed: expected key.path=value; the '=' is missing");
  EXPECT_EQ(wrong("prune..units=block"), "override prune..units=block: expected key.path=value; a key is empty");
  EXPECT_EQ(wrong("=3"), "override =3: expected key.path=value; a key is empty");
  EXPECT_EQ(wrong("seed=[1"), "override seed=[1: a list or a map cannot be a key; is a bracket never closed?");
  EXPECT_EQ(wrong("evaluate.2.windows=4"),
            "override evaluate.2.windows=4: expected the number of an entry, 0 to 1 (1 adds one), found '2'.");
  EXPECT_EQ(wrong("evaluate.first=passkey"),
            "override evaluate.first=passkey: expected the number of an entry, 0 to 1 (1 adds one), found 'first'.");
  EXPECT_EQ(wrong("seed.x=1"), "override seed.x=1: seed: expected a whole number, found a map.");
  EXPECT_EQ(wrong("base=y.yaml"), "override base=y.yaml: a base is named in the recipe file only");
  EXPECT_EQ(wrong("name=a\nb: c: d"),
            "override name=a\\nb: c: d: not valid YAML: a ':' that cannot be here; quote texts that contain ': ', and "
            "check the indentation (spaces, no tabs)");
}

TEST_F(RecipeFile, IsLaidOverItsBase) {
  Write("base.yaml",
        "seed: 5\nmodel: {path: m, dtype: bfloat16}\nprune:\n  score: {method: obs, damping: 3}\n  budget: {remove: "
        "0.1}\n"
        "evaluate: [passkey, perplexity]\nheal: wanda\n");
  const Recipe recipe = Read(
      "base: base.yaml\nprune: {score: wanda, budget: {of: bytes}}\nevaluate: [perplexity]\nheal: none\n", {"seed=6"});
  EXPECT_EQ(recipe.Entry("").options.Int("seed"), 6);
  EXPECT_EQ(recipe.Entry("model").options.Text("dtype"), "bfloat16");
  EXPECT_EQ(recipe.Entry("prune.score").name, "wanda");
  EXPECT_EQ(recipe.Entry("prune.budget").options.Text("of"), "bytes");
  EXPECT_EQ(recipe.Entry("prune.budget").options.Real("remove"), 0.1);
  EXPECT_EQ(recipe.List("evaluate").size(), 1u);  // a list replaces the list below it
  EXPECT_FALSE(recipe.Has("heal"));
  EXPECT_EQ(recipe.Where(recipe.Entry("model")), (folder_.path() / "base.yaml").string() + ":2:1");
  EXPECT_EQ(recipe.ToYaml().find("base"), std::string::npos);
}

TEST_F(RecipeFile, ShowsMistakesOfTheBaseAfterItsOwn) {
  Write("base.yaml", "model: {path: m, dtype: int8}\nseed: x\n");
  EXPECT_EQ(Mistakes("base: base.yaml\nseed: y\n"),
            "x.yaml:2:7: seed: expected a whole number, found 'y'.\n"
            "base.yaml:1:25: model.dtype: 'int8' is not one of float32, bfloat16.\n"
            "2 errors; nothing was run.");
}

TEST_F(RecipeFile, RefusesASecondLevelOfBasesAndSoEveryCycle) {
  Write("base.yaml", "base: x.yaml\nmodel: {path: m}\n");
  const std::string refusal =
      "base: a base cannot have a base itself; name one recipe that has it all.\n1 error; nothing was run.";
  EXPECT_EQ(Mistakes("base: base.yaml\n"), "base.yaml:1:1: " + refusal);
  EXPECT_EQ(Mistakes("model: {path: m}\nbase: x.yaml\n"), "x.yaml:2:1: " + refusal);
}

TEST_F(RecipeFile, SaysWhatIsWrongWithABaseThatCannotBeRead) {
  EXPECT_EQ(MistakeIn("base: [a]"), "x.yaml:2:7: base: expected the path of a recipe, found a list.");
  EXPECT_EQ(MistakeIn("base: none.yaml"),
            "x.yaml:2:7: base: none.yaml: cannot open for reading: No such file or directory");
  Write("list.yaml", "- 1\n");
  EXPECT_EQ(MistakeIn("base: list.yaml"), "list.yaml:1:1: a recipe is a map of sections (key: value), found a list.");
}

TEST_F(RecipeFile, NamesThePlaceOfASyntaxError) {
  const auto syntax = [this](const std::string& text) {
    const std::string message = Mistakes(text);
    return message.substr(0, message.find("\n1 error; nothing was run."));
  };
  EXPECT_EQ(syntax("a: {b: 1\n"), "x.yaml:1:4: not valid YAML: this '{' is never closed, or a ',' is missing in it");
  EXPECT_EQ(
      syntax("a:\n  b: 1\n- c\n"),
      "x.yaml:3:1: not valid YAML: expected 'key: value' at this indentation; check the indentation of this line");
  EXPECT_EQ(syntax("a: \"x\n"), "x.yaml:1:4: not valid YAML: a quote that is never closed");
  EXPECT_EQ(
      syntax("a: b: c\n"),
      "x.yaml:1:5: not valid YAML: a ':' that cannot be here; quote texts that contain ': ', and check the indentation "
      "(spaces, no tabs)");
  EXPECT_EQ(
      syntax("a:\n\tb: 1\n"),
      "x.yaml:2:3: not valid YAML: a ':' that cannot be here; quote texts that contain ': ', and check the indentation "
      "(spaces, no tabs)");
  EXPECT_EQ(syntax("a: ]\n"), "x.yaml:1:4: not valid YAML: a closing bracket without its opening one");
  EXPECT_EQ(syntax("a: @b\n"),
            "x.yaml:1:4: not valid YAML: a character that cannot begin a value; put the value in quotes");
}

TEST_F(RecipeFile, RefusesWhatARecipeHasNoUseFor) {
  const auto refusal = [this](const std::string& text) {
    const std::string message = Mistakes(text);
    return message.substr(0, message.find("\n1 error; nothing was run."));
  };
  EXPECT_EQ(refusal("model: &m {path: m}\n"),
            "x.yaml:1:8: anchors and aliases (& and *) are not allowed in recipes; write the value out");
  EXPECT_EQ(refusal("name: *m\n"),
            "x.yaml:1:7: anchors and aliases (& and *) are not allowed in recipes; quote a text that begins with one");
  EXPECT_EQ(refusal("name: !!str 3\n"),
            "x.yaml:1:7: the tag 'tag:yaml.org,2002:str' is not allowed in recipes; leave it out");
  EXPECT_EQ(refusal("- model\n"), "x.yaml:1:1: a recipe is a map of sections (key: value), found a list.");
  EXPECT_EQ(refusal("model\n"), "x.yaml:1:1: a recipe is a map of sections (key: value), found 'model'.");
  EXPECT_EQ(refusal("model: {path: m}\n---\nseed: 1\n"),
            "x.yaml:2:1: a second YAML document; a recipe is one document");
  EXPECT_EQ(refusal("? [a]\n: 3\n"), "x.yaml:1:3: a list or a map cannot be a key; is a bracket never closed?");
  EXPECT_EQ(refusal(": 3\n"), "x.yaml:1:1: a key is missing before ':'");
}

TEST_F(RecipeFile, RefusesBytesThatAreNotText) {
  const auto refusal = [this](const std::string& text) {
    const std::string message = Mistakes(text);
    return message.substr(0, message.find("\n1 error; nothing was run."));
  };
  using namespace std::string_literals;
  EXPECT_EQ(refusal("seed: 1\nna\0me: x\n"s),
            "x.yaml:2:3: control character 0x00 at offset 10; a recipe is plain text");
  EXPECT_EQ(refusal("seed: 1\nname: \x04\nx: 1\n"),
            "x.yaml:2:7: control character 0x04 at offset 14; a recipe is plain text");
  EXPECT_EQ(refusal("name: \xFF\n"), "x.yaml:1:7: byte 0xff at offset 6 is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(refusal("\xFF\xFEm\0o\0"s), "x.yaml:1:1: byte 0xff at offset 0 is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(refusal("name: \xC0\xAF\n"), "x.yaml:1:7: byte 0xc0 at offset 6 is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(Read("\xEF\xBB\xBFmodel: {path: é}\r\nseed: 4\r\n").Entry("").options.Int("seed"), 4);
}

TEST_F(RecipeFile, RefusesNestingBeforeTheStackDoes) {
  const size_t many = 1'000'000;
  const std::string refusal = ": nested deeper than 32 levels\n1 error; nothing was run.";
  EXPECT_EQ(Mistakes("a: " + std::string(many / 2, '[') + std::string(many / 2, ']')), "x.yaml:1:35" + refusal);
  std::string dashes, braces, keys;
  for (size_t i = 0; i < many / 4; ++i) dashes += "- ", braces += "{a: ", keys += "? ";
  EXPECT_EQ(Mistakes(dashes), "x.yaml:1:65" + refusal);           // 32 lists of two columns each, then one more
  EXPECT_EQ(Mistakes("a: " + braces), "x.yaml:1:128" + refusal);  // the map around them and 31 braces of four columns
  const std::string open = ": a list or a map cannot be a key; is a bracket never closed?\n1 error; nothing was run.";
  EXPECT_EQ(Mistakes(keys), "x.yaml:1:3" + open);
  EXPECT_EQ(Mistakes(std::string(many, '[')), "x.yaml:1:1" + open);
  EXPECT_EQ(Mistakes(std::string(many, '{')), "x.yaml:1:1" + open);
}

TEST_F(RecipeFile, StopsAtTheFirstOfAMillionAnchors) {
  std::string anchors = "prune:\n  units:\n";
  while (anchors.size() < 1'000'000) anchors += "  - &a x\n";
  EXPECT_EQ(Mistakes(anchors),
            "x.yaml:3:5: anchors and aliases (& and *) are not allowed in recipes; write the value out\n"
            "1 error; nothing was run.");
}

TEST_F(RecipeFile, RefusesAFileOfMoreThanAMebibyte) {
  EXPECT_THROW(Read(std::string((1 << 20) + 1, '#')), IoError);
  EXPECT_EQ(Read(std::string((1 << 20) - 20, '#') + "\nmodel: {path: m}\n").Entry("model").options.Text("path"), "m");
  EXPECT_THROW(Recipe::Read(folder_.path() / "absent.yaml", {}, Schema()), IoError);
}

TEST_F(RecipeFile, ShowsTheFirstHundredOfManyMistakes) {
  std::string text = "model: {path: m}\n";
  for (int i = 0; i < 20000; ++i) text += "key" + std::to_string(i) + ": 1\n";
  const std::string message = Mistakes(text);
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 101);
  EXPECT_TRUE(message.ends_with("\n... and 19900 more\n20000 errors; nothing was run.")) << message;
}

TEST_F(RecipeFile, KeepsEachMistakeOnOneShortLine) {
  EXPECT_EQ(MistakeIn("\"a\\nb\\x07\": 1").substr(0, 38), "x.yaml:2:1: a\\nb\\x07: unknown key. Key");
  const std::string message = MistakeIn("seed: " + std::string(100000, 'z'));
  EXPECT_EQ(message, "x.yaml:2:7: seed: expected a whole number, found '" + std::string(40, 'z') + "...'.");
}

}  // namespace
}  // namespace espalier
