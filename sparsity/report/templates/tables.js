// Tables are sorted by a click on a heading, and those of many rows filtered by words.
(() => {
  const FEW = 6;
  const number = (text) => {
    const found = text.replaceAll(",", "").match(/[-+]?\d+(\.\d+)?(e[-+]?\d+)?/i);
    return found ? Number(found[0]) : NaN;
  };
  // What is not there comes last, whichever way it is sorted.
  const byNumber = (a, b, sign) => isNaN(a) - isNaN(b) || sign * (a - b) || 0;

  for (const table of document.querySelectorAll("table")) {
    const [body] = table.tBodies;
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    for (const [column, head] of heads.entries()) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        const text = (row) => row.cells[column].textContent;
        body.append(...rows.toSorted(head.classList.contains("number")
          ? (a, b) => byNumber(number(text(a)), number(text(b)), sign)
          : (a, b) => sign * text(a).localeCompare(text(b), undefined, { numeric: true })));
      });
    }
    if (rows.length <= FEW) continue;
    const filter = document.createElement("input");
    const count = document.createElement("output");
    filter.type = "search";
    filter.placeholder = "Filter rows";
    filter.setAttribute("aria-label", `Filter: ${table.caption.textContent}`);
    const line = document.createElement("p");
    line.className = "filter";
    line.append(filter, count);
    table.parentNode.before(line);
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/);
      for (const row of rows) {
        const text = [...row.cells].map((cell) => cell.textContent.toLowerCase()).join(" ");
        row.hidden = !words.every((word) => text.includes(word));
      }
      count.textContent = filter.value ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
    });
  }
})();
