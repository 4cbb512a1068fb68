// What is drawn on demand, and what drawings answer to the pointer.
const svgEl = (tag, attributes = {}, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const toNumber = (text) => Number(text.replace("−", "-").replaceAll(",", ""));
const toText = (value) => {
  const digits = Number(value.toPrecision(5));
  return digits.toLocaleString("en-US", { maximumSignificantDigits: 6 }).replace("-", "−");
};
const ticksOf = (low, high, wanted) => {
  if (!(high > low)) return [low];
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9); i++) found.push(Number((i * step).toPrecision(12)));
  return found;
};
const ranged = (values, room) => {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = (high - low) * room || Math.max(Math.abs(high) * 0.05, 0.5);
  return [low - margin, high + margin];
};

function seedStrip(cell) {
  const values = cell.seeds.map((seed) => toNumber(seed[1])).filter(Number.isFinite);
  const known = [...values, ...(cell.interval ?? []), ...(cell.paper === undefined ? [] : [cell.paper])];
  if (known.length < 2) return null;
  const [low, high] = ranged(known, 0.08);
  const at = (value) => `${((100 * (value - low)) / (high - low)).toFixed(2)}%`;
  const parts = [];
  for (const tick of ticksOf(low, high, 5)) {
    parts.push(svgEl("line", { class: "grid", x1: at(tick), x2: at(tick), y1: 0, y2: 22 }));
    parts.push(svgEl("text", { x: at(tick), y: 35, "text-anchor": "middle" }, toText(tick)));
  }
  if (cell.interval) {
    const [from, to] = cell.interval;
    parts.push(svgEl("line", { class: "bar", x1: at(from), x2: at(to), y1: 11, y2: 11 }));
    const mean = at((from + to) / 2);
    parts.push(svgEl("line", { class: "centre", x1: mean, x2: mean, y1: 4.5, y2: 17.5 }));
  }
  for (const [seed, text] of cell.seeds) {
    const dot = svgEl("circle", { class: "seed", cx: at(toNumber(text)), cy: 11, r: 3.4 });
    dot.append(svgEl("title", {}, `${seed}: ${text}`));
    parts.push(dot);
  }
  if (cell.paper !== undefined) {
    const mark = svgEl("path", { class: "published", d: "M0-5.5L5.5 0L0 5.5L-5.5 0z" });
    mark.append(svgEl("title", {}, `paper: ${toText(cell.paper)}`));
    parts.push(svgEl("svg", { x: at(cell.paper), y: 11 }, mark));
  }
  return svgEl("svg", { class: "strip ruler", width: "100%", height: 38, role: "img", "aria-label": "Seeds, their interval and the paper's number" }, ...parts);
}

function curveChart(curves) {
  const [width, height, left, right, top, bottom] = [340, 212, 44, 8, 22, 36];
  const series = curves.map(([seed, [label, x, ys]]) => {
    const xs = Array.isArray(x) ? x : ys.map((_, i) => x + i);
    return { seed, label, xs, ys };
  });
  const xs = series.flatMap((one) => one.xs);
  const ys = series.flatMap((one) => one.ys);
  const [x0, x1] = Math.min(...xs) < Math.max(...xs) ? [Math.min(...xs), Math.max(...xs)] : ranged(xs, 0.05);
  const [y0, y1] = ranged(ys, 0.05);
  const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
  const py = (y) => height - bottom - ((y - y0) / (y1 - y0)) * (height - top - bottom);
  const parts = [
    svgEl("text", { x: left, y: 12 }, series[0].label),
    svgEl("text", { x: width - right, y: height - 4, "text-anchor": "end" }, "epoch"),
  ];
  for (const y of ticksOf(y0, y1, 4)) {
    parts.push(svgEl("path", { class: "grid", d: `M${left} ${py(y)}H${width - right}` }));
    parts.push(svgEl("text", { x: left - 5, y: py(y) + 3.5, "text-anchor": "end" }, toText(y)));
  }
  for (const x of ticksOf(x0, x1, 5)) {
    if (Number.isInteger(x)) parts.push(svgEl("text", { x: px(x), y: height - bottom + 15, "text-anchor": "middle" }, toText(x)));
  }
  series.forEach((one, number) => {
    const points = one.xs.map((x, i) => `${px(x).toFixed(1)} ${py(one.ys[i]).toFixed(1)}`);
    const last = points.at(-1).split(" ");
    const group = svgEl("g", { class: `c${number % 12}`, "data-label": one.seed, "data-x": one.xs.join(" "), "data-y": one.ys.join(" ") });
    if (points.length > 1) group.append(svgEl("path", { class: "line", d: `M${points.join("L")}` }));
    group.append(svgEl("circle", { class: "dot", cx: last[0], cy: last[1], r: 2.6 }));
    parts.push(group);
  });
  const key = el("ul", { class: "key" });
  series.forEach((one, number) => {
    const swatch = svgEl("svg", { class: `swatch c${number % 12}`, viewBox: "0 0 28 10", "aria-hidden": "true" });
    swatch.append(svgEl("path", { class: "line", d: "M0 5H28" }));
    key.append(el("li", {}, swatch, one.seed));
  });
  const chart = svgEl("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${series[0].label} by epoch`, "data-axes": `epoch|${series[0].label}` }, ...parts);
  return el("div", {}, ...(series.length > 1 ? [key] : []), chart);
}

// The point of a curve that is nearest to the pointer says what it is.
const pointsOf = (svg) => {
  svg.points ??= all("g[data-y]", svg).flatMap((group) => {
    const ys = group.dataset.y.split(" ");
    const xs = group.dataset.x?.split(" ") ?? ys.map((_, i) => String(Number(group.dataset.from) + i));
    const path = group.querySelector(".line");
    if (!path) {
      const box = group.querySelector(".dot").getBBox();
      return [{ group, x: xs[0], y: ys[0], px: box.x + box.width / 2, py: box.y + box.height / 2 }];
    }
    const places = path.getAttribute("d").slice(1).split("L").map((pair) => pair.split(" ").map(Number));
    return places.map(([px, py], i) => ({ group, x: xs[i], y: ys[i], px, py }));
  });
  return svg.points;
};
const ring = svgEl("circle", { class: "at", r: 4.5 });
document.addEventListener("pointermove", (event) => {
  const svg = event.target.closest?.("svg.chart, svg.scatter");
  if (!svg || event.pointerType !== "mouse") {
    if (ring.isConnected) {
      ring.remove();
      hideTip();
    }
    return;
  }
  if (svg.matches(".scatter")) {
    const point = event.target.closest("[data-tip]");
    if (point) showTip([point.dataset.tip], event.clientX + 12, event.clientY + 14);
    else hideTip();
    return;
  }
  const matrix = svg.getScreenCTM();
  const [x, y] = [(event.clientX - matrix.e) / matrix.a, (event.clientY - matrix.f) / matrix.d];
  let best = null;
  let nearest = 18 ** 2;
  for (const point of pointsOf(svg)) {
    const distance = (point.px - x) ** 2 + (point.py - y) ** 2;
    if (distance < nearest) [best, nearest] = [point, distance];
  }
  if (!best) {
    ring.remove();
    hideTip();
    return;
  }
  ring.setAttribute("cx", best.px);
  ring.setAttribute("cy", best.py);
  if (ring.parentNode !== svg) svg.append(ring);
  const [xName, yName] = svg.dataset.axes.split("|");
  showTip([el("b", {}, best.group.dataset.label), `: ${yName} ${best.y.replace("-", "−")} at ${xName} ${best.x}`], event.clientX + 12, event.clientY + 14);
});
// Where scripts answer, the browser's own tooltips would come second.
for (const title of all("svg.chart g > title, svg.scatter g > title")) title.remove();

// A row of a key, or of the table that a figure belongs to, lights up its curves.
const light = (section, key) => {
  for (const svg of all("svg.chart, svg.scatter", section)) {
    const own = all("[data-key]", svg);
    const known = key !== null && own.some((mark) => mark.dataset.key === key);
    svg.classList.toggle("lit", known);
    for (const mark of own) mark.classList.toggle("on", known && mark.dataset.key === key);
  }
};
for (const item of all(".key li")) {
  const section = item.closest("section");
  item.tabIndex = 0;
  for (const kind of ["pointerenter", "focus"]) item.addEventListener(kind, () => light(section, item.dataset.key));
  for (const kind of ["pointerleave", "blur"]) item.addEventListener(kind, () => light(section, null));
}
follow();
