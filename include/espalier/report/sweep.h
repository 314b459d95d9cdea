#pragma once
// The result of a sweep: many runs of one recipe as one table and one picture a text. JSON first (schema
// espalier.sweep/1, docs/schemas); Markdown, HTML, SVG and the terminal's table are rendered from it alone.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

struct NameValue {
  std::string name, value;
};

// Overrides laid over the recipe, and what they make of it in a line.
struct SweepVariant {
  std::string name;
  std::vector<std::string> set;
  std::string method;  // "score fisher; allocate global; compensate least_squares; protect spike_producers"
};

// A text that perplexity was measured on, with the dense model's figure.
struct SweepText {
  std::string id, corpus, preset;
  std::vector<NameValue> protocol;
  double dense = 0, dense_low = 0, dense_high = 0;
};

// Perplexity of one model of one cell. The interval of the ratio to dense is paired on the same tokens.
struct SweepFigure {
  std::string model, text;  // "pruned", "perplexity-c4"
  double perplexity = 0, ratio = 0, ratio_low = 0, ratio_high = 0;
};

// Units of one kind that the plan cut, all blocks together.
struct SweepCut {
  std::string kind;  // the plan's key: "ffn_channels"
  int64_t cut = 0, of = 0;
};

struct SweepPhenomena {
  std::string model;
  double sink_rate = 0;      // share of (sequence, head) that sink
  double largest_spike = 0;  // largest |h| of the residual stream
};

// What a finished cell found. Shares are removed shares of the dense model.
struct SweepRun {
  double achieved = 0;  // of what the budget counts
  double block_parameters = 0, total_parameters = 0, bytes = 0;
  std::vector<SweepCut> cut;
  std::vector<SweepFigure> figures;
  std::vector<SweepPhenomena> phenomena;
  int64_t protected_units = 0, protected_would_cut = 0;  // the scorer alone would have cut so many of them
  double calibrate_seconds = 0, plan_seconds = 0, prune_seconds = 0;
  int64_t peak_memory_bytes = 0;
};

enum class SweepState { kOpen, kFinished, kFailed };

struct SweepCell {
  std::string variant;
  int64_t seed = 0;
  double remove = 0;  // asked for
  std::string folder;
  SweepState state = SweepState::kOpen;
  std::string error;            // of a failed cell, one line
  std::optional<SweepRun> run;  // of a finished cell
};

// The seeds of one variant and share together. `perplexity` and `ratio` are geometric means over seeds: exp of the mean
// over seeds and tokens of the loss, and of its difference to dense. The interval resamples the text, not the seeds:
// block bootstrap of the per-token difference, averaged over seeds. The seeds' own spread is `lowest` to `highest`.
struct SweepPoint {
  std::string variant;
  double remove = 0;
  std::string model, text;
  int64_t seeds = 0;
  double perplexity = 0, lowest = 0, highest = 0;
  double ratio = 0, ratio_low = 0, ratio_high = 0;
};

struct SweepReport {
  std::string name, question, budget_of;
  std::vector<double> remove;
  std::vector<int64_t> seeds;
  std::vector<SweepVariant> variants;
  std::vector<SweepText> texts;
  std::vector<SweepCell> cells;
  std::vector<SweepPoint> points;
  std::vector<NameValue> provenance;
};

Json SweepToJson(const SweepReport& sweep);
SweepReport SweepFromJson(const Json& json, const std::string& where);  // IoError naming `where` and the key
// One cell alone, as it stands in the document.
Json SweepCellToJson(const SweepCell& cell);
SweepCell SweepCellFromJson(const Json& json, const std::string& where);

std::string RenderSweepMarkdown(const SweepReport& sweep);  // refers to the pictures by SweepSvgName
std::string RenderSweepHtml(const SweepReport& sweep);      // one self-contained page, light and dark
std::string RenderSweepTable(const SweepReport& sweep);     // at most 100 columns, for the terminal

// The picture of one text, drawn for a width in pixels; empty when no cell has a figure on it. Several shares: a line a
// variant over the removed share of block parameters; one share: a row a variant.
std::string SweepChart(const SweepReport& sweep, const SweepText& text, double width);
// The same as a file of its own, with its legend.
std::string SweepSvg(const SweepReport& sweep, const SweepText& text);
std::string SweepSvgName(const SweepText& text);  // "sweep-perplexity-c4.svg"

}  // namespace espalier
