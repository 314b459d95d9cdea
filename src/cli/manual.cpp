// espalier manual: the manual page, made from the command table.
#include <fmt/format.h>

#include <cstdio>

#include "espalier/cli/command.h"
#include "espalier/core/version.h"

namespace espalier {
namespace {

// What roff would read as a request, an escape or a soft hyphen.
std::string Escaped(const std::string& text) {
  std::string escaped;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) escaped += "\\&";
    if (c == '\\')
      escaped += "\\e";
    else if (c == '-')
      escaped += "\\-";
    else
      escaped += c;
    line_start = c == '\n';
  }
  return escaped;
}

std::string Section(const Command& command) {
  return fmt::format(".SS espalier {} {}\n{}.\n.PP\n.nf\n{}\n.fi\n", Escaped(command.name), Escaped(command.usage),
                     Escaped(command.summary), Escaped(command.help));
}

int ManualCommand(const std::vector<std::string>&) {
  std::string text = fmt::format(
      ".TH ESPALIER 1 \"\" \"espalier {}\" \"User commands\"\n"
      ".SH NAME\nespalier \\- prunes transformer language models in structured units\n"
      ".SH SYNOPSIS\n.B espalier\n.I command\n[arguments] [\\-\\-help] [\\-\\-quiet] [\\-\\-verbose]\n"
      ".SH DESCRIPTION\n"
      "A recipe scores attention heads and FFN channels while protecting the parameters that create massive "
      "activations\n"
      "and the heads that park attention on them, cuts real tensors, heals the result by fine\\-tuning, and judges "
      "it.\n"
      ".SH COMMANDS\n",
      Version());
  for (const Command& command : Commands()) text += Section(command);
  text += fmt::format(
      ".SH EXIT STATUS\n"
      ".TP\n{}\npass\n.TP\n{}\na gate failed: a regression\n.TP\n{}\nwrong input or usage; one line says where and "
      "what\n"
      ".TP\n{}\nnot enough evidence\n.TP\n{}\na mistake of the program; please report it\n.TP\n{}\ninterrupted; the "
      "same "
      "command goes on\n"
      ".SH ENVIRONMENT\n"
      ".TP\nNO_COLOR, CI\nplain lines instead of colours and bars\n"
      ".TP\nOMP_NUM_THREADS\nthreads of tensor work\n"
      ".TP\nOMP_WAIT_POLICY=passive\nfor a machine with other heavy work\n"
      ".TP\nRANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT\nset by launchers of several processes\n",
      kExitPass + 0, kExitRegression + 0, kExitUsage + 0, kExitInconclusive + 0, kExitInternal + 0,
      kExitInterrupted + 0);
  std::fputs(text.c_str(), stdout);
  return kExitPass;
}

const bool kRegistered = RegisterCommand(
    {"manual", "Print the manual page", "", "example:\n  espalier manual | man -l -", {}, ManualCommand});

}  // namespace
}  // namespace espalier
