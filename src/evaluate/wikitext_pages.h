#pragma once
// WikiText as the data set wikitext_document_level has it, and the detokenizer of lm-eval's task.
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

// Pages of a raw file: each starts at a line of the form " = Title = ".
std::vector<std::string> WikitextPages(std::string_view text);

// The spaces that WikiText puts around punctuation taken out again, by lm-eval's fixed list of replacements, in its
// order and with its oddities, so that the same tokens are scored.
std::string WikitextDetokenize(std::string text);

// Runs of white space that separate words, plus one: len(re.split(r"\s+", text)).
int64_t CountWords(std::string_view text);

}  // namespace espalier
