#include "espalier/model/variants.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/model/config.h"

namespace espalier {

template <>
const std::vector<std::string>& NamesOf<NormKind>() {
  static const std::vector<std::string> names = {"rms", "dynamic_tanh"};
  return names;
}
template <>
const std::vector<std::string>& NamesOf<FfnKind>() {
  static const std::vector<std::string> names = {"gated", "plain", "linear"};
  return names;
}
template <>
const std::vector<std::string>& NamesOf<GatePlace>() {
  static const std::vector<std::string> names = {"g1", "g2", "g3", "g4", "g5"};
  return names;
}
template <>
const std::vector<std::string>& NamesOf<GateApply>() {
  static const std::vector<std::string> names = {"multiply", "add"};
  return names;
}
template <>
const std::vector<std::string>& NamesOf<GateFunction>() {
  static const std::vector<std::string> names = {"sigmoid", "silu", "identity", "ns_sigmoid"};
  return names;
}
template <>
const std::vector<std::string>& NamesOf<GateSignal>() {
  static const std::vector<std::string> names = {"state", "none", "position", "token"};
  return names;
}
template <>
const std::vector<std::string>& NamesOf<HeadTransform>() {
  static const std::vector<std::string> names = {"none", "rms_norm", "silu"};
  return names;
}
template <>
const std::vector<std::string>& NamesOf<AttentionWeights>() {
  static const std::vector<std::string> names = {"softmax", "softmax1", "softpick", "clipped"};
  return names;
}
template <>
const std::vector<std::string>& NamesOf<GateKind>() {
  static const std::vector<std::string> names = {"none", "elementwise", "headwise", "single"};
  return names;
}
template <>
const std::vector<std::string>& NamesOf<NormPlacement>() {
  static const std::vector<std::string> names = {"pre", "output", "sandwich", "post"};
  return names;
}
template <>
const std::vector<std::string>& NamesOf<QkNorm>() {
  static const std::vector<std::string> names = {"none", "per_head", "all_heads"};
  return names;
}
template <>
const std::vector<std::string>& NamesOf<Activation>() {
  static const std::vector<std::string> names = {"silu", "gelu_tanh"};
  return names;
}

template <class E>
E Named(const std::string& name, const std::string& where) {
  const std::vector<std::string>& names = NamesOf<E>();
  const auto found = std::ranges::find(names, name);
  if (found == names.end())
    throw IoError(fmt::format("{}: found '{}', expected one of {}", where, name, fmt::join(names, ", ")));
  return static_cast<E>(found - names.begin());
}
template NormKind Named(const std::string&, const std::string&);
template FfnKind Named(const std::string&, const std::string&);
template GatePlace Named(const std::string&, const std::string&);
template GateApply Named(const std::string&, const std::string&);
template GateFunction Named(const std::string&, const std::string&);
template GateSignal Named(const std::string&, const std::string&);
template HeadTransform Named(const std::string&, const std::string&);
template AttentionWeights Named(const std::string&, const std::string&);
template GateKind Named(const std::string&, const std::string&);
template NormPlacement Named(const std::string&, const std::string&);
template QkNorm Named(const std::string&, const std::string&);
template Activation Named(const std::string&, const std::string&);

}  // namespace espalier
