#include "espalier/export/target.h"

#include "espalier/io/quantize.h"

namespace espalier {
namespace {

std::unique_ptr<ExportTarget> Folder(ExportForm form, const Options& options) {
  auto target = std::make_unique<ExportTarget>();
  target->options.form = form;
  target->options.shard_bytes = ParseBytes(options.Text("shard_size"));
  return target;
}

std::vector<OptionSpec> FolderOptions() {
  return {TextOption("shard_size", "5GB", "Largest safetensors file: 500MB, 5GB")};
}

const bool kGguf = Registry<ExportTarget>::Register(
    {"gguf",
     "One file for stock llama.cpp, whatever the sizes of the blocks: deci, openelm, or the model's own architecture",
     "llama.cpp src/llama-model.cpp; docs/export.md",
     {},
     {TextOption("type", "f16", "Type of the matrices").OneOf(WritableGgmlTypes())}},
    [](const Options& options) {
      auto target = std::make_unique<ExportTarget>();
      target->options.type = options.Text("type");
      return target;
    });

const bool kHf =
    Registry<ExportTarget>::Register({"hf",
                                      "Hugging Face folder with a model card; uneven blocks as per_layer_config",
                                      "transformers",
                                      {},
                                      FolderOptions()},
                                     [](const Options& options) { return Folder(ExportForm::kFolder, options); });

const bool kPadded = Registry<ExportTarget>::Register(
    {"padded",
     "Hugging Face folder padded with zeros to even blocks: opens in stock transformers, gains no speed",
     "ours",
     {},
     FolderOptions()},
    [](const Options& options) { return Folder(ExportForm::kPaddedFolder, options); });

}  // namespace
}  // namespace espalier
