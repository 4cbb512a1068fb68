"use strict";
// Sorting, filtering, keys. Whatever comes from the records goes into the page as text, never as markup.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const el = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
document.documentElement.classList.add("js");

// A heading sorts its column within each group of rows: first the way its best comes on top, then the other, then as it was.
const rowsOf = (body) => [...body.rows];
const sortBy = (heading, way) => {
  const table = heading.closest("table");
  for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
  if (way) heading.setAttribute("aria-sort", way);
  const column = Number(heading.dataset.column);
  const sign = way === "ascending" ? 1 : -1;
  const key = (row) => {
    const cell = row.cells[column + 1];
    if (column < 0) return cell.textContent;
    return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
  };
  for (const body of table.tBodies) {
    body.paper ??= rowsOf(body);
    const rows = [...body.paper];
    if (way) {
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (column < 0 ? x.localeCompare(y, "en") : x - y);
      });
    }
    body.append(...rows);
  }
};
for (const heading of all("table.results th[data-column]")) {
  const first = heading.dataset.first ?? "descending";
  const ways = [first, first === "descending" ? "ascending" : "descending", undefined];
  const button = el("button", { type: "button" }, ...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => {
    const now = heading.getAttribute("aria-sort");
    sortBy(heading, now === null ? ways[0] : ways[ways.indexOf(now) + 1]);
  });
}

// Verdict counts become buttons that show the claims of one verdict only.
for (const list of all("[data-filter]")) {
  const buttons = all("li", list).map((item) => {
    const button = el("button", { type: "button", "aria-pressed": "false" }, ...item.childNodes);
    item.append(button);
    button.addEventListener("click", () => {
      const wanted = button.getAttribute("aria-pressed") === "true" ? null : item.dataset.verdict;
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button && wanted !== null));
      for (const claim of all(".claim")) claim.hidden = wanted !== null && claim.dataset.verdict !== wanted;
      for (const group of all(".of-table")) group.hidden = all(".claim:not([hidden])", group).length === 0;
    });
    return button;
  });
}

// Browsers that cannot style the content of closed details open them while they print.
if (!CSS.supports("selector(::details-content)")) {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open]):not(.plain)");
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
  });
}
