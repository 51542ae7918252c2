// Follows /state.json. Elements are updated in place, and only if they changed. Rows are identified by their keys. Texts
// become text nodes and are never parsed as markup.
(() => {
  const PAUSE = 1000, PAUSE_HIDDEN = 5000, PAUSE_LOST = 3000; // milliseconds between two requests
  const SVG = "http://www.w3.org/2000/svg";
  const find = (id) => document.getElementById(id);
  const make = (name, parent, kind) => {
    const element = document.createElement(name);
    if (kind) element.className = kind;
    parent?.append(element);
    return element;
  };
  const updateText = (element, text) => {
    const node = element.firstChild ?? element.appendChild(new Text());
    if (node.data !== text) node.data = text;
  };
  const updateAttribute = (element, name, value) => {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  };
  const show = (element, shown) => { if (element.hidden === shown) element.hidden = !shown; };
  const updateTextOrHide = (element, text) => { updateText(element, text); show(element, text !== ""); };

  const rows = new WeakMap(); // parent -> key -> element
  const keyed = (parent, items, create, fill) => {
    const known = rows.get(parent) ?? rows.set(parent, new Map()).get(parent);
    const current = new Set(items.map((item) => item.key));
    for (const [key, element] of known) if (!current.has(key)) { element.remove(); known.delete(key); }
    let next = parent.firstElementChild;
    for (const item of items) {
      const element = known.get(item.key) ?? create(item);
      known.set(item.key, element);
      if (element === next) next = next.nextElementSibling;
      else parent.insertBefore(element, next);
      fill(element, item);
    }
  };

  const header = (state) => {
    updateText(find("brand"), `raysearch \u00b7 ${state.study} \u00b7 live`);
    updateText(find("question"), state.question);
    updateText(find("status"), state.status);
    updateAttribute(find("status"), "class", state.state);
    updateTextOrHide(find("report"), state.report);
    updateTextOrHide(find("problem"), state.problem);
    updateText(find("counts"), state.counts);
    updateText(find("answer"), state.answer);
    const ended = Object.values(state.ended).reduce((sum, number) => sum + number, 0);
    const parts = { ...state.ended, running: Math.min(state.running.length, state.planned - ended) };
    for (const part of find("bar").children) {
      const width = `${state.planned ? (100 * (parts[part.dataset.part] ?? 0)) / state.planned : 0}%`;
      if (part.style.width !== width) part.style.width = width;
    }
    updateAttribute(find("bar"), "aria-valuemax", state.planned);
    updateAttribute(find("bar"), "aria-valuenow", ended);
    const title = `${ended}/${state.planned} ${state.study}`;
    if (document.title !== title) document.title = title;
    keyed(find("facts"), state.facts, () => {
      const fact = make("div");
      make("dt", fact);
      make("dd", fact);
      return fact;
    }, (fact, item) => { updateText(fact.children[0], item.key); updateText(fact.children[1], item.text); });
  };

  const running = (state) => {
    show(find("running"), state.running.length > 0);
    keyed(find("running-rows"), state.running, () => {
      const row = make("li");
      make("span", row, "name");
      const bar = make("progress", row);
      bar.max = 1;
      const numbers = make("span", row, "numbers");
      for (const kind of ["step", "speed", "loss"]) make("span", numbers, kind);
      const curve = row.appendChild(document.createElementNS(SVG, "svg"));
      curve.setAttribute("viewBox", "0 0 100 20");
      curve.setAttribute("preserveAspectRatio", "none");
      curve.setAttribute("aria-hidden", "true");
      curve.appendChild(document.createElementNS(SVG, "polyline"));
      return row;
    }, (row, item) => {
      const [name, bar, numbers, curve] = row.children;
      updateText(name, item.name);
      updateAttribute(bar, "value", item.share);
      updateAttribute(bar, "aria-label", item.name);
      updateText(numbers.children[0], item.step);
      updateText(numbers.children[1], item.speed);
      updateText(numbers.children[2], item.loss);
      updateAttribute(curve.firstChild, "points", points(item.losses));
    });
  };

  const points = (values) => {
    if (values.length < 2) return "";
    const low = Math.min(...values), span = Math.max(...values) - low || 1;
    const x = (index) => ((100 * index) / (values.length - 1)).toFixed(1);
    return values.map((value, index) => `${x(index)},${(19 - (18 * (value - low)) / span).toFixed(1)}`).join(" ");
  };

  const table = (state) => {
    const { columns, note, rows: lines } = state.table;
    show(find("variants"), lines.length > 0);
    keyed(find("table-columns"), columns.map((text, key) => ({ key, text })), () => {
      const column = make("th");
      column.scope = "col";
      return column;
    }, (column, item) => updateText(column, item.text));
    updateText(find("table-note"), note);
    keyed(find("table-rows"), lines, () => {
      const row = make("tr");
      make("th", row).scope = "row";
      return row;
    }, (row, item) => {
      updateText(row.firstChild, item.name);
      while (row.children.length <= item.cells.length) {
        const cell = make("td", row);
        make("span", cell);
        make("small", cell);
      }
      item.cells.forEach((cell, index) => {
        const place = row.children[index + 1], verdict = cell.kind.startsWith("verdict");
        updateAttribute(place, "class", verdict ? "" : cell.kind);
        updateAttribute(place.firstChild, "class", verdict ? cell.kind : "");
        updateText(place.firstChild, cell.text);
        updateTextOrHide(place.lastChild, cell.detail);
      });
    });
  };

  const plots = (state) => {
    show(find("plots"), state.figures.length > 0);
    keyed(find("figures"), state.figures, () => {
      const figure = make("figure");
      make("h3", figure);
      make("div", figure, "plot").setAttribute("role", "img");
      return figure;
    }, (figure, item) => {
      const [title, target] = figure.children;
      updateText(title, item.title);
      updateAttribute(target, "aria-label", item.description);
      if (figure.dataset.digest === item.digest) return;
      figure.dataset.digest = item.digest;
      target.style.height = `${item.layout.height}px`;
      Plotly.react(target, item.data, item.layout, { responsive: true, displayModeBar: false });
    });
  };

  const failures = (state) => {
    show(find("failures"), state.failures.length + state.retries.length > 0);
    keyed(find("failed-rows"), state.failures, () => {
      const row = make("li"), details = make("details", row), summary = make("summary", details);
      make("strong", summary);
      make("span", summary);
      make("pre", details);
      return row;
    }, (row, item) => {
      const [summary, error] = row.firstChild.children;
      updateText(summary.firstChild, item.name);
      updateText(summary.lastChild, item.line);
      updateText(error, item.error);
    });
    updateTextOrHide(find("failures-left"), state.failures_left);
    keyed(find("retried-rows"), state.retries, () => {
      const row = make("li");
      make("strong", row);
      make("span", row);
      return row;
    }, (row, item) => { updateText(row.firstChild, `retried: ${item.name}`); updateText(row.lastChild, item.line); });
  };

  history.replaceState(null, "", location.pathname);  // the token is in a cookie now; keep it off the screen
  let tag = "", lost = 0, last = null;
  const refresh = async () => {
    let pause = document.hidden ? PAUSE_HIDDEN : PAUSE;
    try {
      const answer = await fetch("/state.json", { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {} });
      if (answer.status === 200) {
        last = await answer.json();
        tag = answer.headers.get("ETag");
      } else if (answer.status === 403) throw new Error("this page is of an earlier server; open the URL that the command printed");
      else if (answer.status !== 304) throw new Error(`status ${answer.status}`);
      if (answer.status === 200 || lost) for (const part of [header, running, table, plots, failures]) part(last);
      lost = 0;
    } catch (error) {
      pause = PAUSE_LOST;
      lost += 1;
      updateText(find("status"), `The live view does not answer: ${error.message}. It was stopped, or its machine is down.`);
      updateAttribute(find("status"), "class", "quiet");
    }
    timer = setTimeout(refresh, pause);
  };
  let timer = 0;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !timer) return;
    clearTimeout(timer);
    timer = 0;
    refresh();
  });
  refresh();
})();
