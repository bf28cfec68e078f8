// The page's own script: tables that sort by their headings, and plots in the reader's colours.
"use strict";

/** Places of values in their new order; missing values (null) come last, equal ones stay as they were. */
function order(values, down) {
  const numeric = isNumeric(values);
  return values.map((_, place) => place).sort((a, b) => {
    const x = values[a], y = values[b];
    if (x === null || y === null) return x === y ? a - b : x === null ? 1 : -1;
    const way = numeric ? Number(x) - Number(y) : x < y ? -1 : x > y ? 1 : 0;
    return (down ? -way : way) || a - b;
  });
}

function isNumeric(values) {
  return values.every((value) => value === null || (value.trim() !== "" && !Number.isNaN(Number(value))));
}

/** What a heading does next: numbers go down first, words up; the third time, the given order is back. */
function nextSort(now, numeric) {
  const first = numeric ? "descending" : "ascending";
  const second = numeric ? "ascending" : "descending";
  return now === first ? second : now === second ? "none" : first;
}

function makeSortable(table) {
  const given = [...table.tBodies];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const values = given.map((body) => {
        const row = body.querySelector("tr[data-key]") || body.rows[0];
        return row.cells[column].getAttribute("data-value");
      });
      const sort = nextSort(heading.getAttribute("aria-sort"), isNumeric(values));
      headings.forEach((other) => other.setAttribute("aria-sort", other === heading ? sort : "none"));
      const places = sort === "none" ? given.map((_, place) => place) : order(values, sort === "descending");
      places.forEach((place) => table.append(given[place]));
    });
  });
}

/** Colours of axes and words, and as many columns of the legend as there is room for. */
function look(dark, width) {
  const ink = dark ? "#e4e4e4" : "#222222", grid = dark ? "#3a3a3a" : "#dddddd";
  const axis = { labelColor: ink, titleColor: ink, gridColor: grid, domainColor: grid, tickColor: grid };
  const columns = Math.max(1, Math.floor(width / 150));
  return { background: "transparent", axis, legend: { labelColor: ink, titleColor: ink, columns },
           title: { color: ink }, view: { stroke: grid } };
}

function draw(dark) {
  for (const figure of document.querySelectorAll("figure.chart")) {
    const place = figure.querySelector(".plot");
    const spec = JSON.parse(figure.querySelector("script").textContent);
    const options = { actions: false, ast: true, renderer: "svg", tooltip: { theme: dark ? "dark" : "light" },
                      config: look(dark, figure.clientWidth) };
    window.vegaEmbed(place, spec, options).catch((error) => { place.textContent = `This plot failed: ${error}`; });
  }
}

if (typeof document !== "undefined") {
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  if (window.vegaEmbed) {
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => draw(dark.matches));
    draw(dark.matches);
  }
} else {
  module.exports = { order, isNumeric, nextSort };
}
