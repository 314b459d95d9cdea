#pragma once
// The style sheet of the HTML page: light, dark, phone, print.
namespace espalier {

extern const char kHtmlStyle[];

}  // namespace espalier
