// Draws the plotly figures of a page. Printed figures have the width of the paper, and the figures'
// tools are left away on the small screen of a phone.

const figures = [], paperWidth = 660, phoneWidth = 600;

function draw(id, figure) {
  figures.push(id);
  const displayModeBar = innerWidth < phoneWidth ? false : "hover";
  Plotly.newPlot(id, ...figure, {responsive: true, displaylogo: false, displayModeBar});
}

function relayoutAll(changeOf) {
  figures.forEach((id) => Plotly.relayout(id, changeOf(document.getElementById(id))));
}

addEventListener("beforeprint", () => relayoutAll((figure) => {
  figure.widthOnScreen = figure.layout.width || null;
  return {width: Math.min(paperWidth, figure.widthOnScreen || paperWidth)};
}));
addEventListener("afterprint", () => relayoutAll((figure) => (
  {width: figure.widthOnScreen, autosize: !figure.widthOnScreen}
)));
