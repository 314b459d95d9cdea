#include "support/well_formed.h"

#include <algorithm>
#include <pugixml.hpp>
#include <sstream>

#include "espalier/report/text_table.h"

namespace espalier {

std::string XmlProblem(const std::string& html) {
  std::string xml = html.substr(html.find("<body>"));
  for (size_t at = xml.find("<br>"); at != std::string::npos; at = xml.find("<br>")) xml.replace(at, 4, "<br/>");
  xml.resize(xml.find("</html>"));
  const pugi::xml_parse_result parsed = pugi::xml_document().load_string(xml.c_str());
  return parsed ? "" : std::string(parsed.description()) + " at " + xml.substr(static_cast<size_t>(parsed.offset), 80);
}

size_t LongestLine(const std::string& text) {
  size_t longest = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) longest = std::max(longest, ShownWidth(line));
  return longest;
}

}  // namespace espalier
