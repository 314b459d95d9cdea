#include "rope_config.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "espalier/io/gguf.h"
#include "espalier/model/forward.h"

namespace espalier {
namespace {

constexpr std::array kTypes = {"linear", "llama3", "yarn"};

double YarnMagnitude(double factor, double weight) {
  return factor <= 1 ? 1 : 0.1 * weight * std::log(factor) + 1;
}

void ReadYarn(const ConfigReader& scaling, int64_t max_positions, RopeConfig& rope) {
  rope.original_positions = scaling.Maybe<int64_t>("original_max_position_embeddings").value_or(max_positions);
  rope.factor = scaling.Maybe<double>("factor").value_or(static_cast<double>(max_positions) /
                                                         static_cast<double>(rope.original_positions));
  rope.beta_fast = scaling.Maybe<double>("beta_fast").value_or(32);
  rope.beta_slow = scaling.Maybe<double>("beta_slow").value_or(1);
  rope.truncate = scaling.Maybe<bool>("truncate").value_or(true);
  const auto mscale = scaling.Maybe<double>("mscale"), all = scaling.Maybe<double>("mscale_all_dim");
  const double by_rule = mscale && all && *mscale != 0 && *all != 0
                             ? YarnMagnitude(rope.factor, *mscale) / YarnMagnitude(rope.factor, *all)
                             : YarnMagnitude(rope.factor, 1);
  rope.attention_factor = scaling.Maybe<double>("attention_factor").value_or(by_rule);
}

void CheckRope(const std::string& where, const RopeConfig& rope) {
  const bool original = rope.scaling == "llama3" || rope.scaling == "yarn";
  if (!(rope.theta > 1) || !(rope.factor >= 1) || (original && rope.original_positions < 1))
    throw IoError(fmt::format(
        "{}: rope theta {}, factor {}, original positions {}; expected theta above 1, factor at least 1, positions at "
        "least 1",
        where, rope.theta, rope.factor, rope.original_positions));
}

// One set of parameters: `scaling` is rope_parameters or rope_scaling.
RopeConfig ReadOne(const ConfigReader& scaling, double theta, double partial, const ModelConfig& model) {
  RopeConfig rope;
  rope.theta = scaling.Maybe<double>("rope_theta").value_or(theta);
  const double share = scaling.Maybe<double>("partial_rotary_factor").value_or(partial);
  const auto rotated = static_cast<int64_t>(static_cast<double>(model.D) * share);
  if (rotated < 2 || rotated > model.D || rotated % 2 != 0)
    throw IoError(
        fmt::format("{}: partial_rotary_factor {} of head_dim {} turns {} dimensions, expected an even number",
                    scaling.where(), share, model.D, rotated));
  rope.rotated = rotated == model.D ? 0 : rotated;
  const std::string type =
      scaling.Maybe<std::string>("rope_type").value_or(scaling.Maybe<std::string>("type").value_or("default"));
  if (type == "default") return rope;
  if (std::find(kTypes.begin(), kTypes.end(), type) == kTypes.end())
    throw IoError(fmt::format("{}: rope_type '{}' is not supported; supported: default, linear, llama3, yarn",
                              scaling.where(), type));
  rope.scaling = type;
  if (type == "yarn") ReadYarn(scaling, model.max_positions, rope);
  if (type != "yarn") rope.factor = scaling.Get<double>("factor");
  if (type == "llama3") {
    rope.low_frequency_factor = scaling.Get<double>("low_freq_factor");
    rope.high_frequency_factor = scaling.Get<double>("high_freq_factor");
    rope.original_positions = scaling.Get<int64_t>("original_max_position_embeddings");
  }
  CheckRope(scaling.where(), rope);
  return rope;
}

Json RopeJson(const RopeConfig& rope) {
  Json json = {{"rope_type", rope.scaling == "none" ? "default" : rope.scaling}, {"rope_theta", rope.theta}};
  if (rope.scaling != "none") json["factor"] = rope.factor;
  if (rope.scaling == "llama3") {
    json["low_freq_factor"] = rope.low_frequency_factor;
    json["high_freq_factor"] = rope.high_frequency_factor;
  }
  if (rope.original_positions > 0) json["original_max_position_embeddings"] = rope.original_positions;
  if (rope.scaling == "yarn") {
    json["beta_fast"] = rope.beta_fast;
    json["beta_slow"] = rope.beta_slow;
    json["truncate"] = rope.truncate;
    json["attention_factor"] = rope.attention_factor;
  }
  return json;
}

// Llama 3's rule writes divisors that end in its factor; every published model has low 1, high 4 and 8,192 original
// positions. Anything else is refused, because a guess would read the model wrongly.
void ReadFrequencyDivisors(const Checkpoint& checkpoint, ModelConfig& model) {
  const at::Tensor divisors = checkpoint.Read("rope_freqs.weight").to(at::kFloat);
  RopeConfig plain = model.rope, guess = model.rope;
  guess.scaling = "llama3";
  guess.factor = divisors.max().item<double>();
  guess.low_frequency_factor = 1;
  guess.high_frequency_factor = 4;
  guess.original_positions = 8192;
  const at::Tensor before = at::tensor(RopeFrequencies(plain, model.D)),
                   after = at::tensor(RopeFrequencies(guess, model.D));
  if (divisors.sizes() != before.sizes() || !at::allclose(before / divisors, after, 1e-5, 0))
    throw IoError(fmt::format(
        "{}: rope_freqs.weight does not follow Llama 3's rule (low 1, high 4, 8192 positions); give the Hugging Face "
        "folder of this model",
        checkpoint.path().string()));
  model.rope = guess;
}

}  // namespace

void ReadRope(const ConfigReader& config, ModelConfig& model) {
  static const Json kNothing = Json::object();
  const double theta = config.Maybe<double>("rope_theta").value_or(10000);
  const double partial = config.Maybe<double>("partial_rotary_factor").value_or(1);
  const char* key = config.Has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const ConfigReader scaling =
      config.Has(key) ? config.Inside(key) : ConfigReader(kNothing, config.where() + ": " + key);
  if (!scaling.json().is_object())
    throw IoError(fmt::format("{}: found {}, expected an object", scaling.where(), scaling.json().dump()));
  if (scaling.Has("full_attention")) {
    model.rope = ReadOne(scaling.Inside("full_attention"), theta, partial, model);
    if (scaling.Has("sliding_attention"))
      model.windowed_rope = ReadOne(scaling.Inside("sliding_attention"), theta, partial, model);
    return;
  }
  model.rope = ReadOne(scaling, theta, partial, model);
  if (const auto local = config.Maybe<double>("rope_local_base_freq")) {
    model.windowed_rope = RopeConfig();
    model.windowed_rope->theta = *local;
  }
}

void WriteRope(const ModelConfig& model, Json& json) {
  json["rope_theta"] = model.rope.theta;
  if (model.rope.rotated > 0)
    json["partial_rotary_factor"] = static_cast<double>(model.rope.rotated) / static_cast<double>(model.D);
  if (model.rope.scaling != "none") {
    json["rope_scaling"] = RopeJson(model.rope);
    json["rope_scaling"].erase("rope_theta");
  }
  if (!model.windowed_rope) return;
  json["rope_local_base_freq"] = model.windowed_rope->theta;
  json["rope_parameters"] = {{"full_attention", RopeJson(model.rope)},
                             {"sliding_attention", RopeJson(*model.windowed_rope)}};
}

void ReadGgufRope(const Checkpoint& checkpoint, const std::string& arch, ModelConfig& model) {
  const GgufFile& gguf = checkpoint.Gguf();
  const auto key = [&](const char* name) { return arch + ".rope." + name; };
  if (gguf.Has(key("freq_base"))) model.rope.theta = gguf.Real(key("freq_base"));
  const std::string type = gguf.Has(key("scaling.type")) ? gguf.Text(key("scaling.type")) : "none";
  if (type != "none") {
    if (type != "linear" && type != "yarn")
      throw IoError(fmt::format("{}: {} is '{}'; supported: none, linear, yarn", checkpoint.path().string(),
                                key("scaling.type"), type));
    model.rope.scaling = type;
    model.rope.factor = gguf.Real(key("scaling.factor"));
  }
  if (type == "yarn") {
    model.rope.original_positions = gguf.Int(key("scaling.original_context_length"));
    model.rope.attention_factor = YarnMagnitude(model.rope.factor, 1);
    for (const char* other : {"scaling.attn_factor", "scaling.yarn_log_multiplier", "scaling.yarn_beta_fast"})
      if (gguf.Has(key(other)))
        throw IoError(fmt::format("{}: {} is not supported; give the Hugging Face folder of this model",
                                  checkpoint.path().string(), key(other)));
  }
  CheckRope(checkpoint.path().string(), model.rope);
  if (checkpoint.Has("rope_freqs.weight")) ReadFrequencyDivisors(checkpoint, model);
}

}  // namespace espalier
