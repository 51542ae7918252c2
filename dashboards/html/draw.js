// Draws every figure of the page from the JSON beside it. Colours of texts and grids come from the style sheet.
const drawFigures = async () => {
  const plots = [];
  const blocks = document.querySelectorAll("script[data-figure]");
  try {
    const plotly = document.getElementById("plotly");
    plotly?.remove();
    if (plotly) await runPackedScript(plotly.textContent);
  } catch (error) {
    blocks.forEach((block) => (document.getElementById(block.dataset.figure).textContent = `Not drawn: ${error.message}`));
    return;
  }
  for (const block of blocks) {
    const target = document.getElementById(block.dataset.figure);
    const figure = JSON.parse(block.textContent);
    Plotly.newPlot(target, figure.data, figure.layout, { responsive: true, displayModeBar: false });
    plots.push(target);
  }
  // Paper is narrower than the screen: draw for it, and again for the screen afterwards.
  const width = (target) => Math.min(target.clientWidth, target.closest(".grid") ? 320 : 660);
  addEventListener("beforeprint", () => plots.forEach((t) => Plotly.relayout(t, { width: width(t), autosize: false })));
  addEventListener("afterprint", () => plots.forEach((t) => Plotly.relayout(t, { width: null, autosize: true })));
};
window.figuresDrawn = drawFigures();
