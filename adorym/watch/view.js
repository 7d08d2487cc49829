// The view of one run, or of two side by side. It asks a source for answers and never changes anything but itself.

const EVERY_MS = 1000, HIDDEN_MS = 10000, LOST_MS = 4000;
const STATES = {
  running: "running", finished: "finished", stopped: "stopped early", failed: "failed", silent: "no sign of life",
  unreadable: "cannot be read",
};
const TITLES = { time_s: "Time per epoch", patterns_per_s: "Patterns per second", memory: "Memory", loss: "Loss" };
const WHOLE = { x: 0.5, y: 0.5, factor: 1 };
const SMALL = ["probe", "measured", "predicted"]; // pictures without controls
const HOUSE = ["loss", "patterns_per_s", "time_s", "memory"];

const stepOf = (state) => (state.kind === "trial" ? "trial" : "epoch");
const words = (name) => TITLES[name] || (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ");

class View {
  constructor(root, source, { first = null, second = null, chose = () => {} } = {}) {
    Object.assign(this, { root, source, chose, keys: [first, second], runs: [], columns: [], stopped: false });
    this.zoom = WHOLE;
    this.settings = {}; // of each picture by name: contrast, palette, section; the same in both columns
    root.classList.add("adorym-watch");
    this.list = el("ul", { class: "runs" });
    this.notice = el("p", { class: "notice", role: "status", hidden: true });
    this.main = el("main");
    this.side = el("nav", { "aria-label": "Runs" }, el("h1", { class: "brand" }, "Adorym"), this.list);
    root.append(el("div", { class: "frame" }, this.side, el("div", { class: "content" }, this.notice, this.main)));
  }

  start() { this.tick(); }

  stop() { this.stopped = true; }

  async tick() {
    if (this.stopped) return;
    let wait = document.hidden ? HIDDEN_MS : EVERY_MS;
    try {
      await this.update();
      this.say("");
    } catch {
      this.say("The server of this page does not answer. What you see is its last state.");
      wait = LOST_MS;
    }
    setTimeout(() => this.tick(), wait);
  }

  say(message) {
    this.notice.hidden = !message;
    this.notice.textContent = message;
  }

  async ask(what, query) {
    const answer = await this.source.get(what, query);
    if (answer.status === 403) throw new Error("refused");
    return answer;
  }

  async json(what, query) {
    const answer = await this.ask(what, query);
    return answer.status === 200 ? JSON.parse(new TextDecoder().decode(answer.body)) : null;
  }

  async update() {
    const began = performance.now(), found = await this.json("runs", { have: this.have || "" });
    if (found) {
      Object.assign(this, { have: found.version, runs: found.runs });
      this.keys = this.keys.map((key) => (this.runs.some((run) => run.key === key) ? key : null));
      this.keys[0] ??= this.runs[0]?.key ?? null;
      this.showList();
    }
    const wanted = this.keys.filter((key) => key);
    if (wanted.join() !== this.columns.map((column) => column.key).join()) this.arrange(wanted);
    const news = await Promise.all(this.columns.map((column) => column.fetch()));
    if (news.some(Boolean)) {
      this.showCurves();
      this.root.dataset.updateMs = (performance.now() - began).toFixed(1);
    }
  }

  // -- the list ---------------------------------------------------------------------------------------------------
  showList() {
    this.side.hidden = this.runs.length === 1 && !document.body.classList.contains("adorym-watch");
    this.list.replaceChildren(...this.runs.map((run) => {
      const place = this.keys.indexOf(run.key);
      const open = el("button", { class: "open", title: run.name, onclick: () => this.choose(run.key, null) },
        el("span", { class: `state ${run.state}`, title: STATES[run.state] || run.state }),
        el("span", { class: "name" }, run.name),
        el("small", {}, [run.title === run.name ? null : run.title,
          run.epochs ? `${stepOf(run)} ${run.epoch} of ${run.epochs}` : null,
          run.loss == null ? null : `loss ${text(run.loss, 3)}`].filter(Boolean).join(" · ")));
      const compare = el("button", {
        class: "compare", "aria-pressed": String(place === 1), disabled: place === 0,
        title: "Show beside the chosen run", onclick: () => this.choose(this.keys[0], place === 1 ? null : run.key),
      }, place === 1 ? "Close" : "Compare");
      return el("li", { "data-key": run.key, class: place === 0 ? "chosen" : place === 1 ? "second" : null }, open,
        this.runs.length > 1 ? compare : null);
    }));
    if (!this.runs.length) this.list.append(el("li", { class: "empty" }, "No runs in these folders yet."));
  }

  choose(first, second) {
    this.keys = [first, second];
    this.chose(first, second);
    this.showList();
    this.update().catch(() => {});
  }

  // -- columns ------------------------------------------------------------------------------------------------------
  arrange(keys) {
    this.zoom = WHOLE;
    this.columns = keys.map((key, i) => this.columns.find((column) => column.key === key) || new Column(this, key, i));
    this.columns.forEach((column, i) => { column.node.dataset.place = i; });
    this.curves = new Map();
    this.curveBox = el("section", { class: "curves" });
    const two = this.columns.length > 1;
    this.main.className = two ? "two" : "one";
    for (const column of this.columns) column.curvePlace.replaceChildren();
    if (two) this.main.replaceChildren(el("div", { class: "columns" }, ...this.columns.map((c) => c.node)), this.curveBox);
    else this.main.replaceChildren(...this.columns.map((column) => column.node));
    if (!two && this.columns.length) this.columns[0].curvePlace.replaceChildren(this.curveBox);
    this.showCurves();
    this.redraw();
  }

  showCurves() {
    const names = [...new Set(this.columns.flatMap((column) => Object.keys(column.state?.curves || {})))].sort();
    for (const name of names) {
      const curves = this.columns.map((column) => column.state?.curves?.[name] || { x: [], y: [] });
      if (!this.curves.has(name)) {
        const unit = curves.find((curve) => curve.unit)?.unit || "";
        const chart = new Chart(words(name), { log: /loss|score/.test(name), height: name === "loss" ? 230 : 130, unit });
        chart.node.dataset.curve = name;
        this.curves.set(name, chart);
        chart.node.style.order = name === "loss" ? 0 : HOUSE.indexOf(name) + 2; // the run's own ones after the parameters
        this.curveBox.append(chart.node);
      }
      this.curves.get(name).show(curves);
    }
  }

  redraw() {
    for (const column of this.columns) for (const panel of column.panels.values()) panel.draw();
  }

  moveZoom(change) {
    const factor = Math.min(Math.max(change.factor ?? this.zoom.factor, 1), 64), half = 0.5 / factor;
    const inside = (v) => Math.min(Math.max(v, half), 1 - half);
    this.zoom = { factor, x: inside(change.x ?? this.zoom.x), y: inside(change.y ?? this.zoom.y) };
    this.redraw();
  }

  // Settings of the pictures with this name, and all that show them.
  settingsOf(about) {
    return (this.settings[about.name] ??= { low: null, high: null, gamma: 1, palette: "gray", axis: "z", place: 0.5 });
  }

  changed(name, reload = false) {
    for (const column of this.columns) {
      const panel = column.panels.get(name);
      if (panel) { panel.follow(); if (reload) panel.load(); else panel.draw(); }
    }
  }
}

// One run.
class Column {
  constructor(view, key) {
    Object.assign(this, { view, key, state: null, panels: new Map() });
    this.head = el("header");
    this.facts = el("dl", { class: "facts" });
    this.pictures = el("section", { class: "pictures" });
    this.small = { probe: this.smallCard("Probe", "hue: phase, brightness: amplitude"), fit: this.smallCard("One pattern", "logarithmic") };
    this.curvePlace = el("div");
    this.positions = el("svg:svg", { class: "positions", role: "img", "aria-label": "Probe positions" });
    this.positionsNote = el("small");
    this.positionsCard = el("section", { class: "card", hidden: true }, el("h2", {}, "Positions", this.positionsNote), this.positions);
    this.books = el("section", { class: "card", hidden: true });
    this.parameters = el("section", { class: "card", hidden: true });
    this.log = el("pre");
    this.logCard = el("details", { class: "card", open: true }, el("summary", {}, "Log"), this.log);
    this.node = el("article", { "data-key": key }, this.head, this.facts, this.pictures,
      el("div", { class: "pair" }, this.small.probe, this.small.fit), this.curvePlace, this.parameters,
      el("div", { class: "pair" }, this.positionsCard, this.books), this.logCard);
  }

  smallCard(title, note) {
    return el("section", { class: "card", hidden: true }, el("h2", {}, title, el("small", {}, note)), el("div", { class: "modes" }));
  }

  async fetch() {
    const state = await this.view.json("run", { key: this.key, have: this.state?.version || "" });
    if (!state) return false;
    this.state = state;
    this.showHead();
    this.showFacts();
    this.showPictures();
    this.showPositions();
    this.showTables();
    if (state.log !== this.log.textContent) {
      const last = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
      this.log.textContent = state.log;
      if (last) this.log.scrollTop = this.log.scrollHeight;
    }
    this.logCard.hidden = !state.log;
    await Promise.all([...this.panels.values()].map((panel) => panel.load()));
    return true;
  }

  showHead() {
    const { name, title, state, epoch, epochs, batch, n_batches: n, silent_s: silent } = this.state;
    const done = epochs ? Math.min((epoch + (n ? (batch || 0) / n : 0)) / epochs, 1) : 0;
    const bar = el("div", { class: `bar ${state}`, role: "progressbar", "aria-valuenow": Math.round(100 * done) }, el("span"));
    bar.firstChild.style.width = `${100 * done}%`;
    const since = state === "silent" ? ` for ${clock(silent)}` : "";
    this.head.replaceChildren(
      el("div", { class: "title" }, el("h2", {}, name), el("span", { class: `pill ${state}` }, (STATES[state] || state) + since)),
      el("p", {}, title === name ? "" : title), bar);
    if (this.view.columns[0] === this) document.title = `${name} · Adorym`;
  }

  showFacts() {
    const { curves = {}, epoch, epochs, batch, n_batches: n, state } = this.state, last = (name) => curves[name]?.y.at(-1);
    const loss = curves.loss?.y.filter((v) => v != null) || [], times = curves.time_s?.y || [];
    const pace = times.slice(-20).reduce((a, b) => a + b, 0) / Math.max(times.slice(-20).length, 1);
    const left = state === "running" && times.length ? (epochs - epoch - (n ? (batch || 0) / n : 0)) * pace : null;
    const took = this.state.full ? times.reduce((a, b) => a + (b || 0), 0) : null;
    const rows = [
      [words(stepOf(this.state)), epochs ? `${epoch} of ${epochs}` : epoch],
      ["Loss", loss.length ? text(loss.at(-1), 4) : null],
      ["Per epoch", times.length ? quantity(pace, "s") : null],
      ["Speed", last("patterns_per_s") ? `${text(last("patterns_per_s"), 3)} patterns/s` : null],
      ["Memory", last("memory") ? bytes(last("memory")) : null],
      left == null ? ["Took", took ? clock(took) : null] : ["To go", clock(left)],
    ];
    this.facts.replaceChildren(...rows.filter(([, value]) => value != null)
      .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }

  showPictures() {
    const shown = this.state.pictures.flatMap((about) => about.name !== "probe" ? [about] :
      about.parts.map((part, i) => ({ ...about, mode: i, part, id: `probe ${i}` })));
    for (const about of shown) {
      const id = about.id || about.name;
      if (this.panels.has(id)) this.panels.get(id).about = about;
      else {
        const panel = new Panel(this, about);
        this.panels.set(id, panel);
        this.placeOf(about).append(panel.node);
      }
    }
    const names = new Set(shown.map((about) => about.id || about.name));
    for (const [id, panel] of this.panels) if (!names.has(id)) { panel.node.remove(); this.panels.delete(id); }
  }

  placeOf(about) {
    const card = about.name === "probe" ? this.small.probe : SMALL.includes(about.name) ? this.small.fit : null;
    if (card) card.hidden = false;
    return card ? card.lastChild : this.pictures;
  }

  showPositions() {
    const found = this.state.positions;
    this.positionsCard.hidden = !found;
    if (!found) return;
    const moved = found.value.map((p, i) => Math.hypot(p[0] - found.start[i][0], p[1] - found.start[i][1]));
    const rms = Math.sqrt(moved.reduce((a, b) => a + b * b, 0) / Math.max(moved.length, 1));
    this.positionsNote.textContent = `${found.count} positions, moved by ${text(rms, 3)} ${found.unit} rms`;
    scatter(this.positions, found);
  }

  showTables() {
    const { parameters = [], learning_rates: rates = {}, books = {} } = this.state;
    const key = (title) => title.toLowerCase().replaceAll(" ", "_");
    const rate = (name) => (rates[name] == null ? "" : text(rates[name], 3));
    const rows = parameters.map(([name, , start, value, change]) => [name, start, value, change, rate(key(name))]);
    for (const name of ["probe", "object"]) if (rates[name] != null) rows.unshift([words(name), "", "", "", rate(name)]);
    this.fill(this.parameters, "Parameters", ["", "start", "now", "change", "learning rate"], rows);
    const flat = Object.entries(books).flatMap(([name, value]) => value && typeof value === "object" && !Array.isArray(value)
      ? Object.entries(value).map(([inner, v]) => [`${words(name)}: ${inner.replaceAll("_", " ")}`, v]) : [[words(name), value]]);
    this.fill(this.books, "Frames", null, flat.map(([name, v]) => [name, typeof v === "number" ? text(v, 7) : String(v)]));
  }

  fill(card, title, head, rows) {
    card.hidden = !rows.length;
    card.replaceChildren(el("h2", {}, title), el("div", { class: "scroll" }, el("table", {},
      head ? el("thead", {}, el("tr", {}, ...head.map((cell) => el("th", {}, cell)))) : null,
      el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell) => el("td", {}, cell))))))));
  }
}

// One picture with its controls; small ones have none.
class Panel {
  constructor(column, about) {
    Object.assign(this, { column, view: column.view, about, picture: null, wanted: "", shown: "" });
    this.canvas = el("canvas", { "data-picture": about.name, tabindex: 0, role: "img", "aria-label": about.name });
    this.scale = el("span", { class: "scale", hidden: true }, el("i"), el("b"));
    const stage = el("div", { class: "stage" }, this.canvas, this.scale);
    this.isSmall = SMALL.includes(about.name);
    this.node = this.isSmall
      ? el("figure", { class: "mode" }, stage, this.caption = el("figcaption"))
      : el("section", { class: "card picture" }, el("h2", {}, words(about.name), this.where = el("small")), stage, this.controls());
    if (!this.isSmall) this.listen();
    new ResizeObserver(() => this.draw()).observe(stage);
  }

  get settings() { return this.view.settingsOf(this.about); }

  // -- controls -----------------------------------------------------------------------------------------------------
  slider(label, { max = 1000, step = 1, ...attributes }, change) {
    const input = el("input", { type: "range", min: 0, max, step, ...attributes, "aria-label": `${words(this.about.name)}: ${label}`, oninput: () => change(Number(input.value)) });
    return [input, el("label", { class: "slider" }, el("span", {}, label), input)];
  }

  controls() {
    const change = (values, reload) => { Object.assign(this.settings, values); this.view.changed(this.about.name, reload); };
    const at = (place) => { const p = this.picture.planes[0]; return p.low + (place / 1000) * (p.high - p.low); };
    let low, high, gamma, place;
    [this.low, low] = this.slider("min", { "data-role": "low" }, (v) => change({ low: at(Math.min(v, Number(this.high.value) - 1)) }));
    [this.high, high] = this.slider("max", { "data-role": "high" }, (v) => change({ high: at(Math.max(v, Number(this.low.value) + 1)) }));
    [this.gamma, gamma] = this.slider("gamma", { "data-role": "gamma" }, (v) => change({ gamma: 4 ** ((v - 500) / 500) }));
    [this.place, place] = this.slider("slice", { "data-role": "slice" }, (v) => change({ place: v / Math.max(Number(this.place.max), 1) }, true));
    this.axis = el("select", { "data-role": "axis", "aria-label": "Sections across", onchange: () => change({ axis: this.axis.value, place: 0.5 }, true) });
    this.palette = el("select", { "data-role": "palette", "aria-label": "Colors", onchange: () => change({ palette: this.palette.value }) },
      ...Object.keys(PALETTES).map((name) => el("option", { value: name }, name)));
    this.section = el("div", { class: "row section" }, place, this.axis);
    const auto = el("button", { "data-role": "auto", onclick: () => change({ low: null, high: null, gamma: 1 }) }, "Auto");
    return el("div", { class: "controls" }, this.section, el("div", { class: "row" }, low, high), el("div", { class: "row" }, gamma, this.palette, auto));
  }

  // Controls follow what the other column, or the data, have changed.
  follow() {
    if (!this.low || !this.picture) return;
    const { gamma, palette, axis, place } = this.settings, plane = this.picture.planes[0], contrast = this.contrast();
    const to = (v) => 1000 * ((v - plane.low) / (plane.high - plane.low));
    this.low.value = to(contrast.low);
    this.high.value = to(contrast.high);
    this.gamma.value = 500 + (500 * Math.log(gamma)) / Math.log(4);
    this.palette.value = palette;
    const axes = Object.keys(this.about.sections), count = this.about.sections[axis] || 1;
    this.section.hidden = axes.length === 1 && count === 1;
    this.axis.hidden = axes.length === 1;
    if (this.axis.length !== axes.length) this.axis.replaceChildren(...axes.map((name) => el("option", { value: name }, `across ${name}`)));
    this.axis.value = axis;
    this.place.max = count - 1;
    this.place.value = Math.round(place * (count - 1));
    this.where.textContent = count > 1 ? `slice ${this.index() + 1} of ${count}` : "";
  }

  index() {
    const { axis, place } = this.settings;
    return Math.round(place * ((this.about.sections[axis] || 1) - 1));
  }

  contrast() {
    const { low, high, gamma } = this.settings, plane = this.picture.planes[0];
    return { low: low ?? plane.from, high: high ?? plane.to, gamma };
  }

  // -- the picture --------------------------------------------------------------------------------------------------
  async load() {
    if (this.caption) this.caption.textContent = this.about.part == null ? words(this.about.name) : `${(100 * this.about.part).toFixed(1)} %`;
    const probe = this.about.name === "probe", { axis } = this.settings;
    const query = { key: this.column.key, name: this.about.name, axis: probe ? "z" : axis, index: probe ? this.about.mode : this.index() };
    const wanted = `${this.column.state.version} ${Object.values(query).join(" ")}`;
    if (wanted === this.shown || wanted === this.wanted) return;
    this.wanted = wanted;
    try {
      const answer = await this.view.ask("picture", query);
      if (answer.status !== 200 || this.wanted !== wanted) return; // a later request is on its way
      this.picture = parsePicture(answer.body);
      this.shown = wanted;
      Object.assign(this.canvas.dataset, { version: this.column.state.version, section: `${query.axis} ${query.index}` });
    } finally {
      if (this.wanted === wanted) this.wanted = "";
    }
    this.painted = null;
    this.follow();
    this.draw();
  }

  draw() {
    const { canvas, picture } = this, width = canvas.clientWidth;
    if (!picture || !width) return;
    const key = JSON.stringify([this.shown, this.contrast(), this.settings.palette]);
    if (this.painted?.key !== key) this.painted = { key, image: paint(picture, this.contrast(), this.settings.palette) };
    const ratio = window.devicePixelRatio || 1, { x, y, factor } = this.isSmall ? WHOLE : this.view.zoom;
    canvas.style.aspectRatio = `${picture.columns} / ${picture.rows}`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.max(1, Math.round((canvas.width * picture.rows) / picture.columns));
    const [w, h] = [picture.columns / factor, picture.rows / factor], context = canvas.getContext("2d");
    context.imageSmoothingEnabled = canvas.width < 3 * w;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.painted.image, (x - 0.5 / factor) * picture.columns, (y - 0.5 / factor) * picture.rows, w, h, 0, 0, canvas.width, canvas.height);
    canvas.dataset.zoom = `${x.toFixed(4)} ${y.toFixed(4)} ${factor.toFixed(3)}`;
    this.drawScale(w * (this.about.pixel_m || 0), width);
  }

  drawScale(across, width) {
    this.scale.hidden = !across || this.isSmall;
    if (this.scale.hidden) return;
    const raw = across / 5, power = 10 ** Math.floor(Math.log10(raw)), length = power * [5, 2, 1].find((k) => k * power <= raw);
    this.scale.firstChild.style.width = `${(length / across) * width}px`;
    this.scale.lastChild.textContent = quantity(length, "m");
  }

  listen() {
    const { canvas, view } = this, at = (event) => {
      const box = canvas.getBoundingClientRect(), { x, y, factor } = view.zoom;
      return [x + ((event.clientX - box.left) / box.width - 0.5) / factor, y + ((event.clientY - box.top) / box.height - 0.5) / factor];
    };
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const [px, py] = at(event), factor = Math.min(Math.max(view.zoom.factor * Math.exp(-event.deltaY / 400), 1), 64);
      const keep = view.zoom.factor / factor; // the point under the pointer stays where it is
      view.moveZoom({ factor, x: px + (view.zoom.x - px) * keep, y: py + (view.zoom.y - py) * keep });
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.grip = [event.clientX, event.clientY, view.zoom.x, view.zoom.y];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.grip) return;
      const box = canvas.getBoundingClientRect(), [cx, cy, x, y] = this.grip, { factor } = view.zoom;
      view.moveZoom({ x: x - (event.clientX - cx) / box.width / factor, y: y - (event.clientY - cy) / box.height / factor });
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { this.grip = null; });
    canvas.addEventListener("dblclick", () => view.moveZoom(WHOLE));
    canvas.addEventListener("keydown", (event) => {
      const by = { "+": 1.25, "-": 0.8, 0: 0 }[event.key];
      if (by !== undefined) view.moveZoom(by ? { factor: view.zoom.factor * by } : WHOLE);
    });
  }
}
