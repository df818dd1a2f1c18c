// Hidden methods, one density, one layer: a few rules of style for the whole page, and the address remembers them.
"use strict";
(() => {
  const bar = document.getElementById("choices");
  const { density, layer } = bar.elements;
  const methods = [...bar.querySelectorAll("[data-method]")];
  const hidden = new Set();
  const rules = document.head.appendChild(document.createElement("style"));
  let section = "";
  bar.hidden = false;

  const choose = (select, value) => {
    if (select && [...select.options].some((option) => option.value === value)) select.value = value;
  };
  // Of a density that all networks keep there is least to see.
  choose(density, [...(density?.options ?? [])].find((option) => option.value !== "1")?.value);

  function show() {
    const text = [];
    for (const name of [...hidden].map(CSS.escape)) {
      text.push(`[data-of~=${name}]:not(.cover) { display: none; }`);
      text.push(`.legend [data-of~=${name}] { display: inline; opacity: 0.3; }`);
      text.push(`.cover[data-of~=${name}] { fill-opacity: 1; stroke-opacity: 1; }`);
    }
    if (density?.value) {
      const value = CSS.escape(density.value);
      text.push(`[data-only]:not([data-only=${value}]) { display: none; }`);
      text.push(`tr[data-at=${value}] { background: var(--chosen); }`);
    }
    if (layer?.value) text.push(`.slot:not([data-layer=${CSS.escape(layer.value)}]) { fill-opacity: 0.85; }`);
    rules.textContent = text.join("\n");
    for (const button of methods) button.setAttribute("aria-pressed", !hidden.has(button.dataset.method));
    for (const group of document.querySelectorAll(".figures")) {
      const seen = [...group.querySelectorAll("figure")].some((figure) => figure.checkVisibility());
      group.classList.toggle("empty", !seen);
    }
  }

  function write() {
    const chosen = new URLSearchParams();
    if (density) chosen.set("density", density.value);
    if (layer?.value) chosen.set("layer", layer.value);
    if (hidden.size) chosen.set("hidden", [...hidden].join(" "));
    if (section) chosen.set("at", section);
    history.replaceState(null, "", `#${chosen}`);
  }

  function read() {
    const hash = location.hash.slice(1);
    if (!hash.includes("=")) {
      section = hash;
      if (hash) write();
      return;
    }
    const chosen = new URLSearchParams(location.hash.slice(1));
    choose(density, chosen.get("density"));
    choose(layer, chosen.get("layer") ?? "");
    hidden.clear();
    const asked = (chosen.get("hidden") ?? "").split(" ");
    for (const { dataset } of methods) if (asked.includes(dataset.method)) hidden.add(dataset.method);
    section = chosen.get("at") ?? "";
  }

  const changed = () => { show(); write(); };
  bar.addEventListener("change", changed);
  bar.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => { read(); show(); });

  const named = (event) => {
    const found = event.target.closest(".legend [data-of], [data-method]");
    return found && (found.dataset.method ?? found.dataset.of);
  };
  document.addEventListener("click", (event) => {
    const name = named(event);
    if (!name) return;
    if (!hidden.delete(name)) hidden.add(name);
    changed();
  });
  document.addEventListener("dblclick", (event) => {
    const name = named(event);
    if (!name) return;
    const others = methods.map((button) => button.dataset.method).filter((other) => other !== name);
    const isAlone = others.every((other) => hidden.has(other));
    hidden.clear();
    if (!isAlone) others.forEach((other) => hidden.add(other));
    changed();
  });

  // What a mark shows stands in its title, for readers without scripts; two tooltips would be one too many.
  for (const title of document.querySelectorAll(".tip > title")) {
    title.parentNode.dataset.text = title.textContent;
    title.remove();
  }
  const tooltip = document.body.appendChild(document.createElement("div"));
  tooltip.id = "tooltip";
  tooltip.setAttribute("role", "tooltip");
  tooltip.hidden = true;

  function words(mark, event) {
    if (mark.dataset.text) return mark.dataset.text;
    const names = mark.dataset.names.split(" ").map(decodeURIComponent);
    const box = mark.getBoundingClientRect();
    const place = (share) => Math.min(names.length - 1, Math.max(0, Math.floor(share * names.length)));
    const row = place((event.clientY - box.top) / box.height);
    const column = place((event.clientX - box.left) / box.width);
    return `${names[row]} and ${names[column]}: ${mark.dataset.cells.split(" ")[row * names.length + column]}`;
  }
  const point = (event) => {
    const mark = event.target.closest?.(".tip, .cells");
    tooltip.hidden = !mark;
    if (!mark) return;
    tooltip.textContent = words(mark, event);
    const right = document.documentElement.clientWidth - tooltip.offsetWidth - 8;
    tooltip.style.left = `${Math.max(8, Math.min(event.clientX + 14, right))}px`;
    const above = event.clientY - tooltip.offsetHeight - 14;
    tooltip.style.top = `${above > 8 ? above : event.clientY + 20}px`;
  };
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);

  read();
  show();
  if (section) document.getElementById(section)?.scrollIntoView();
})();
