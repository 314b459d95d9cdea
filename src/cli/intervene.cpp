// espalier intervene: change one thing in a model and see what it was for.
#include <ATen/ATen.h>
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "arguments.h"
#include "espalier/calibrate/windows.h"
#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/evaluate/ablation.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/load.h"
#include "espalier/model/precision.h"
#include "espalier/report/analysis.h"

namespace espalier {
namespace {

namespace po = boost::program_options;
using Texts = std::vector<std::string>;

// "PATH" or "PATH@FIRST-LAST", documents FIRST to LAST - 1.
TextSource ParseText(const std::string& text) {
  const size_t at = text.rfind('@');
  if (at == std::string::npos) return {text, 0, std::nullopt};
  const std::string range = text.substr(at + 1);
  int64_t first = 0, last = 0;
  const char* end = range.data() + range.size();
  const auto [dash, error] = std::from_chars(range.data(), end, first);
  const bool whole = error == std::errc() && dash < end && *dash == '-' &&
                     std::from_chars(dash + 1, end, last).ptr == end && first >= 0 && last > first;
  if (!whole) throw RecipeError(fmt::format("intervene: --text '{}': expected PATH or PATH@FIRST-LAST", text));
  return {text.substr(0, at), first, last};
}

// The documents as they are, one after the other: no perplexity preset's joining, because windows are cut anyway.
std::string Joined(const Corpus& corpus) {
  std::string text;
  for (const std::string& document : corpus.documents) text += (text.empty() ? "" : "\n\n") + document;
  return text;
}

AblationText ReadWindows(const Tokenizer& tokenizer, const std::string& text, int64_t windows, int64_t window) {
  const TextSource source = ParseText(text);
  const std::vector<int32_t> ids = tokenizer.Encode(Joined(ReadCorpus(source)));
  const auto available = static_cast<int64_t>(ids.size()) / window;
  if (available < windows)
    throw RecipeError(fmt::format("intervene: {}: {} windows of {} tokens, expected {}; use a longer text or fewer",
                                  source.path.string(), available, window, windows));
  const at::Tensor all = at::tensor(at::ArrayRef<int32_t>(ids.data(), static_cast<size_t>(windows * window)), at::kInt);
  return {source.path.stem().string(), all.to(at::kLong).view({windows, window})};
}

// The whole phenomena of each intervention beside those of the unchanged model.
void WritePages(const Ablation& ablation, const std::filesystem::path& out) {
  for (size_t i = 1; i < ablation.rows.size(); ++i) {
    const AblationRow &before = ablation.rows.front(), &after = ablation.rows[i];
    Texts flags;
    for (const PhenomenonFlag& flag : after.flags) flags.push_back(flag.text);
    std::vector<std::pair<std::string, std::string>> provenance = {{"model", ablation.model},
                                                                   {"intervention", after.intervention}};
    for (size_t text = 0; text < ablation.texts.size(); ++text)
      provenance.emplace_back(
          fmt::format("perplexity of {}, {} windows of {}", ablation.texts[text], ablation.windows, ablation.window),
          fmt::format("{:.2f}, before {:.2f}", after.perplexity[text], before.perplexity[text]));
    WriteFile(out / fmt::format("{}.html", i),
              RenderAnalysisHtml({before.phenomena, after.phenomena}, flags, provenance));
  }
}

int InterveneCommand(const std::vector<std::string>& arguments) {
  po::options_description flags;
  flags.add_options()("do", po::value<Texts>()->composing())(
      "text", po::value<Texts>()->default_value(
                  {"eval/data/wikitext-2/wiki.test.raw", "eval/data/c4/c4-sample.jsonl@700-1000"}, ""))(
      "windows", po::value<int64_t>()->default_value(8))("window", po::value<int64_t>()->default_value(1024))(
      "tokens", po::value<int64_t>()->default_value(2048))("out", po::value<std::string>()->default_value(""))(
      "device", po::value<std::string>()->default_value("cpu"));
  const po::variables_map parsed = ParseArguments("intervene", flags, arguments);
  const Texts positional = Positional(parsed);
  if (positional.size() != 1) throw RecipeError("intervene: expected one model; see espalier intervene --help");
  const int64_t windows = parsed["windows"].as<int64_t>(), window = parsed["window"].as<int64_t>();
  const int64_t tokens = parsed["tokens"].as<int64_t>();
  constexpr int64_t kLength = 512;  // of the windows that are analysed
  if (windows < 1 || window < 8 || tokens < kLength)
    throw RecipeError(
        fmt::format("intervene: {} windows of {} tokens, {} tokens analysed; expected at least 1, 8 and {}", windows,
                    window, tokens, kLength));
  std::vector<Intervention> interventions;
  if (parsed.count("do") > 0)
    for (const std::string& text : parsed["do"].as<Texts>()) interventions.push_back(ParseIntervention(text));

  const std::filesystem::path path = positional.front();
  LoadShapes(path, at::kFloat);  // a family that is not supported is the first thing to say
  const auto tokenizer = Tokenizer::Open(path);
  std::vector<AblationText> texts;
  for (const std::string& text : parsed["text"].as<Texts>())
    texts.push_back(ReadWindows(*tokenizer, text, windows, window));
  UseFasterFloat32Products();
  const Model model = LoadModel(path, ParseDtype("float32"), ParseDevice(parsed["device"].as<std::string>()));
  const at::Tensor analyzed =
      PackWindows(*tokenizer, ReadCorpus({"eval/data/c4/c4-sample.jsonl", 0, 200}), tokens / kLength, kLength, 0);
  AnalyzeOptions options;
  const std::string name = WithoutSlash(path).filename().string();
  if (interventions.empty()) interventions = DefaultInterventions(Analyze(model, analyzed, options, name));
  const Ablation ablation = RunAblation(model, interventions, texts, analyzed, options, name);
  std::filesystem::path out = parsed["out"].as<std::string>();
  if (out.empty()) out = std::filesystem::path("runs/intervene") / ModelName(path);
  WriteJson(out / "ablation.json", AblationToJson(ablation));
  std::fputs(AblationTable(ablation).c_str(), stdout);
  WritePages(ablation, out);
  std::fputs(fmt::format("\nbefore and after: {}/1.html to {}.html\n", out.string(), interventions.size()).c_str(),
             stdout);
  return kExitPass;
}

const bool kRegistered = RegisterCommand(
    {"intervene",
     "Change one thing in a model and see what it was for: perplexity and phenomena before and after",
     "MODEL [--do WHAT ...] [--text PATH[@FIRST-LAST] ...] [--windows N] [--window T] [--tokens N] [--out FOLDER] "
     "[--device D]",
     "WHAT is one of\n"
     "  neuron:B.I[+B.I...]  zero FFN neurons (block.index)    control:BxN  zero N other neurons of block B\n"
     "  spike:zero  spike:mean  spike:scale=X  median:zero     the spiking values after each step-up; a control\n"
     "  super_weight:remove  super_weight:scale=X              the weights that espalier analyze finds\n"
     "  bos:B.H[+B.H...]                                       heads that read the first token only\n"
     "Without --do: what the model's own phenomena suggest. --text may be given several times. FOLDER (default\n"
     "runs/intervene/NAME) gets ablation.json and a page for each intervention, its phenomena beside those of the "
     "model.\n\n"
     "examples:\n"
     "  espalier intervene models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf\n"
     "  espalier intervene MODEL --do neuron:11.1229+11.1487 --do control:11x10 --windows 2",
     {"--do", "--text", "--windows", "--window", "--tokens", "--out", "--device"},
     InterveneCommand});

}  // namespace
}  // namespace espalier
