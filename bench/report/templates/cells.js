// The tooltip of a cell, and the panel that shows its runs; #cell=table:row:column opens it.
const parsed = new Map();
const json = (script) => {
  if (!parsed.has(script)) parsed.set(script, JSON.parse(script.textContent));
  return parsed.get(script);
};
const known = (name) => json(document.getElementById(name));
const cellScripts = new Map(all("script[data-cells]").map((script) => [script.dataset.cells, script]));
const placeOf = (hash) => {
  const match = /^#cell=(.+):(\d+):(\d+)$/.exec(hash);
  if (!match) return null;
  let table;
  try {
    table = decodeURIComponent(match[1]);
  } catch {
    return null;
  }
  const script = cellScripts.get(table);
  const cell = script && json(script)[`${match[2]}:${match[3]}`];
  return cell ? { key: `${table}:${match[2]}:${match[3]}`, hash, cell } : null;
};
const linkTo = (hash) => all("td.own a").find((link) => link.getAttribute("href") === hash);
const rowLabel = (link) => link.closest("tr").cells[0].textContent;
const listed = (facts) => {
  const list = el("dl", { class: "facts" });
  for (const [what, value] of facts) list.append(el("dt", {}, what), el("dd", {}, value));
  return list;
};

const tip = document.getElementById("tip");
const showTip = (content, left, top) => {
  tip.replaceChildren(...content);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(left, document.documentElement.clientWidth - box.width - 8))}px`;
  tip.style.top = `${top + box.height > innerHeight - 8 ? Math.max(8, top - box.height - 34) : top}px`;
};
const hideTip = () => {
  tip.hidden = true;
};
const tipOf = (cell) => {
  const link = cell.querySelector("a");
  const place = placeOf(link.getAttribute("href"));
  if (!place) return;
  const { at, value, seeds, facts } = place.cell;
  const rows = el("dl", {}, el("dt", {}, "Seeds"), el("dd", {}, seeds.map((seed) => seed[1]).join(", ")));
  for (const [what, text] of facts) rows.append(el("dt", {}, what), el("dd", {}, text));
  const box = cell.getBoundingClientRect();
  showTip([el("b", {}, `${rowLabel(link)}, ${at}: `), value, rows], box.left, box.bottom + 6);
};
document.addEventListener("pointerover", (event) => {
  const cell = event.target.closest?.("td.own");
  if (cell && event.pointerType === "mouse") tipOf(cell);
});
document.addEventListener("pointerout", (event) => {
  if (event.target.closest?.("td.own")) hideTip();
});
document.addEventListener("focusin", (event) => {
  const cell = event.target.closest?.("td.own");
  if (cell && event.target.matches(":focus-visible")) tipOf(cell);
});
document.addEventListener("focusout", hideTip);
addEventListener("scroll", hideTip, { passive: true, capture: true });

// One stop of the tabulator a table; arrows move between its numbers.
for (const table of all("table.results")) {
  all("td.own a", table).forEach((link, number) => link.setAttribute("tabindex", number ? "-1" : "0"));
  table.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const link = event.target.closest("td.own a");
    if (!step || !link || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const rows = all("tbody tr", table);
    let [row, column] = [rows.indexOf(link.closest("tr")), link.closest("td").cellIndex];
    for (;;) {
      row += step[0];
      column += step[1];
      const cell = rows[row]?.cells[column];
      if (!cell) return;
      const next = cell.matches(".own") && cell.querySelector("a");
      if (!next) continue;
      link.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
      next.scrollIntoView({ block: "nearest", inline: "nearest" });
      return;
    }
  });
}

const dialog = document.getElementById("cell");
const copyButton = (text, source) => {
  const button = el("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => button.replaceChildren("Copy"), 1600);
  });
  return button;
};
const runOf = (id, seed, value) => {
  const run = known("runs")[id];
  const title = el("h4", {}, seed, el("b", {}, value), el("code", {}, id));
  if (!run) return el("section", { class: "run" }, title, el("p", { class: "soft" }, "Nothing more is known of this run."));
  const section = el("section", { class: "run" }, title);
  const facts = [];
  for (const [what, text] of run.flat()) {
    if (what.toLowerCase() === "command") {
      const source = el("pre", {}, text);
      section.append(el("div", { class: "command" }, source, copyButton(text, source)));
    } else {
      facts.push([what, text]);
    }
  }
  section.append(listed(facts));
  return section;
};
const confusionOf = ([classes, pairs], picture) => {
  const list = el("ol");
  for (const [truth, predicted, times] of pairs) list.append(el("li", {}, `${truth} taken for ${predicted}: ${times}`));
  const box = el("div", { class: "confusion" });
  if (picture) {
    const alt = `Confusion matrix of ${classes} classes: rows are true, columns predicted, each row scaled to its sum`;
    box.append(el("img", { src: `data:image/png;base64,${picture}`, alt }));
  }
  box.append(list);
  return box;
};
const show = (place) => {
  const { cell, hash, key } = place;
  const link = linkTo(hash);
  const title = link ? `${rowLabel(link)}, ${cell.at}` : cell.at;
  const close = el("button", { type: "button", "aria-label": "Close" }, "Close");
  close.addEventListener("click", leave);
  const table = link?.closest("section").querySelector("h3")?.textContent ?? "";
  const content = el("div", { class: "content" }, el("p", { class: "value" }, cell.value));
  const strip = seedStrip(cell);
  if (strip) content.append(strip);
  content.append(listed(cell.facts));
  if (cell.gaps) {
    content.append(el("h3", {}, "Missing"), el("ul", { class: "notes" }, ...cell.gaps.map((line) => el("li", {}, line))));
  }
  const curves = cell.seeds.filter((seed) => known("curves")[seed[2]]).map((seed) => [seed[0], known("curves")[seed[2]]]);
  if (curves.length) content.append(el("h3", {}, "Curves"), curveChart(curves));
  const confusion = known("confusions")[key];
  if (confusion) content.append(el("h3", {}, "Commonest mistakes"), confusionOf(confusion, known("pictures")[key]));
  content.append(el("h3", {}, cell.seeds.length === 1 ? "Run" : `${cell.seeds.length} runs`));
  for (const [seed, value, id] of cell.seeds) content.append(runOf(id, seed, value));
  dialog.replaceChildren(
    el("header", {}, el("div", {}, el("h2", { id: "cell-title" }, title), el("p", { class: "soft" }, table)), close),
    content,
  );
  hideTip();
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  close.focus({ preventScroll: true });
};

// The address is the state: opening pushes one, closing goes back or, where the page was entered by it, drops it.
let origin = null;
const follow = () => {
  const place = placeOf(location.hash);
  if (place) {
    origin = location.hash;
    show(place);
  } else if (dialog.open) {
    dialog.close();
  }
};
const leave = () => {
  if (!placeOf(location.hash)) dialog.close();
  else if (history.state?.opened) history.back();
  else {
    history.replaceState(null, "", location.pathname + location.search);
    dialog.close();
  }
};
document.addEventListener("click", (event) => {
  const cell = event.target.closest?.("td.own");
  if (!cell || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  if (String(getSelection()) && !event.target.closest("a")) return;
  const hash = cell.querySelector("a").getAttribute("href");
  if (!placeOf(hash)) return;
  event.preventDefault();
  history.pushState({ opened: true }, "", hash);
  follow();
});
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  leave();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) leave();
});
dialog.addEventListener("close", () => {
  const link = origin && linkTo(origin);
  if (link) {
    for (const other of all("td.own a[tabindex='0']", link.closest("table"))) other.setAttribute("tabindex", "-1");
    link.setAttribute("tabindex", "0");
    link.focus();
  }
  hideTip();
});
addEventListener("popstate", follow);
addEventListener("hashchange", follow);
