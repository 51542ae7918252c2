// Draws every figure of the page from the JSON beside it. Colours of texts and grids come from the style sheet.
(() => {
  const plots = [];
  for (const block of document.querySelectorAll("script[data-figure]")) {
    const target = document.getElementById(block.dataset.figure);
    const figure = JSON.parse(block.textContent);
    Plotly.newPlot(target, figure.data, figure.layout, { responsive: true, displayModeBar: false });
    plots.push(target);
  }
  // Paper is narrower than the screen: draw for it, and again for the screen afterwards.
  const width = (target) => Math.min(target.clientWidth, target.closest(".grid") ? 320 : 660);
  addEventListener("beforeprint", () => plots.forEach((t) => Plotly.relayout(t, { width: width(t), autosize: false })));
  addEventListener("afterprint", () => plots.forEach((t) => Plotly.relayout(t, { width: null, autosize: true })));
})();
