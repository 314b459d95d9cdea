#include "espalier/report/table_script.h"

namespace espalier {

// Sorts a table by a click on a head, figures from the largest first, and filters it: `data-range` names the column
// that "3, 9-12" is read for, `data-choice` the one whose values are offered. `data-name` is for
// paper, where browsers do not repeat buttons in the head of a table that goes on on the next page.
const char kTableScript[] = R"js("use strict";
const text=(row,i)=>row.cells[i].textContent.trim();
const number=t=>{const n=parseFloat(t.replace(/,/g,"").replace(/^[^\d.-]+/,""));return Number.isNaN(n)?-Infinity:n};
const order=(x,y)=>(x>y)-(y>x);
const make=(name,parent)=>parent.appendChild(document.createElement(name));
function ranges(value){return(value.match(/\d+\s*-\s*\d+|\d+/g)||[]).map(part=>{
const[from,to]=part.split("-").map(Number);return[from,to===undefined?from:to]})}
function sorting(table,heads,rows){heads.forEach((head,i)=>{head.dataset.name=head.textContent;
const button=document.createElement("button");button.type="button";
button.append(...head.childNodes);head.append(button);
const figures=head.classList.contains("num");
button.addEventListener("click",()=>{const now=head.getAttribute("aria-sort");
const up=now?now==="descending":!figures;heads.forEach(other=>other.removeAttribute("aria-sort"));
head.setAttribute("aria-sort",up?"ascending":"descending");
rows.sort((a,b)=>{const x=text(a,i),y=text(b,i);
const d=figures?order(number(x),number(y)):x.localeCompare(y,undefined,{numeric:true});return up?d:-d});
table.tBodies[0].append(...rows)})})}
function filtering(table,heads,rows){const bar=document.createElement("p");bar.className="filter";
const tests=[],apply=()=>{let shown=0;
for(const row of rows){row.hidden=!tests.every(test=>test(row));if(!row.hidden)shown+=1}
state.textContent=shown===rows.length?"":shown+" of "+rows.length+" rows"};
const field=(column,name)=>{const label=make("label",bar);label.append(heads[column].textContent+" ");
const input=make(name,label);input.addEventListener("input",apply);return input};
if(table.dataset.range!==undefined){const i=Number(table.dataset.range),input=field(i,"input");
input.type="search";input.placeholder="3, 9-12";
tests.push(row=>{const parts=ranges(input.value),n=number(text(row,i));
return parts.length===0||parts.some(([from,to])=>!(from>n||n>to))})}
if(table.dataset.choice!==undefined){const i=Number(table.dataset.choice),input=field(i,"select");
make("option",input).textContent="all";
for(const value of new Set(rows.map(row=>text(row,i))))make("option",input).textContent=value;
tests.push(row=>input.selectedIndex===0||text(row,i)===input.value)}
const state=make("span",bar);state.setAttribute("role","status");
if(tests.length>0)table.parentElement.before(bar)}
for(const table of document.querySelectorAll("table.sortable")){
const heads=Array.from(table.tHead.rows[0].cells),rows=Array.from(table.tBodies[0].rows);
filtering(table,heads,rows);sorting(table,heads,rows)}
)js";

}  // namespace espalier
