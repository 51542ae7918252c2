// Follows /state.json. What stands on the page is changed in place and only where it differs: rows are known by their
// keys, words are put into text nodes and never read as markup.
(() => {
  const PAUSE = 1000, PAUSE_UNSEEN = 5000, PAUSE_LOST = 3000; // milliseconds between two looks
  const SVG = "http://www.w3.org/2000/svg";
  const find = (id) => document.getElementById(id);
  const make = (name, parent, kind) => {
    const element = document.createElement(name);
    if (kind) element.className = kind;
    parent?.append(element);
    return element;
  };
  const say = (element, words) => {
    const node = element.firstChild ?? element.appendChild(new Text());
    if (node.data !== words) node.data = words;
  };
  const set = (element, name, value) => {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  };
  const show = (element, shown) => { if (element.hidden === shown) element.hidden = !shown; };
  const sayIfAny = (element, words) => { say(element, words); show(element, words !== ""); };

  const rows = new WeakMap(); // parent -> key -> element
  const keyed = (parent, items, create, fill) => {
    const known = rows.get(parent) ?? rows.set(parent, new Map()).get(parent);
    const wanted = new Set(items.map((item) => item.key));
    for (const [key, element] of known) if (!wanted.has(key)) { element.remove(); known.delete(key); }
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
    say(find("brand"), `raysearch \u00b7 ${state.study} \u00b7 live`);
    say(find("question"), state.question);
    say(find("status"), state.status);
    set(find("status"), "class", state.state);
    sayIfAny(find("report"), state.report);
    sayIfAny(find("problem"), state.problem);
    say(find("counts"), state.counts);
    say(find("answer"), state.answer);
    const ended = Object.values(state.ended).reduce((sum, number) => sum + number, 0);
    const parts = { ...state.ended, running: Math.min(state.running.length, state.planned - ended) };
    for (const part of find("bar").children) {
      const width = `${state.planned ? (100 * (parts[part.dataset.part] ?? 0)) / state.planned : 0}%`;
      if (part.style.width !== width) part.style.width = width;
    }
    set(find("bar"), "aria-valuemax", state.planned);
    set(find("bar"), "aria-valuenow", ended);
    const title = `${ended}/${state.planned} ${state.study}`;
    if (document.title !== title) document.title = title;
    keyed(find("facts"), state.facts, () => {
      const fact = make("div");
      make("dt", fact);
      make("dd", fact);
      return fact;
    }, (fact, item) => { say(fact.children[0], item.key); say(fact.children[1], item.text); });
  };

  const running = (state) => {
    show(find("running"), state.running.length > 0);
    keyed(find("running-rows"), state.running, () => {
      const row = make("li");
      make("span", row, "name");
      const bar = make("progress", row);
      bar.max = 1;
      const words = make("span", row, "numbers");
      for (const kind of ["step", "speed", "loss"]) make("span", words, kind);
      const curve = row.appendChild(document.createElementNS(SVG, "svg"));
      curve.setAttribute("viewBox", "0 0 100 20");
      curve.setAttribute("preserveAspectRatio", "none");
      curve.setAttribute("aria-hidden", "true");
      curve.appendChild(document.createElementNS(SVG, "polyline"));
      return row;
    }, (row, item) => {
      const [name, bar, words, curve] = row.children;
      say(name, item.name);
      set(bar, "value", item.share);
      set(bar, "aria-label", item.name);
      say(words.children[0], item.step);
      say(words.children[1], item.speed);
      say(words.children[2], item.loss);
      set(curve.firstChild, "points", points(item.losses));
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
    }, (column, item) => say(column, item.text));
    say(find("table-note"), note);
    keyed(find("table-rows"), lines, () => {
      const row = make("tr");
      make("th", row).scope = "row";
      return row;
    }, (row, item) => {
      say(row.firstChild, item.name);
      while (row.children.length <= item.cells.length) {
        const cell = make("td", row);
        make("span", cell);
        make("small", cell);
      }
      item.cells.forEach((cell, index) => {
        const place = row.children[index + 1], verdict = cell.kind.startsWith("verdict");
        set(place, "class", verdict ? "" : cell.kind);
        set(place.firstChild, "class", verdict ? cell.kind : "");
        say(place.firstChild, cell.text);
        sayIfAny(place.lastChild, cell.small);
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
      say(title, item.title);
      set(target, "aria-label", item.says);
      if (figure.dataset.stamp === item.stamp) return;
      figure.dataset.stamp = item.stamp;
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
      say(summary.firstChild, item.name);
      say(summary.lastChild, item.line);
      say(error, item.error);
    });
    sayIfAny(find("failures-left"), state.failures_left);
    keyed(find("retried-rows"), state.retries, () => {
      const row = make("li");
      make("strong", row);
      make("span", row);
      return row;
    }, (row, item) => { say(row.firstChild, `again: ${item.name}`); say(row.lastChild, item.line); });
  };

  let tag = "", lost = 0, last = null;
  const look = async () => {
    let pause = document.hidden ? PAUSE_UNSEEN : PAUSE;
    try {
      const answer = await fetch("/state.json", { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {} });
      if (answer.status === 200) {
        last = await answer.json();
        tag = answer.headers.get("ETag");
      } else if (answer.status !== 304) throw new Error(`status ${answer.status}`);
      if (answer.status === 200 || lost) for (const part of [header, running, table, plots, failures]) part(last);
      lost = 0;
    } catch (error) {
      pause = PAUSE_LOST;
      lost += 1;
      say(find("status"), `The live view does not answer: ${error.message}. It was ended, or its machine is gone.`);
      set(find("status"), "class", "quiet");
    }
    timer = setTimeout(look, pause);
  };
  let timer = 0;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !timer) return;
    clearTimeout(timer);
    timer = 0;
    look();
  });
  look();
})();
