// Sorts tables by a column: a button in each column header, by mouse or keyboard. First upwards, then downwards, then as
// the table was. Numbers by their data-value, other cells by their text, cells without either last both ways. The buttons
// are made here, so that a page without scripts has plain headers.
(() => {
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const value = (cell) => {
    const number = cell?.dataset.value;
    if (number !== undefined) return number === "" ? null : Number(number);
    return cell?.textContent.trim() || null;
  };
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : compare(String(a), String(b)));
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const planned = [...body.rows];
    const headers = [...[...table.tHead.rows].at(-1).cells]; // above them may be headers of groups
    headers.forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const now = header.getAttribute("aria-sort");
        const next = now === "ascending" ? "descending" : now === "descending" ? null : "ascending";
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        if (next) header.setAttribute("aria-sort", next);
        const sign = next === "descending" ? -1 : 1;
        const keyed = planned.map((row) => [value(row.cells[column]), row]);
        // Array.sort is stable: equal cells keep the order of the plan.
        if (next) keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * order(a, b)));
        body.append(...keyed.map(([, row]) => row));
      });
    });
  }
})();
