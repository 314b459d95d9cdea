#pragma once
// The script of pages with sortable tables.
namespace espalier {

// Free of "<" and "&", so that the page stays readable as XML.
extern const char kTableScript[];

}  // namespace espalier
