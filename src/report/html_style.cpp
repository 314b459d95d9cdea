#include "espalier/report/html_style.h"

namespace espalier {

// Colours: Okabe and Ito's palette, which stays distinguishable with the common forms of colour blindness; brighter in
// the dark. Everything coloured is also told apart by shape, position or text.
const char kHtmlStyle[] = R"css(
:root{--paper:#fff;--panel:#f7f8fa;--ink:#16191d;--soft:#59626e;--line:#dfe3e8;--grid:#e8ebef;
--m0:#5b6673;--m1:#d55e00;--m2:#009e73;--m3:#0072b2;--m4:#cc79a7;--m5:#b58900;
--kept:#0072b2;--cut:#dbe4ec;--protected:#b3427f;--up:#d55e00;--down:#0072b2;--good:#00734f;--bad:#b3261e;
--open:#8a5a00;--broad:#ffb000;--alarm:#fdf3f2;--target:rgba(0,114,178,.12)}
@media (prefers-color-scheme:dark){:root{--paper:#12151a;--panel:#1a1e25;--ink:#e8ebef;--soft:#a1abb8;--line:#2f3640;
--grid:#272d36;--m0:#a9b4c2;--m1:#f0873a;--m2:#2fc79a;--m3:#56b4e9;--m4:#e29ac4;--m5:#f0e442;
--kept:#56b4e9;--cut:#2b3440;--protected:#f08cc4;--up:#f0873a;--down:#56b4e9;--good:#4fd1a5;--bad:#ff8a80;
--open:#ffc861;--broad:#ffb000;--alarm:#2a1917;--target:rgba(86,180,233,.18)}}
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans","DejaVu Sans",sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1080px;margin:0 auto;padding:40px 24px 64px}
.eyebrow{margin:0 0 6px;color:var(--soft);font-size:13px;letter-spacing:.06em;text-transform:uppercase}
h1{margin:0 0 20px;font-size:30px;line-height:1.2;letter-spacing:-.015em;font-weight:650;text-wrap:balance;
overflow-wrap:anywhere}
h2{margin:52px 0 4px;font-size:20px;line-height:1.3;letter-spacing:-.01em;font-weight:650}
.lead{margin:0;text-wrap:pretty;font-size:18px;line-height:1.5;max-width:62em;overflow-wrap:anywhere}
.verdict{display:inline-flex;align-items:center;gap:8px;margin:0 0 12px;padding:3px 12px 3px 10px;border-radius:99px;
border:1.5px solid currentColor;font-size:14px;font-weight:600;line-height:1.5}
.pass{color:var(--good)}.fail{color:var(--bad)}.inconclusive{color:var(--open)}
.note{margin:2px 0 14px;color:var(--soft);font-size:14px;max-width:84em;text-wrap:pretty;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:12px;margin:28px 0 0;padding:0;
list-style:none}
.tiles li{padding:14px 16px 16px;border-radius:10px;background:var(--panel);border:1px solid var(--line)}
.tiles .what{display:block;color:var(--soft);font-size:13px;line-height:1.35}
.tiles b{display:block;margin:4px 0 8px;font-size:26px;line-height:1.15;font-weight:650;letter-spacing:-.02em}
.tiles .meter{margin:0 0 7px}.tiles small{display:block;color:var(--soft);font-size:13px;line-height:1.4}
.meter{display:block;height:6px;border-radius:3px;background:var(--cut);overflow:hidden}
.meter i{display:block;height:100%;background:var(--kept)}
.scroll{overflow-x:auto;background:linear-gradient(to right,var(--paper) 40%,transparent) 0 0/48px 100%,
linear-gradient(to left,var(--paper) 40%,transparent) 100% 0/48px 100%,linear-gradient(to right,var(--line),
transparent) 0 0/14px 100%,
linear-gradient(to left,var(--line),transparent) 100% 0/14px 100%;background-repeat:no-repeat;
background-attachment:local,local,scroll,scroll;margin:14px 0 0;border-top:1px solid var(--line);border-bottom:1px 
solid var(--line)}
table{border-collapse:collapse;width:100%;font-size:14px;line-height:1.4}
th,td{padding:9px 14px;text-align:left;vertical-align:top;border-top:1px solid var(--line)}
thead tr:first-child th,tbody:first-child tr:first-child>*{border-top:0}
th{font-weight:600}thead th{white-space:nowrap;color:var(--soft);font-size:13px;vertical-align:bottom}
th:first-child,td:first-child{padding-left:2px}
.num{text-align:right;white-space:nowrap}.keep{white-space:nowrap}
td small,th small{display:block;color:var(--soft);font-size:12.5px;font-weight:400}
.wrap{min-width:17em;width:38%;overflow-wrap:anywhere}
.name{white-space:nowrap}th.keep+.wrap{width:100%}
.key{display:inline-block;width:10px;height:10px;margin-right:8px;border-radius:2px}
.b0{background:var(--m0)}.b1{background:var(--m1)}.b2{background:var(--m2)}.b3{background:var(--m3)}
.b4{background:var(--m4)}.b5{background:var(--m5)}
figure{margin:14px 0 0}
svg{display:block;width:100%;height:auto;font-family:inherit}
.narrow{display:none}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:10px 0 0;padding:0;list-style:none;color:var(--soft);
font-size:13px}
.legend li{display:flex;align-items:center;gap:7px}.legend svg{width:26px;height:12px;flex:none}
text{fill:var(--ink);font-size:13px}.tick{fill:var(--soft);font-size:12px}.axis{fill:var(--soft);font-size:12px}
.group{font-weight:600;font-size:14px}.value{font-weight:600}.mid{text-anchor:middle}.end{text-anchor:end}
.grid{stroke:var(--grid);stroke-width:1}.limit{stroke:var(--bad);stroke-width:1.4;stroke-dasharray:5 3}
.zero{stroke:var(--soft);stroke-width:1}
.curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.s0{stroke:var(--m0)}.s1{stroke:var(--m1)}
.s2{stroke:var(--m2)}.s3{stroke:var(--m3)}.s4{stroke:var(--m4)}.s5{stroke:var(--m5)}
.curve.s0{stroke-width:4;stroke-opacity:.45}.curve.dotted{stroke-width:1.6;stroke-opacity:.9;stroke-dasharray:1 4}
.curve.thin{stroke:var(--m0);stroke-width:1.2;stroke-opacity:.75}
.m0{fill:var(--m0)}.m1{fill:var(--m1)}.m2{fill:var(--m2)}.m3{fill:var(--m3)}.m4{fill:var(--m4)}.m5{fill:var(--m5)}
.curve.dashed{stroke-dasharray:7 4}.error{fill:none;stroke-width:1.4}.wideband{fill-opacity:.22}
.mark{stroke:var(--paper);stroke-width:.8}.whisker{fill:none;stroke:var(--ink);stroke-width:1.4}
.kept{fill:var(--kept)}.cut{fill:var(--cut)}.protected{fill:var(--protected)}
.ring{fill:none;stroke:var(--protected);stroke-width:2}
.band{fill-opacity:.1}.up{fill:var(--up)}.down{fill:var(--down)}
.open{fill:var(--paper);stroke-width:1.5}
.heat{fill:var(--kept);fill-opacity:1}.q0{fill-opacity:.05}.q1{fill-opacity:.13}.q2{fill-opacity:.21}
.q3{fill-opacity:.3}.q4{fill-opacity:.39}.q5{fill-opacity:.48}.q6{fill-opacity:.57}.q7{fill-opacity:.67}
.q8{fill-opacity:.78}.q9{fill-opacity:.89}.none{fill:none;stroke:var(--line)}
td.shade{background:color-mix(in srgb,var(--kept) calc(var(--q)*1%),transparent)}td.shade small{color:inherit}
.noop{fill:var(--paper);stroke:var(--ink);stroke-width:1.2}
.broadcast{fill:var(--broad);stroke:var(--ink);stroke-width:1}
.scroll+figure{margin-top:28px}.small{stroke-width:.6}figure+.note,.pair+.note{margin-top:20px}
.legend .ramp svg{width:110px}
.tiles.by3{grid-template-columns:repeat(3,1fr)}.tiles.by4{grid-template-columns:repeat(4,1fr)}
.lead+.lead{margin-top:8px}.fit{width:fit-content;max-width:100%}.fit th,.fit td{padding-left:16px;padding-right:16px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 24px}.pair figure{min-width:0}
figcaption{font-weight:600;font-size:14px}h3{margin:26px 0 0;font-size:15px;font-weight:650}
.alert{margin:20px 0 0;padding:12px 18px 14px;border:1.5px solid var(--bad);border-radius:10px;
background:var(--alarm)}.alert b{color:var(--bad)}.alert ul{margin:4px 0 0}
.dense{font-size:13px}.dense th,.dense td{padding:5px 9px}.dense thead th{font-size:12.5px;white-space:normal}
.dense tbody th:not([class]){min-width:9em}
.dense th:first-child,.dense td:first-child{padding-left:2px}
.tall{max-height:26em;overflow:auto}.tall thead th{position:sticky;top:0;background:var(--paper);
box-shadow:inset 0 -1px var(--line)}.onpaper{display:none}
tr:target>*{background:var(--panel);box-shadow:inset 0 0 0 99px var(--target)}
a{color:var(--kept)}
th button{all:unset;cursor:pointer;display:inline-block;border-radius:3px}
th button:focus-visible{outline:2px solid var(--kept);outline-offset:2px}
th button:hover{color:var(--ink)}th[aria-sort]{color:var(--ink)}
th[aria-sort=ascending] button::after{content:" ↑"}th[aria-sort=descending] button::after{content:" ↓"}
.filter{display:flex;flex-wrap:wrap;gap:6px 18px;align-items:center;margin:14px 0 0;font-size:14px;color:var(--soft)}
.filter input,.filter select{font:inherit;color:var(--ink);background:var(--panel);border:1px solid var(--line);
border-radius:6px;padding:4px 8px;margin-left:6px;max-width:11em}
.chips{margin:12px 0 0;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:6px}
.chips li{padding:1px 8px;border:1px solid var(--line);border-radius:6px;background:var(--panel);font-size:13px}
ul.plain{margin:10px 0 0;padding-left:1.2em;max-width:70em}ul.plain li{margin:4px 0;overflow-wrap:anywhere}
details{margin:28px 0 0;border-top:1px solid var(--line);padding-top:14px}details+details{margin-top:14px}
summary{cursor:pointer;font-weight:600}
footer{margin-top:40px;color:var(--soft);font-size:13px}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
@media (max-width:700px){.pair{display:block}.wide{display:none}.narrow{display:block}main{padding:24px 16px 48px}h1{font-size:24px}
.lead{font-size:17px}h2{margin-top:40px}.tiles,.tiles.by3,.tiles.by4{grid-template-columns:1fr 1fr}.tiles li{padding:12px}
.tiles b{font-size:22px}.tiles li:first-child:nth-last-child(odd){grid-column:1/-1}th,td{padding:8px 10px}}
@media print{:root{--paper:#fff;--panel:#fff;--ink:#000;--soft:#444;--line:#bbb;--grid:#ddd}
body{font-size:11pt}main{max-width:none;padding:0}.wide{display:block}.narrow{display:none}
.pair{display:grid}.scroll,.tall{overflow:visible;max-height:none;background:none}.filter{display:none}
.tall tbody tr:nth-child(n+31){display:none}.onpaper{display:block}.tall thead th{position:static;box-shadow:none}
th[data-name] button{display:none}th[data-name]::before{content:attr(data-name)}
h1{font-size:24px}h2{margin-top:30px}h2,h3,.note,summary{break-after:avoid}.lead{font-size:11.5pt}
details:not([open]){display:none}
.dense{font-size:8pt}.dense thead th{font-size:8pt;white-space:normal}.dense th,.dense td{padding:2pt 4pt}
.note,.alert,.tiles li,.legend{break-inside:avoid}.tiles{grid-template-columns:repeat(4,1fr)}a{color:inherit}
figure,tr,li{break-inside:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
)css";

}  // namespace espalier
