// Draws the plotly figures of a page, those of a folded chapter when it is opened. A figure that is wider than the page is drawn smaller, and on
// a phone its title is broken into lines. Printed figures have the width of the paper, and the
// figures' tools are left away on the small screen of a phone.

const figures = [], paperWidth = 660, phoneWidth = 600, titleHeight = 20, smallestShare = 0.62;
const waiting = new Map(); // figures of folded chapters, by the chapter

function draw(id, figure) {
  const folded = document.getElementById(id).closest("details.chapter:not([open])");
  if (!folded) return drawNow(id, figure);
  if (!waiting.has(folded)) {
    waiting.set(folded, []);
    folded.addEventListener("toggle", () => drawWaiting(folded));
  }
  waiting.get(folded).push([id, figure]);
}

function drawWaiting(chapter) {
  const pending = waiting.get(chapter) || [];
  waiting.set(chapter, []);
  pending.forEach(([id, figure]) => drawNow(id, figure));
}

function drawNow(id, figure) {
  figures.push(id);
  const isPhone = innerWidth < phoneWidth, element = document.getElementById(id), [data, layout] = figure;
  if (layout.width) shrink(layout, element.clientWidth);
  if (isPhone) suitPhone(layout, element.clientWidth);
  const displayModeBar = isPhone ? false : "hover";
  Plotly.newPlot(id, data, layout, {responsive: true, displaylogo: false, displayModeBar});
}

// A figure of a fixed size keeps its proportions; its margins are letters and stay. Below a share of
// its size its letters would lie on one another: what is left over is scrolled to.
function shrink(layout, available) {
  const width = Math.max(available, smallestShare * layout.width);
  if (layout.width <= width) return;
  const {l = 0, r = 0, t = 0, b = 0} = layout.margin || {};
  const scale = (width - l - r) / (layout.width - l - r);
  layout.height = scale * (layout.height - t - b) + t + b;
  layout.width = width;
}

// Smaller letters, and a title in as many lines as it needs, for which the figure grows.
function suitPhone(layout, width) {
  layout.font = {...layout.font, size: 10};
  for (const axis of ["xaxis", "yaxis"]) layout[axis] = {...layout[axis], tickfont: {size: 9}};
  const text = layout.title && layout.title.text;
  if (!text) return;
  const lines = [""], perLine = Math.floor(width / 7);
  for (const word of text.split(" ")) {
    const joined = `${lines.at(-1)} ${word}`.trim();
    if (lines.at(-1) && joined.length > perLine) lines.push(word);
    else lines[lines.length - 1] = joined;
  }
  const more = titleHeight * (lines.length - 1);
  layout.title = {...layout.title, text: lines.join("<br>"), font: {size: 13}};
  layout.margin = {...layout.margin, t: ((layout.margin || {}).t ?? 50) + more};
  layout.height += more;
}

function relayoutAll(changeOf) {
  figures.forEach((id) => Plotly.relayout(id, changeOf(document.getElementById(id))));
}

// A link to a folded chapter opens it. On paper all chapters are open.
function openLinked() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const chapter = target && (target.closest("details.chapter") || target.querySelector("details.chapter"));
  if (!chapter) return;
  chapter.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", openLinked);
addEventListener("DOMContentLoaded", openLinked);

let closed = []; // chapters that were open on paper alone
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not(.code):not([open])")];
  closed.forEach((details) => {
    details.open = true;
    drawWaiting(details);
  });
  relayoutAll((figure) => {
    figure.widthOnScreen = figure.layout.width || null;
    return {width: Math.min(paperWidth, figure.widthOnScreen || paperWidth)};
  });
});
addEventListener("afterprint", () => {
  relayoutAll((figure) => ({width: figure.widthOnScreen, autosize: !figure.widthOnScreen}));
  closed.forEach((details) => (details.open = false));
});
