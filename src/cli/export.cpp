// espalier export: a model as files that other programs open.
#include "espalier/export/export.h"

#include <fmt/format.h>

#include <cstdio>

#include "arguments.h"
#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "exporting.h"

namespace espalier {
namespace {

namespace po = boost::program_options;

po::variables_map ParseExport(const std::vector<std::string>& arguments) {
  po::options_description flags;
  const auto text = [] { return po::value<std::string>(); };
  flags.add_options()("to", text())("type", text())("out", text())("tokenizer", text())("shard-size", text())(
      "verify", text()->default_value("on"));
  return ParseArguments("export", flags, arguments);
}

int ExportCommand(const std::vector<std::string>& arguments) {
  const po::variables_map parsed = ParseExport(arguments);
  const std::vector<std::string> positional = Positional(parsed);
  if (positional.empty()) throw RecipeError("export: no run or model given; see espalier export --help");
  if (positional.size() > 1)
    throw RecipeError(fmt::format("export: one run or model at a time, found also '{}'", positional[1]));
  if (parsed.count("to") == 0) throw RecipeError("export: --to is missing; expected gguf, hf or padded");
  ExportOptions options = ReadExportOptions("export", parsed);
  options.out = Given(parsed, "out");
  PrintExported(ExportModel(ResolveExportSource(positional.front(), Given(parsed, "tokenizer")), options));
  return kExitPass;
}

const bool kRegistered = RegisterCommand(
    {"export",
     "Write a run's model, or any other, as GGUF or a Hugging Face folder",
     "RUN_OR_MODEL --to gguf|hf|padded [--type TYPE] [--out PATH] [--shard-size SIZE] [--verify on|off]",
     "RUN_OR_MODEL is a run's folder (its healed model, else its pruned one), a checkpoint's folder or a GGUF file. "
     "What "
     "is\nwritten is read again and its logits compared before it takes its name.\n\n"
     "  --to gguf         one file that stock llama.cpp reads, whatever the sizes of the blocks\n"
     "  --to hf           config.json, safetensors, tokenizer, model card; uneven blocks as per_layer_config\n"
     "  --to padded       the same, padded with zeros to even blocks: opens in stock transformers, gains no speed\n"
     "  --type TYPE       gguf: f32, f16 (default), bf16, q8_0, q4_0; folders: float32 (default), bfloat16\n"
     "  --out PATH        where to; default: beside the model, named after it\n"
     "  --tokenizer PATH  a GGUF file or folder whose tokenizer is copied; default: that of the run's source model\n"
     "  --shard-size SIZE largest safetensors file: 500MB, 5GB (default)\n"
     "  --verify off      do not read it again\n\n"
     "examples:\n"
     "  espalier export runs/smollm2-135m-starter --to gguf --type q8_0\n"
     "  espalier export runs/smollm2-135m-starter/pruned --to padded --out /tmp/padded",
     {"--to", "--type", "--out", "--tokenizer", "--shard-size", "--verify"},
     ExportCommand});

}  // namespace
}  // namespace espalier
