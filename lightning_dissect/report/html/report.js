// The page's own script: unpacks the data, fills the table (DataTables) and draws the pictures (Plotly).
"use strict";
(() => {
  const meta = JSON.parse(document.getElementById("meta").textContent);
  const element = (id) => document.getElementById(id);
  const last = meta.moments.length - 1;
  const cache = new Map();

  function make(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  // ---- data -------------------------------------------------------------------------------------------------------

  async function unpack(id) {
    const text = atob(element(`data-${id}`).textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  const unpackText = async (id) => new TextDecoder().decode(await unpack(id));

  function once(key, make) {
    if (!cache.has(key)) cache.set(key, make());
    return cache.get(key);
  }

  // Effects of a layer at all epochs: at(moment, row, unit), null where undefined.
  const loadHistory = (layer) => once(`history-${layer}`, async () => {
    const { columns, units } = meta.layers[layer];
    const steps = new Int8Array(await unpack(`history-${layer}`));
    return (moment, row, unit) => {
      const step = steps[(moment * columns.length + row) * units + unit];
      return step === meta.undefined ? null : step * meta.columns[columns[row]].limit / meta.steps;
    };
  });

  // The last epoch of a layer, to more digits: at(row, unit) gives effect, score and q.
  const loadLast = (layer) => once(`last-${layer}`, async () => {
    const { columns, units, limits } = meta.layers[layer];
    const size = columns.length * units;
    const buffer = await unpack(`last-${layer}`);
    const exact = [0, 1].map((part) => new Int16Array(buffer, 2 * part * size, size));
    const powers = new Uint8Array(buffer, 4 * size, size);
    return (row, unit) => {
      const place = row * units + unit;
      const [effect, score] = exact.map((steps, part) =>
        steps[place] === meta.exactUndefined ? null : steps[place] * limits[part] / meta.exactSteps);
      const power = powers[place] === meta.qUndefined ? null : powers[place] / meta.qSteps;
      return { effect, score, power };
    };
  });

  const loadLibrary = (id) => once(id, async () => {
    const source = await unpackText(id);
    if (id === "plotly") {
      document.head.append(make("script", { textContent: source }));
      return window.Plotly;
    }
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    try {
      return (await import(address)).jQuery.fn.dataTable;
    } finally {
      URL.revokeObjectURL(address);
    }
  });

  // ---- words ------------------------------------------------------------------------------------------------------

  const fixed = (number, digits = 3) => number === null ? "–" : number.toFixed(digits).replace("-", "−");
  const small = (q) => q === null ? "–" : q >= 0.001 ? q.toFixed(3) : q.toExponential(0).replace("-", "−");
  const yes = (value) => value === null ? "–" : value ? "yes" : "no";
  const base = (feature) => feature.replace(/\[.*\]$/, "");
  const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");  // Plotly reads tags in its texts

  function fromPower(power) {
    if (power === null) return "–";
    return power >= meta.largestPower ? `< 1e−${meta.largestPower}` : small(10 ** -power);
  }

  // ---- the overview -----------------------------------------------------------------------------------------------

  function showOverview(moment) {
    element("overview").querySelectorAll("tbody tr").forEach((row, layer) => {
      const { units } = meta.layers[layer];
      const counts = meta.counts[moment][layer];
      [...counts, ...meta.explained[moment][layer]].forEach((count, place) => {
        const cell = row.cells[place + 1];
        cell.textContent = count;
        cell.style.setProperty("--share", count / units);
        cell.classList.toggle("dark", place < counts.length && count / units > 0.5);
      });
    });
    element("kinds").querySelectorAll("tbody tr").forEach((row, layer) => {
      const { units, dead } = meta.layers[layer];
      const parts = meta.parts[moment][layer];
      const bar = row.querySelector(".bar");
      bar.setAttribute("aria-label", parts.map((count, place) => `${count} ${meta.kinds[place].words}`).join("; "));
      parts.forEach((count, place) => {
        bar.children[place].style.flexGrow = count;
        bar.children[place].title = `${count} of ${units}: ${meta.kinds[place].words}`;
        const own = place === parts.length - 1 && moment === last && dead;
        row.cells[place + 2].textContent = own ? `${count} (${dead} dead)` : count;
      });
    });
  }

  // ---- pictures ---------------------------------------------------------------------------------------------------

  const layout = (more) => ({
    margin: { l: 110, r: 10, t: 34, b: 44 },
    font: { family: "system-ui, sans-serif", size: 13, color: "#1b1f24" },
    paper_bgcolor: "#fff",
    hovermode: "closest",
    ...more,
  });
  const settings = { displayModeBar: false, responsive: true };

  async function drawHeatMap(moment) {
    const layer = Number(element("layer").value);
    const [at, Plotly] = await Promise.all([loadHistory(layer), loadLibrary("plotly")]);
    const { columns, units, name } = meta.layers[layer];
    const comparison = Number(element("comparison").value);
    const rows = columns.map((column, row) => [column, row]).filter(([column]) => meta.columns[column].comparison === comparison);
    const limit = rows.length ? meta.columns[rows[0][0]].limit : 1;
    const z = rows.map(([, row]) => Array.from({ length: units }, (_, unit) => at(moment, row, unit)));
    const trace = {
      type: "heatmap", z, y: rows.map(([column]) => plain(meta.columns[column].name)),
      zmin: -limit, zmax: limit, colorscale: meta.colours.effect, colorbar: { title: { text: "effect" }, thickness: 12 },
      hovertemplate: "unit %{x}, %{y}<br>effect %{z:.2f}<extra></extra>",
    };
    const nothing = { text: "This layer has nothing of this kind.", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 };
    await Plotly.react("heatmap", rows.length ? [trace] : [], layout({
      height: Math.max(220, 100 + 28 * rows.length),
      title: { text: plain(`${name}, ${meta.moments[moment]}`), x: 0, xref: "paper", font: { size: 14 } },
      plot_bgcolor: "#d9d9d9",
      xaxis: { title: { text: "unit" }, constrain: "domain", range: [-0.5, units - 0.5] },
      yaxis: { autorange: "reversed", automargin: true },
      annotations: rows.length ? [] : [nothing],
    }), settings);
    const plot = element("heatmap");
    plot.removeAllListeners("plotly_click");
    plot.on("plotly_click", ({ points }) => openUnit(layer, points[0].x));
  }

  const lines = (series) => series.map(({ name, values, feature, dash }) => ({
    type: "scatter", mode: meta.moments.length > 30 ? "lines" : "lines+markers", name: plain(name), x: meta.epochs, y: values,
    line: { color: meta.colours.features[feature], width: 2, dash }, marker: { symbol: meta.features.indexOf(feature) % 8, size: 8 },
  }));

  const epochAxis = { title: { text: "epoch" }, dtick: meta.moments.length <= 20 ? 1 : undefined };

  async function drawTrajectory(moment) {
    if (!element("trajectory")) return;
    const layer = Number(element("layer").value);
    const Plotly = await loadLibrary("plotly");
    const series = meta.features.map((feature, place) => ({
      name: feature, feature, values: meta.counts.map((counts) => counts[layer][place]),
    }));
    const look = {
      height: 300,
      xaxis: epochAxis,
      yaxis: { title: { text: `units of ${plain(meta.layers[layer].name)}` }, rangemode: "tozero" },
      shapes: [{ type: "line", x0: meta.epochs[moment], x1: meta.epochs[moment], yref: "paper", y0: 0, y1: 1, line: { color: "#57606a", dash: "dot" } }],
    };
    const bars = meta.kinds.map(({ words, colour }, place) => ({
      type: "bar", name: plain(words), x: meta.epochs, y: meta.parts.map((parts) => parts[layer][place]), marker: { color: colour },
    }));
    await Promise.all([
      Plotly.react("kinds-trajectory", bars, layout({ ...look, barmode: "stack", legend: { traceorder: "normal" } }), settings),
      Plotly.react("trajectory", lines(series), layout(look), settings),
    ]);
  }

  let drawing = null;
  let seen = false;  // nothing is drawn before it is scrolled to: Plotly takes its time to start
  function draw() {
    if (drawing || !seen) return;
    drawing = requestAnimationFrame(async () => {
      drawing = null;
      const moment = element("epoch") ? Number(element("epoch").value) : last;
      await Promise.all([drawHeatMap(moment), drawTrajectory(moment)]);
      document.body.dataset.drawn = moment;
    });
  }

  // ---- one unit ---------------------------------------------------------------------------------------------------

  async function openUnit(layer, unit) {
    const { columns, name } = meta.layers[layer];
    const [label, at] = [findLabel(layer, unit), await loadLast(layer)];
    element("unit-title").textContent = `${name}, unit ${unit}`;
    element("unit-words").textContent = describe(label);
    const rows = columns.map((column, row) => ({ ...meta.columns[column], row, ...at(row, unit) }));
    rows.sort((a, b) => (b.power ?? -1) - (a.power ?? -1) || Math.abs(b.effect) - Math.abs(a.effect));
    const body = element("unit-table").tBodies[0];
    body.replaceChildren(...rows.map((row) => {
      const chance = row.score === null ? null : row.score - row.effect;
      const texts = [row.name, meta.comparisons[row.comparison], fixed(row.score), fixed(chance), fixed(row.effect), fromPower(row.power)];
      const own = label?.feature && base(label.feature) === row.feature && label.compared === row.comparison;
      return make("tr", { className: own ? "label" : "" }, ...texts.map((textContent) => make("td", { textContent })));
    }));
    await showPlayers(layer, unit);
    element("unit").showModal();
    if (element("unit-trajectory")) await drawUnit(layer, unit, rows.slice(0, 5));
    element("unit").dataset.unit = `${layer}/${unit}`;
  }

  function describe(label) {
    if (!label?.feature) return "Follows none of the features more than chance explains.";
    const { label: name, rivals, kind } = label;
    const what = {
      distinct: `Follows ${name}, which sets it apart from all other features that were compared`,
      shared: `Follows ${name} or ${rivals}: these clips cannot tell which`,
      trivial: `Follows ${name}${rivals ? ` or ${rivals}` : ""}: trivial, since ${meta.controls.map((control) => control.name).join(" or ")} explains it as well`,
      untested: `Follows ${name}; whether this sets it apart was not tested`,
    }[kind];
    const r2 = label.r2 === null ? "" : `, r² = ${fixed(label.r2)}`;
    const unique = label.unique === null ? "" : ` With all other features held fixed, ${fixed(label.unique)} is left.`;
    const learned = { true: " Learned: in untrained copies units do not follow it as strongly.", false: " Not shown to be learned.", null: "" }[label.learned];
    const compared = `${meta.comparisons[label.compared]}, ${fixed(label.score)} where chance gives ${fixed(label.null)}`;
    return `${what}. Compared by ${compared}${r2} (q = ${small(label.q)}).${unique}${learned}`;
  }

  async function drawUnit(layer, unit, rows) {
    const [at, Plotly] = await Promise.all([loadHistory(layer), loadLibrary("plotly")]);
    const dashes = ["solid", "dash", "dot", "dashdot", "longdash"];
    const series = rows.map((row) => ({
      name: `${row.name}, ${meta.comparisons[row.comparison]}`, feature: row.feature, dash: dashes[row.comparison % dashes.length],
      values: meta.moments.map((_, moment) => at(moment, row.row, unit)),
    }));
    await Plotly.react("unit-trajectory", lines(series), layout({
      height: 280, xaxis: epochAxis, yaxis: { title: { text: "effect" } }, margin: { l: 60, r: 10, t: 10, b: 44 }, showlegend: true,
    }), settings);
  }

  const loadPlayers = () => once("players", async () => element("data-players") ? JSON.parse(await unpackText("players")) : {});

  async function showPlayers(layer, unit) {
    const entries = (await loadPlayers())[`${layer}/${unit}`] ?? [];
    element("unit-players").replaceChildren(...entries.map((entry) => {
      const src = `data:audio/wav;base64,${element(`audio-${entry.audio}`).textContent}`;
      const audio = make("audio", { controls: true, preload: "metadata", ariaLabel: entry.words, src });
      const box = make("div", { className: "player" }, make("p", { textContent: entry.words }), audio);
      const textContent = `${entry.feature} over the excerpt, from its least to its largest value`;
      if (entry.curve) box.append(drawCurve(entry, audio), make("p", { className: "words", textContent }));
      return box;
    }));
  }

  function makeSvg(name, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  // The feature over the excerpt as a line, and a cursor that follows the player.
  function drawCurve({ curve, feature }, audio) {
    const step = 1000 / Math.max(curve.length - 1, 1);
    const points = curve.map((value, place) => `${(place * step).toFixed(1)},${95 - 0.9 * value}`).join(" ");
    const look = { fill: "none", "vector-effect": "non-scaling-stroke" };
    const stroke = meta.colours.features[base(feature)] ?? "#1b1f24";
    const line = makeSvg("polyline", { ...look, points, stroke, "stroke-width": 2 });
    const cursor = makeSvg("line", { ...look, y1: 0, y2: 100, stroke: "#57606a" });
    const follow = () => ["x1", "x2"].forEach((name) => cursor.setAttribute(name, 1000 * audio.currentTime / (audio.duration || 1)));
    audio.addEventListener("timeupdate", follow);
    follow();
    const words = { role: "img", "aria-label": `${feature} over the excerpt` };
    return makeSvg("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", ...words }, line, cursor);
  }

  element("unit").addEventListener("close", () => {
    element("unit-players").replaceChildren();
    delete element("unit").dataset.unit;
  });

  // ---- the table --------------------------------------------------------------------------------------------------

  let labels = [];
  const findLabel = (layer, unit) => labels.find((row) => row.layer === layer && row.unit === unit);

  // A column that is sorted by its number, whatever it shows; undefined goes to the end of an ascending sort.
  const numeric = (data, title, className, show) => ({
    data, title, className, type: "num",
    render: (value, kind) => kind === "sort" || kind === "type" ? value ?? Infinity : show(value),
  });

  async function fillTable() {
    const [DataTable, text] = await Promise.all([loadLibrary("datatables"), unpackText("units")]);
    labels = JSON.parse(text);
    document.head.prepend(make("style", { textContent: await unpackText("datatables-style") }));
    const escape = DataTable.render.text().display;
    const players = await loadPlayers();
    const table = new DataTable("#table", {
      data: labels,
      columns: [
        numeric("layer", "layer", "dt-left", (layer) => escape(meta.layers[layer].name)),
        { data: "unit", title: "unit", type: "num", className: "dt-left", render: (value, kind) => kind === "display" ? `<button class="open">unit ${Number(value)}</button>` : value },
        { data: "label", title: "label", type: "string", render: (value, kind) => kind === "display" ? escape(value ?? "–") : value ?? "" },
        { data: "kind", title: "kind", type: "string" },
        { data: "rivals", title: "or as well (rivals)", type: "string", render: (value, kind) => kind === "display" ? escape(value) : value },
        numeric("compared", "compared by", "dt-left", (pair) => pair === null ? "" : escape(meta.comparisons[pair])),
        numeric("score", "score", "dt-right", fixed), numeric("null", "chance", "dt-right", fixed), numeric("r2", "r²", "dt-right", fixed),
        numeric("unique", "unique", "dt-right", fixed), numeric("learned", "learned", "dt-right", yes), numeric("q", "q", "dt-right", small),
      ],
      createdRow: (row, { kind }) => row.classList.add(kind),
      order: [], deferRender: true, autoWidth: false, pageLength: 25, lengthMenu: [10, 25, 100, 500],
      language: { info: "_START_ to _END_ of _TOTAL_ units", infoFiltered: "(of _MAX_)", infoEmpty: "no unit", lengthMenu: "_MENU_ units a page", search: "Search", zeroRecords: "No unit is like that." },
    });
    table.on("click", "button.open", (event) => {
      const row = table.row(event.target.closest("tr")).data();
      openUnit(row.layer, row.unit);
    });
    const filter = () => {
      const [layer, kind, feature] = ["layer", "kind", "feature"].map((name) => element(`filter-${name}`).value);
      const audio = element("filter-audio")?.checked;
      table.search.fixed("choices", (text, row) =>
        (layer === "" || row.layer === Number(layer))
        && (kind === "" || kind === row.kind || (kind === "learned" && row.kind === "distinct" && row.learned === true))
        && (feature === "" || (row.feature !== null && feature === base(row.feature)))
        && (!audio || `${row.layer}/${row.unit}` in players)).draw();
    };
    ["filter-layer", "filter-kind", "filter-feature", "filter-audio"].forEach((id) => element(id)?.addEventListener("change", filter));
    element("loading").remove();
    document.body.dataset.ready = "true";
  }

  // ---- begin ------------------------------------------------------------------------------------------------------

  element("epoch")?.addEventListener("input", (event) => {
    const moment = Number(event.target.value);
    element("moment").textContent = meta.moments[moment];
    event.target.setAttribute("aria-valuetext", meta.moments[moment]);
    showOverview(moment);
    draw();
  });
  ["layer", "comparison"].forEach((id) => element(id).addEventListener("change", draw));
  element("comparison").value = meta.comparison;
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    seen = true;
    draw();
  }, { rootMargin: "100px" }).observe(element("heatmap"));
  // What has been read is painted before anything is unpacked.
  requestAnimationFrame(() => setTimeout(fillTable));
})();
