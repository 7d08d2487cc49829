// Pictures on a canvas, and curves as SVG.

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes, listeners (onclick: ...), data and children; text is always text.
function el(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

// -- numbers ------------------------------------------------------------------------------------------------------
const PREFIXES = { "-15": "f", "-12": "p", "-9": "n", "-6": "µ", "-3": "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T" };

function text(value, digits = 4) {
  if (value == null || !isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    return `${mantissa}×10${superscript(Number(exponent))}`.replace(/^-/, "−");
  }
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

function superscript(number) {
  return String(number).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
}

// 1.2e-8, "m" -> "12 nm"
function quantity(value, unit, digits = 3) {
  if (value == null || !isFinite(value)) return "–";
  if (unit === "B") return bytes(value, digits);
  if (!["m", "eV", "rad", "s", "1/s"].includes(unit) || value === 0) return `${text(value, digits)} ${unit}`.trim();
  const power = Math.min(Math.max(3 * Math.floor(Math.log10(Math.abs(value)) / 3 + 1e-9), -15), 12);
  if (unit === "1/s") return `${text(value, digits)} ${unit}`;
  return `${text(value / 10 ** power, digits)} ${PREFIXES[power]}${unit}`;
}

function bytes(value, digits = 3) {
  const power = value >= 2 ** 30 ? 3 : 2;
  return `${text(value / 1024 ** power, digits)} ${["", "", "MiB", "GiB"][power]}`;
}

function clock(seconds) {
  if (seconds == null || !isFinite(seconds) || seconds < 0) return "–";
  const s = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
  return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${pad(s % 60)} s`
    : `${Math.floor(s / 3600)} h ${pad(Math.floor(s / 60) % 60)} min`;
}

// -- colors -------------------------------------------------------------------------------------------------------
const PALETTES = {
  gray: [[0, 0, 0], [255, 255, 255]],
  viridis: [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99],
    [170, 220, 50], [253, 231, 37]],
  inferno: [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10],
    [249, 201, 50], [252, 255, 164]],
  cyclic: [[226, 217, 226], [158, 187, 202], [98, 132, 186], [94, 67, 160], [47, 20, 54], [110, 28, 76],
    [167, 78, 80], [199, 147, 122], [226, 217, 226]],
};

function between(stops, t) {
  const place = Math.min(Math.max(t, 0), 1) * (stops.length - 1), i = Math.min(Math.floor(place), stops.length - 2);
  return stops[i].map((c, k) => c + (place - i) * (stops[i + 1][k] - c));
}

// Colors of all 65536 numbers of a plane, as packed pixels; number 0 is transparent.
function table(plane, contrast, palette) {
  const made = new Uint32Array(65536), stops = PALETTES[palette] || PALETTES.gray, colors = new Uint32Array(1024);
  for (let i = 0; i < 1024; i++) {
    const [r, g, b] = between(stops, i / 1023);
    colors[i] = (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  }
  const step = (plane.high - plane.low) / 65534, span = contrast.high - contrast.low || 1e-30;
  for (let n = 1; n < 65536; n++) {
    const t = Math.min(Math.max((plane.low + (n - 1) * step - contrast.low) / span, 0), 1);
    made[n] = colors[Math.round(1023 * t ** contrast.gamma)];
  }
  return made;
}

// What the server sends: a line of JSON, then 16-bit numbers of each plane.
function parsePicture(buffer) {
  const all = new Uint8Array(buffer), end = all.indexOf(10), header = JSON.parse(new TextDecoder().decode(all.subarray(0, end)));
  const [rows, columns] = header.shape, n = rows * columns;
  const planes = header.planes.map((plane, i) => ({ ...plane, data: new Uint16Array(buffer, end + 1 + 2 * n * i, n) }));
  return { rows, columns, planes };
}

// The picture as pixels of its own size.
function paint(picture, contrast, palette) {
  const { rows, columns, planes } = picture, pixels = new ImageData(columns, rows);
  const into = new Uint32Array(pixels.data.buffer);
  if (planes.length === 2) paintWave(into, planes, contrast);
  else {
    const colors = table(planes[0], contrast, palette), data = planes[0].data;
    for (let i = 0; i < data.length; i++) into[i] = colors[data[i]];
  }
  const made = new OffscreenCanvas(columns, rows);
  made.getContext("2d").putImageData(pixels, 0, 0);
  return made;
}

// A wave: hue for the phase, brightness for the amplitude.
function paintWave(into, [amplitude, phase], contrast) {
  const size = (amplitude.high - amplitude.low) / 65534, turn = (phase.high - phase.low) / 65534;
  const span = contrast.high - contrast.low || 1e-30;
  for (let i = 0; i < into.length; i++) {
    const a = amplitude.low + (amplitude.data[i] - 1) * size, p = phase.low + (phase.data[i] - 1) * turn;
    const v = Math.min(Math.max((a - contrast.low) / span, 0), 1) ** contrast.gamma;
    const [r, g, b] = [0, 2.094, 4.189].map((shift) => 255 * v * (0.5 + 0.5 * Math.cos(p - shift)) ** 0.8);
    into[i] = (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  }
}

// -- curves -------------------------------------------------------------------------------------------------------
function ticks(low, high, count, log) {
  if (log) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    const every = Math.max(1, Math.ceil((last - first + 1) / count)), decades = [];
    for (let e = first; e <= last; e += every) decades.push(10 ** e);
    if (decades.length > 2) return decades;
    const fine = [];
    for (let e = first - 1; e <= last; e++) for (const k of [1, 2, 5]) fine.push(k * 10 ** e);
    const inside = fine.filter((v) => v >= low && v <= high);
    if (inside.length > 1) return inside;
  }
  const raw = (high - low || 1) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((k) => k * power >= raw) || 10), made = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) made.push(Number((k * step).toPrecision(12)));
  return made;
}

// A chart of curves [{x, y, unit, name}] in a box of its own; redrawn as a whole.
class Chart {
  constructor(title, { log = false, height = 170, unit = "" } = {}) {
    Object.assign(this, { log, height, unit, curves: [] });
    this.readout = el("span", { class: "readout" });
    this.svg = el("svg:svg", { class: "chart", role: "img", "aria-label": title });
    this.node = el("figure", { class: "curve" }, el("figcaption", {}, el("span", {}, title), this.readout), this.svg);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.rest());
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  show(curves) {
    this.curves = curves.map((curve) => ({ ...curve, points: this.points(curve) })).filter((c) => c.points.length);
    this.draw();
    this.rest();
  }

  points({ x, y }) {
    return y.map((v, i) => [x[i], v]).filter(([a, b]) => a != null && b != null && (!this.log || b > 0));
  }

  draw() {
    const width = this.svg.clientWidth, height = this.height;
    if (!width || !this.curves.length) return this.svg.replaceChildren();
    const all = this.curves.flatMap((curve) => curve.points), xs = all.map((p) => p[0]), ys = all.map((p) => p[1]);
    let [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    if (x0 === x1) [x0, x1] = [x0 - 0.5, x1 + 0.5];
    if (this.log) { if (y1 < 2 * y0) [y0, y1] = [y0 / 1.5, y1 * 1.5]; }
    else { const room = 0.06 * (y1 - y0) || 0.05 * Math.abs(y1) || 1; [y0, y1] = [y0 - room, y1 + room]; }
    const left = 58, right = 10, top = 8, bottom = 20, f = this.log ? Math.log10 : (v) => v;
    this.toX = (v) => left + ((v - x0) / (x1 - x0)) * (width - left - right);
    this.toY = (v) => top + ((f(y1) - f(v)) / (f(y1) - f(y0))) * (height - top - bottom);
    const parts = [];
    for (const v of ticks(y0, y1, 4, this.log)) {
      parts.push(el("svg:line", { class: "grid", x1: left, x2: width - right, y1: this.toY(v), y2: this.toY(v) }));
      parts.push(el("svg:text", { x: left - 8, y: this.toY(v) + 3.5, "text-anchor": "end" }, this.label(v, Math.abs(y1 - y0))));
    }
    for (const v of ticks(x0, x1, Math.max(3, Math.floor(width / 110)), false)) {
      parts.push(el("svg:text", { x: this.toX(v), y: height - 5, "text-anchor": "middle" }, text(v, 6)));
    }
    this.curves.forEach((curve, i) => {
      const d = curve.points.map(([x, y], k) => `${k ? "L" : "M"}${this.toX(x).toFixed(1)} ${this.toY(y).toFixed(1)}`).join("");
      parts.push(el("svg:path", { class: `line line-${i}`, d: curve.points.length > 1 ? d : `${d}h0.1` }));
    });
    this.mark = el("svg:g", { class: "mark" });
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...parts, this.mark);
  }

  label(value, span) {
    const digits = value && span ? Math.min(Math.max(Math.ceil(Math.log10(Math.abs(value) / span)) + 2, 3), 7) : 3;
    return this.unit && this.unit !== "1/s" ? quantity(value, this.unit, digits) : text(value, digits);
  }

  point(event) {
    if (!this.toX || !this.curves.length) return;
    const at = event.clientX - this.svg.getBoundingClientRect().left, near = this.curves.map((curve) =>
      curve.points.reduce((best, p) => (Math.abs(this.toX(p[0]) - at) < Math.abs(this.toX(best[0]) - at) ? p : best)));
    this.mark.replaceChildren(...near.map(([x, y], i) =>
      el("svg:circle", { class: `dot dot-${i}`, cx: this.toX(x), cy: this.toY(y), r: 3.5 })));
    this.readout.textContent = `epoch ${text(near[0][0], 6)}: ${near.map((p) => this.value(p[1])).join(" · ")}`;
  }

  rest() {
    this.mark?.replaceChildren();
    this.readout.textContent = this.curves.map((curve) => this.value(curve.points.at(-1)[1])).join(" · ");
  }

  value(v) {
    return this.unit ? quantity(v, this.unit, 5) : text(v, 5);
  }
}

// Positions from above: where they were, and where they are.
function scatter(svg, positions) {
  const width = svg.clientWidth || 300, tall = 360, all = [...positions.value, ...positions.start];
  if (!all.length) return svg.replaceChildren();
  const ys = all.map((p) => p[0]), xs = all.map((p) => p[1]), pad = 10;
  const [y0, y1, x0, x1] = [Math.min(...ys), Math.max(...ys), Math.min(...xs), Math.max(...xs)];
  const scale = Math.min((width - 2 * pad) / Math.max(x1 - x0, 1e-9), (tall - 2 * pad) / Math.max(y1 - y0, 1e-9)), height = Math.max((y1 - y0) * scale, 1) + 2 * pad;
  const at = ([y, x]) => [pad + (x - x0) * scale + (width - 2 * pad - (x1 - x0) * scale) / 2, pad + (y - y0) * scale];
  const dots = (points, r) => points.map((p) => { const [x, y] = at(p); return `M${x.toFixed(1)} ${y.toFixed(1)}m${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`; }).join("");
  const ways = positions.value.map((p, i) => `M${at(positions.start[i]).map((v) => v.toFixed(1)).join(" ")}L${at(p).map((v) => v.toFixed(1)).join(" ")}`).join("");
  const r = Math.min(Math.max(36 / Math.sqrt(positions.value.length), 0.8), 2.4);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(
    el("svg:path", { class: "was", d: dots(positions.start, r) }), el("svg:path", { class: "way", d: ways }),
    el("svg:path", { class: "is", d: dots(positions.value, r) }));
}
