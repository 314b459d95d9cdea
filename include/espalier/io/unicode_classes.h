#pragma once
// Properties of characters as PyPI tokenizers sees them, which mixes several versions of Unicode. Measured on 0.23 with
// scripts/measure_unicode_classes.py: patterns know Unicode 16, Digits 17, NFC 9; PCRE2 10.42 knows 14 and ICU 72
// knows 15.
#include <string>
#include <string_view>

namespace espalier {

// What a pattern is to see in place of `c`: for a letter or number newer than Unicode 14 an older one whose UTF-8 has
// as many bytes, and for U+180E (white space to PCRE2, but to nobody else since Unicode 6.3) another format character.
char32_t StandIn(char32_t c);
bool MayNeedStandIns(std::string_view text);  // false: no character of `text` has one
// `text` (valid UTF-8) with all its stand-ins; as long as `text`.
void ReplaceByStandIns(std::string_view text, std::string& out);

bool IsLetter(char32_t c);  // \p{L}
bool IsNumber(char32_t c);  // \p{N}, as Digits has it
bool IsWord(char32_t c);    // \w of Unicode technical standard 18, annex C
bool IsSpace(char32_t c);   // \s: White_Space

// Normalization form C of valid UTF-8 below 2 GiB.
std::string ToNfc(std::string_view text);

}  // namespace espalier
