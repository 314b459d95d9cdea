// espalier convert: a checkpoint in another format or layout, otherwise as it is.
#include <fmt/format.h>

#include "arguments.h"
#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "exporting.h"

namespace espalier {
namespace {

namespace po = boost::program_options;

po::variables_map ParseConvert(const std::vector<std::string>& arguments) {
  po::options_description flags;
  const auto text = [] { return po::value<std::string>(); };
  flags.add_options()("to", text()->default_value("safetensors"))("type", text())("tokenizer", text())(
      "gate-layout", text())("shard-size", text())("verify", text()->default_value("on"));
  return ParseArguments("convert", flags, arguments);
}

int ConvertCommand(const std::vector<std::string>& arguments) {
  const po::variables_map parsed = ParseConvert(arguments);
  const std::vector<std::string> paths = Positional(parsed);
  if (paths.size() != 2)
    throw RecipeError(
        fmt::format("convert: {} paths given, expected MODEL and OUT; see espalier convert --help", paths.size()));
  ExportOptions options = ReadExportOptions("convert", parsed);
  options.out = paths[1];
  options.gate_layout = Given(parsed, "gate-layout");
  if (options.gate_layout && options.form == ExportForm::kGguf)
    throw RecipeError("convert: no GGUF architecture holds output gates; leave out --gate-layout or write a folder");
  PrintExported(ExportModel(ResolveExportSource(paths[0], Given(parsed, "tokenizer")), options));
  return kExitPass;
}

const bool kRegistered = RegisterCommand(
    {"convert",
     "Convert a checkpoint: Hugging Face folder, safetensors, GGUF, gate layouts",
     "MODEL OUT [--to safetensors|hf|gguf] [--type TYPE] [--gate-layout A|B|C] [--verify on|off]",
     "MODEL is a folder with config.json and safetensors, or a GGUF file. What is written is read again and its "
     "logits\n"
     "compared before it takes its name.\n\n"
     "  --to safetensors  (default) a folder with the model as it is: config.json, safetensors, tokenizer\n"
     "  --to hf           fitted to stock classes where they can hold it, with a model card (espalier export)\n"
     "  --to gguf         a file for stock llama.cpp\n"
     "  --gate-layout L   how q_proj holds queries and output gates: A grouped elementwise, B grouped headwise, C per "
     "head\n"
     "  --type, --tokenizer, --shard-size, --verify: as in espalier export\n\n"
     "examples:\n"
     "  espalier convert models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf /tmp/smollm2\n"
     "  espalier convert /tmp/smollm2 /tmp/smollm2.q8_0.gguf --to gguf --type q8_0",
     {"--to", "--type", "--tokenizer", "--gate-layout", "--shard-size", "--verify"},
     ConvertCommand});

}  // namespace
}  // namespace espalier
