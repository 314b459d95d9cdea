#include "espalier/report/analysis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>

#include "espalier/report/html_page.h"
#include "espalier/report/phenomena_charts.h"
#include "espalier/report/phenomena_text.h"
#include "espalier/report/text_table.h"
#include "support/phenomena_sample.h"
#include "support/well_formed.h"

namespace espalier {
namespace {

using Texts = std::vector<std::string>;

const std::string kBad = "<script>alert(\"1\")</script>&\x01|\x1b[31m\xff";

size_t CountOf(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

std::vector<std::vector<Phenomena>> Samples() {
  return {{SamplePhenomena("smollm2-135m", 0)},
          {SamplePhenomena("dense", 0), SampleBroken()},
          {SampleGated()},
          {SampleSinkLogits()},
          {SampleGated(), SampleSinkLogits()},
          {SamplePhenomena("dense", 0), SampleGated()}};
}

void Spoil(Census& tap, double value) {
  tap.residual_max = tap.residual_median = tap.residual_kurtosis = tap.output_max = value;
  for (Peak& peak : tap.residual_top) peak.value = value;
  for (Peak& peak : tap.output_top) peak.value = value;
}

// Every figure that a broken model can make not finite, and every text hostile.
Phenomena Hostile(Phenomena model, double value) {
  model.model = model.family = kBad;
  model.sink_rate = model.first_token_mass = model.massive_mean = value;
  for (double& rate : model.sink_rate_by_position) rate = value;
  for (BlockPhenomena& block : model.blocks) {
    Spoil(block.attention, value);
    Spoil(block.ffn, value);
    block.first_token_mass = block.sink_share = block.regime.other_cosine = block.post_norm.cosine = value;
    for (HeadPhenomena& head : block.heads) head.first_token_mass = head.alpha = head.value_norm_ratio = value;
    if (!block.gate) continue;
    block.gate->mean = value;
    for (double& mean : block.gate->head_mean) mean = value;
    for (double& share : block.gate->small_after) share = value;
  }
  for (SpikeNeuron& neuron : model.neurons) neuron.activation = neuron.contribution = value;
  for (SuperWeight& weight : model.super_weights) weight.weight = value;
  if (model.scan)
    for (Amplifier& amplifier : model.scan->amplifiers) amplifier.eigenvalue = amplifier.ratio = value;
  model.outliers.mean_per_sequence = value;
  for (OutlierToken& token : model.outliers.tokens) token.text = kBad;
  if (model.vocabulary) model.vocabulary->threshold = value;
  model.notices = {kBad, kBad + std::string(300, 'x')};
  return model;
}

TEST(Analysis, PagesAreWellFormedAndRepeatByteForByte) {
  for (const auto& models : Samples()) {
    const std::string page = RenderAnalysisHtml(models, {"a flag"}, {{"seed", "0"}});
    EXPECT_EQ(XmlProblem(page), "") << models.front().model;
    EXPECT_TRUE(page == RenderAnalysisHtml(models, {"a flag"}, {{"seed", "0"}}));
  }
}

TEST(Analysis, TablesFitAHundredColumnsAndRepeat) {
  for (const auto& models : Samples()) {
    const std::string text = RenderAnalysisTable(models, {"a flag " + std::string(250, 'x')});
    EXPECT_LE(LongestLine(text), 100u) << text;
    EXPECT_EQ(text, RenderAnalysisTable(models, {"a flag " + std::string(250, 'x')}));
  }
}

TEST(Analysis, RendersModelsWithNothingInThem) {
  Phenomena no_blocks, no_heads;
  no_heads.blocks.resize(2);
  Phenomena empty_gate = no_heads;
  empty_gate.blocks[0].gate = GatePhenomena();
  for (const auto& models : std::vector<std::vector<Phenomena>>{
           {}, {no_blocks}, {no_heads}, {empty_gate}, {no_blocks, no_heads}, {SampleGated(), no_blocks}}) {
    EXPECT_EQ(XmlProblem(RenderAnalysisHtml(models, {}, {})), "");
    EXPECT_LE(LongestLine(RenderAnalysisTable(models, {})), 100u);
  }
}

TEST(Analysis, EscapesEveryTextAndShowsNoNumberThatIsNotFinite) {
  for (const double value : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    for (auto models : Samples()) {
      for (Phenomena& model : models) model = Hostile(model, value);
      const std::string page = RenderAnalysisHtml(models, {kBad}, {{kBad, kBad}});
      EXPECT_EQ(XmlProblem(page), "");
      EXPECT_EQ(CountOf(page, "<script"), 1u);  // our own
      EXPECT_EQ(page.find("<script>alert"), std::string::npos);
      const std::string text = RenderAnalysisTable(models, {kBad});
      EXPECT_LE(LongestLine(text), 100u) << text;
      const std::string body = page.substr(page.find("<body>"), page.find("<script") - page.find("<body>"));
      for (const std::string& shown : {body, text}) {
        for (const char hidden : {'\x01', '\x1b', '\xff'}) EXPECT_EQ(shown.find(hidden), std::string::npos);
        std::smatch number;
        EXPECT_FALSE(std::regex_search(shown, number, std::regex("[^a-z](nan|inf|infinity)[^a-z]", std::regex::icase)))
            << number.str() << " at " << shown.substr(static_cast<size_t>(number.position()), 80);
      }
    }
}

TEST(Analysis, AdmitsItsOwnScriptByHashAndNoOther) {
  // The SHA-256 of no bytes, as RFC 4648 writes e3b0c442...b855.
  EXPECT_EQ(ScriptHash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
  const std::string page = RenderAnalysisHtml({SampleGated()}, {}, {});
  const size_t from = page.find("<script>") + 8;
  EXPECT_NE(page.find("script-src '" + ScriptHash(page.substr(from, page.find("</script>") - from)) + "'"),
            std::string::npos);
  EXPECT_EQ(page.find("script-src 'unsafe-inline'"), std::string::npos);
  EXPECT_EQ(HtmlHead("report").find("script-src"), std::string::npos);
}

TEST(Analysis, EveryLinkOfThePageHasItsTarget) {
  for (const auto& models : Samples()) {
    const std::string page = RenderAnalysisHtml(models, {}, {});
    const std::regex link("href=\"#([^\"]+)\"");
    for (std::sregex_iterator at(page.begin(), page.end(), link), end; at != end; ++at)
      EXPECT_EQ(CountOf(page, "id=\"" + (*at)[1].str() + "\""), 1u) << (*at)[1].str();
  }
  const std::string page = RenderAnalysisHtml({SamplePhenomena("m", 0)}, {}, {});
  EXPECT_NE(page.find("href=\"#n0-11-1229\""), std::string::npos);  // from the super weight to its neuron
  EXPECT_NE(page.find("href=\"#a0-11-507\""), std::string::npos);   // from the neuron to its amplifier
}

TEST(Analysis, ShowsFlagsFirstAndOnlyWhenThereAreAny) {
  const std::vector<Phenomena> models = {SamplePhenomena("dense", 0), SampleBroken()};
  const std::string flagged = RenderAnalysisHtml(models, {"The step-up is gone."}, {});
  EXPECT_NE(flagged.find("✗ 1 flag<"), std::string::npos);
  EXPECT_LT(flagged.find("The step-up is gone."), flagged.find("<h2>"));
  EXPECT_EQ(RenderAnalysisHtml(models, {}, {}).find("class=\"alert\""), std::string::npos);
  EXPECT_NE(RenderAnalysisHtml(models, {}, {}).find("✓ no flags"), std::string::npos);
}

TEST(Analysis, NumbersBlocksBothWays) {
  // Block 11 is, counted from 1 in halves, the paper's 23 (attention) and 24 (FFN).
  EXPECT_EQ(PaperText(11), "23, 24");
  const std::string page = RenderAnalysisHtml({SamplePhenomena("m", 0)}, {}, {});
  EXPECT_NE(page.find("m, block 11 FFN (paper&#39;s block 24): largest |h| 24,215"), std::string::npos);
  EXPECT_NE(page.find("block 29 attention (paper&#39;s block 59): step-down"), std::string::npos);
}

TEST(PhenomenaText, ComparesSharesInPointsSizesAsRatiosAndCountsAsDifferences) {
  Phenomena before, after;
  before.sink_rate = 0.8, after.sink_rate = 0.75;
  before.massive_mean = 400, after.massive_mean = 100;
  before.step_up = {{2, false}};
  after.super_weights.resize(2);
  const auto change = [rows = CompareKeyFigures({before, after})](const std::string& name) {
    for (const KeyFigureRow& row : rows)
      if (row.name == name) return row.change;
    return std::string("no such row");
  };
  EXPECT_EQ(change("sink rate"), "-5.0 points");
  EXPECT_EQ(change("M-Act, mean over blocks"), "×0.25");
  EXPECT_EQ(change("super weights"), "+2");
  EXPECT_EQ(change("step-up blocks"), "changed");
  EXPECT_EQ(change("step-down blocks"), "");
}

TEST(PhenomenaText, KeepsAFigureThatOnlyOneModelHas) {
  Phenomena plain, gated;
  gated.blocks.resize(1);
  gated.blocks[0].gate = GatePhenomena();
  gated.blocks[0].gate->mean = 0.25;
  for (const KeyFigureRow& row : CompareKeyFigures({plain, gated}))
    if (row.name == "mean gate score") {
      EXPECT_EQ(row.texts, (Texts{"", "0.250"}));
      EXPECT_EQ(row.change, "");
      return;
    }
  ADD_FAILURE() << "no row of the gate";
}

TEST(PhenomenaText, NamesTheNeuronsThatWriteMostFirst) {
  Phenomena model;
  model.spike_channels = {5};
  for (const double contribution : std::vector<double>{3, -40, NAN, 20}) {
    SpikeNeuron neuron;
    neuron.index = static_cast<int64_t>(model.neurons.size());
    neuron.contribution = contribution;
    model.neurons.push_back(neuron);
  }
  EXPECT_NE(SpikeSentence(model).find("Written by FFN neurons (0, 1), (0, 3), (0, 0) and 1 more."), std::string::npos)
      << SpikeSentence(model);
}

TEST(Analysis, MarksAHalfBlockThatStepsBothWaysSideBySide) {
  Phenomena model = SampleGated();
  model.step_up = {{3, false}};
  const std::string up = LifeCycleChart({{&model, 3}}, 1032);
  model.step_down = {{3, false}};
  const std::string both = LifeCycleChart({{&model, 3}}, 1032);
  // 12 blocks in 1032 - 46 - 14 = 972 pixels: a half block is 40.5 wide, the eighth starts at 46 + 7 * 40.5 = 329.5.
  EXPECT_NE(up.find("x=\"329.5\" y=\"46\" width=\"40.5\""), std::string::npos);
  EXPECT_NE(both.find("x=\"329.5\" y=\"46\" width=\"20.3\""), std::string::npos);
  EXPECT_NE(both.find("x=\"349.8\" y=\"46\" width=\"20.3\""), std::string::npos);
}

TEST(PhenomenaText, ListsSixAndCountsTheRest) {
  EXPECT_EQ(ChannelsText({}), "none");
  EXPECT_EQ(ChannelsText({507, 247, 14}), "507, 247, 14");
  EXPECT_EQ(ChannelsText({1, 2, 3, 4, 5, 6, 7, 8}), "1, 2, 3, 4, 5, 6 and 2 more");
  EXPECT_EQ(TokenText("\n\n"), "\"\\n\\n\"");
}

TEST(PhenomenaText, MeansOfGatesKeepLearnedGatesAndSinkLogitsApart) {
  Phenomena model;
  model.blocks.resize(4);
  const auto set = [&](size_t block, GateForm form, double mean) {
    model.blocks[block].gate = GatePhenomena();
    model.blocks[block].gate->form = form;
    model.blocks[block].gate->mean = mean;
  };
  set(0, GateForm::kElementwise, 0.1);
  set(1, GateForm::kHeadwise, 0.3);
  set(2, GateForm::kSinkLogit, 0.9);
  EXPECT_DOUBLE_EQ(MeanGate(model, false).mean, 0.2);
  EXPECT_EQ(MeanGate(model, false).blocks, 2);
  EXPECT_DOUBLE_EQ(MeanGate(model, true).mean, 0.9);
}

TEST(TextTable, WrapsAtWordsAndCutsWordsThatAreLongerThanALine) {
  EXPECT_EQ(WrapText("a b"), "a b\n");
  EXPECT_EQ(WrapText(""), "\n");
  const std::string ten(10, 'x'), line = WrapText(std::string(95, 'y') + " " + ten, 2);
  EXPECT_EQ(line, std::string(95, 'y') + "\n  " + ten + "\n");
  EXPECT_EQ(WrapText(std::string(130, 'z'), 2), std::string(100, 'z') + "\n  " + std::string(30, 'z') + "\n");
  EXPECT_EQ(CutText("ééééé", 3), "éé…");
}

}  // namespace
}  // namespace espalier
