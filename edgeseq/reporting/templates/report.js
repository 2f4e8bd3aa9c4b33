// Draws the charts and decides again when a limit moves. Sentences, numbers and tests come
// from edgeseq.reporting.page_data; this script only filters and picks, as
// edgeseq.reporting.verdict.decide does. Texts are inserted through textContent alone.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const views = [];

  // ---- The decision ------------------------------------------------------------------------

  const atLimit = (decision, at, key) => decision.limits[key].stops[at[key]];
  const label = (decision, at, key) => decision.limits[key].labels[at[key]];

  function overText(decision, at, reason) {
    const value = reason.text, allowed = label(decision, at, reason.slider);
    const tail = value.split(" ").slice(-2), limit = allowed.split(" ");
    const same = Number(tail[0]) === Number(limit[0]) && tail[1] === limit[1];
    return `${same ? reason.exact : value} > ${allowed}`;
  }

  function blocking(decision, at, row) {
    const value = { memory: row.memory, p95: row.p95 };
    return row.reasons.flatMap((reason) => {
      if (typeof reason === "string") return [reason];
      const limit = atLimit(decision, at, reason.slider);
      if (limit === null) return [];
      if (value[reason.slider] === null) return [reason.text];
      return value[reason.slider] > limit ? [overText(decision, at, reason)] : [];
    });
  }

  // As edgeseq.reporting.limit_proof.proof_sentence.
  function proofText(row, limit) {
    if (row.proof || limit === null) return row.proof;
    const step = row.proofs.find(([bytes, isAlone]) =>
      bytes <= limit && (!isAlone || bytes === limit));
    return step ? step[2] : "";
  }

  // As edgeseq.reporting.limit_proof.proof_of.
  function doubtTexts(decision, at, row) {
    const isRaised = ({ slider, atMost }) => {
      const limit = slider ? atLimit(decision, at, slider) : 0;
      return limit !== null && (!slider || atMost === null || atMost > limit);
    };
    return row.doubts.filter(isRaised).map((doubt) => doubt.text);
  }

  function limitsText(decision, at) {
    const texts = decision.limitTexts.flatMap((limit) => {
      if (limit === null) return [];
      if (!limit.slider) return [limit.text];
      return atLimit(decision, at, limit.slider) === null
        ? [] : [limit.text + label(decision, at, limit.slider)];
    });
    return texts.join(", ") || decision.noLimits;
  }

  function overshoot(decision, at, row) {
    let factor = row.factor;
    for (const key of ["memory", "p95"]) {
      const limit = atLimit(decision, at, key);
      if (limit === null || factor === null) continue;
      factor = row[key] === null ? null : Math.max(factor, row[key] / limit);
    }
    return factor;
  }

  // As edgeseq.units.format_factor.
  const factorText = (factor) =>
    factor >= 99.5 ? factor.toFixed(0) : String(Number(factor.toPrecision(2)));

  function nothingFits(decision, at, blocked) {
    if (decision.hopeless !== null) return decision.hopeless;
    const misses = decision.rows
      .map((row, i) => ({ row, i, factor: row.able ? overshoot(decision, at, row) : null }))
      .filter((miss) => miss.factor !== null)
      .sort((a, b) => a.factor - b.factor || (a.row.bundle < b.row.bundle ? -1 : 1));
    const sentence = `No model fits ${limitsText(decision, at)}.`;
    if (!misses.length) return sentence;
    const { row, i } = misses[0];
    const times = factorText(misses[0].factor + 1e-9);
    return `${sentence} The nearest miss is ${row.bundle} at ${times} times the limit ` +
      `(${blocked[i].join("; ")}).`;
  }

  // As edgeseq.reporting.verdict.cost_reason.
  function costText(decision, winner, row) {
    const costs = row.costs.flatMap((numbers, k) => {
      const both = numbers.findIndex(([, value], n) =>
        value !== null && winner.costs[k][n][1] !== null);
      if (both < 0) return [];
      const [name, value, text] = numbers[both], [, limit, limitText] = winner.costs[k][both];
      return value > limit && text !== limitText ? [`${name} ${text} > ${limitText}`] : [];
    });
    return costs.length ? decision.costlier + costs.join(", ") : decision.cheaper;
  }

  function decide(decision, at) {
    const blocked = decision.rows.map((row) => blocking(decision, at, row));
    const fits = decision.rows.map((_, i) => blocked[i].length === 0);
    const best = decision.best.find((i) => fits[i]);
    if (best === undefined) {
      const why = nothingFits(decision, at, blocked);
      return { winner: null, headline: "Nothing to ship", why, proof: "", reasons: blocked };
    }
    // A pair holds one sentence where the second is not good enough, else two for the winner.
    const pair = (i) => decision.pairs[best][i];
    const withinMargin = (i) => fits[i] && pair(i).length === 2;
    const goodEnough = decision.cheapest.filter(withinMargin), winner = goodEnough[0];
    const reasons = decision.rows.map((row, i) => {
      if (i === winner) return [];
      if (!fits[i]) return blocked[i];
      return [withinMargin(i) ? costText(decision, decision.rows[winner], row) : pair(i)[0]];
    });
    const text = limitsText(decision, at);
    const [within, without] = pair(winner);
    const why = text === decision.noLimits ? without : within.replace(decision.mark, () => text);
    const shipped = decision.rows[winner], memory = atLimit(decision, at, "memory");
    const doubts = doubtTexts(decision, at, shipped);
    const certain = goodEnough.map((i) => decision.rows[i])
      .find((row) => !doubtTexts(decision, at, row).length);
    const proofs = [proofText(shipped, memory), ...doubts];
    if (doubts.length && certain) proofs.push(certain.certain);
    const headline = shipped.headlines[doubts.length ? 1 : 0];
    return { winner, headline, why, proof: proofs.filter(Boolean).join(" "), reasons };
  }

  // ---- The page ----------------------------------------------------------------------------

  function element(tag, text, className) {
    const node = document.createElement(tag);
    if (text) node.textContent = text;
    if (className) node.className = className;
    return node;
  }

  function show(section, decision, verdict) {
    const row = verdict.winner === null ? null : decision.rows[verdict.winner];
    const panel = section.querySelector(".verdict");
    panel.dataset.arch = row ? row.arch : "";
    panel.dataset.winner = row ? row.bundle : "";
    panel.querySelector(".headline").textContent = verdict.headline;
    panel.querySelector(".why").textContent = verdict.why;
    panel.querySelector(".proof").textContent = verdict.proof;
    panel.querySelector(".tiles").replaceChildren(...(row ? row.figures : []).map(
      ([title, value, remark]) => {
        const tile = element("div", "", "tile"), body = element("dd", value);
        if (remark) body.append(element("small", remark));
        tile.append(element("dt", title), body);
        return tile;
      }));
    decision.rows.forEach((_, i) => {
      const line = section.querySelector(`tr[data-row="${i}"]`);
      line.classList.toggle("ships", i === verdict.winner);
      const list = element("ul");
      if (i === verdict.winner) list.append(element("li", "ships", "ship"));
      verdict.reasons[i].forEach((reason) => list.append(element("li", reason)));
      line.querySelector(".reasons").replaceChildren(list);
    });
  }

  // ---- The table: sorting, and of many models search, groups and the first ones alone ------------

  const FIRST_MODELS = 20;

  function setUpTable(section) {
    const table = section.querySelector("table.models"), body = table.tBodies[0];
    const lines = [...body.rows], tools = section.querySelector(".tools");
    const state = { column: null, direction: 1, query: "", grouping: "", all: !tools };
    const key = (line) => {
      if (state.column === "name") return line.cells[0].textContent.trim();
      const amount = line.cells[Number(state.column) + 1].dataset.amount;
      return amount === undefined ? null : Number(amount);
    };
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      // What was not measured comes last in either direction.
      if (x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : x > y ? 1 : 0) * state.direction;
    };
    const render = () => {
      for (const heading of body.querySelectorAll("tr.heading")) heading.remove();
      const sorted = state.column === null ? [...lines] : [...lines].sort(compare);
      const found = sorted.filter((line) => line.textContent.toLowerCase().includes(state.query));
      const isCut = !state.all && !state.query && !state.grouping;
      const shown = found.filter((line, i) =>
        !isCut || i < FIRST_MODELS || line.classList.contains("ships"));
      const groups = new Map();
      for (const line of shown) {
        const name = state.grouping ? line.dataset[state.grouping] : "";
        if (!groups.has(name)) groups.set(name, []);
        groups.get(name).push(line);
      }
      for (const line of lines) line.hidden = true;
      for (const [name, members] of groups) {
        if (state.grouping) {
          const heading = element("tr", "", "heading");
          const cell = element("th", `${name} (${members.length})`);
          cell.colSpan = table.tHead.rows[0].cells.length;
          heading.append(cell);
          body.append(heading);
        }
        for (const line of members) { line.hidden = false; body.append(line); }
      }
      for (const head of table.querySelectorAll("thead th[data-sort]")) {
        const isSorted = head.dataset.sort === state.column;
        head.setAttribute("aria-sort",
          !isSorted ? "none" : state.direction > 0 ? "ascending" : "descending");
      }
      if (tools) {
        tools.querySelector(".count").textContent = `${shown.length} of ${lines.length} shown`;
        tools.querySelector(".all").setAttribute("aria-pressed", String(state.all));
      }
    };
    for (const head of table.querySelectorAll("thead th[data-sort]")) {
      const button = element("button", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        state.direction = state.column === head.dataset.sort ? -state.direction : 1;
        state.column = head.dataset.sort;
        render();
      });
    }
    if (tools) {
      tools.hidden = false;
      const on = (selector, event, change) =>
        tools.querySelector(selector).addEventListener(event, (e) => { change(e.target); render(); });
      on(".search", "input", (input) => { state.query = input.value.trim().toLowerCase(); });
      on(".grouping", "change", (select) => { state.grouping = select.value; });
      on(".all", "click", () => { state.all = !state.all; });
      window.addEventListener("beforeprint", () => { state.all = true; render(); });
    }
    render();
    // Only a cut table depends on which model ships.
    section.refreshTable = tools ? render : () => {};
  }

  function moveLines(section, decision, at) {
    for (const { view, limits, group } of views) {
      if (group !== section.id || !limits) continue;
      for (const [parameter, key] of Object.entries(limits)) {
        const limit = atLimit(decision, at, key);
        view.signal(parameter, limit === null ? 0 : limit / (key === "memory" ? 1e6 : 1));
      }
      view.runAsync();
    }
  }

  function start(section) {
    const decision = data.groups[section.id];
    const inputs = [...section.querySelectorAll("input[type=range]")];
    const at = {}, begin = {};
    for (const input of inputs) begin[input.dataset.limit] = decision.limits[input.dataset.limit].at;
    for (const key of Object.keys(decision.limits)) at[key] = begin[key] = decision.limits[key].at;
    const reset = section.querySelector("button.reset");
    const update = () => {
      for (const input of inputs) {
        const key = input.dataset.limit;
        input.value = at[key];
        input.setAttribute("aria-valuetext", label(decision, at, key));
        section.querySelector(`output[data-limit="${key}"]`).textContent = label(decision, at, key);
      }
      if (reset) reset.hidden = Object.keys(at).every((key) => at[key] === begin[key]);
      show(section, decision, decide(decision, at));
      section.refreshTable();
      moveLines(section, decision, at);
    };
    for (const input of inputs) {
      input.addEventListener("input", () => { at[input.dataset.limit] = Number(input.value); update(); });
    }
    if (reset) reset.addEventListener("click", () => { Object.assign(at, begin); update(); });
    section.setLimits = (memory, p95) => {
      for (const [key, value] of [["memory", memory], ["p95", p95]]) {
        const stops = decision.limits[key].stops.slice(0, -1);
        if (!stops.length) continue;
        at[key] = stops.reduce((near, stop, i) =>
          Math.abs(Math.log(stop / value)) < Math.abs(Math.log(stops[near] / value)) ? i : near, 0);
      }
      update();
    };
    section.refresh = update;
    setUpTable(section);
    update();
  }

  // ---- Charts ------------------------------------------------------------------------------

  async function draw(holder) {
    const spec = structuredClone(data.specs[holder.dataset.spec]);
    const width = Math.floor(holder.clientWidth);
    spec.width = width;
    spec.params.find((param) => param.name === "room").value = width;
    const limits = spec.usermeta && spec.usermeta.limits;
    const chart = await vegaEmbed(holder, spec, {
      mode: "vega-lite", actions: false, renderer: "svg", ast: true, defaultStyle: false,
      config: data.config, tooltip: { disableDefaultStyle: true },
    });
    const svg = holder.querySelector("svg");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", holder.dataset.name);
    // Parts of an image are no objects of their own; Vega would leave them without names.
    for (const part of svg.querySelectorAll("[role]")) {
      part.removeAttribute("role");
      part.removeAttribute("aria-roledescription");
    }
    const section = holder.closest("section.group");
    holder.drawnWidth = width;
    views.push({ view: chart.view, limits, group: section.id, holder });
    if (holder.classList.contains("map")) {
      chart.view.addEventListener("click", (event) => {
        const box = holder.querySelector("svg").getBoundingClientRect();
        const [left, top] = chart.view.origin();
        section.setLimits(
          chart.view.scale("x").invert(event.clientX - box.left - left) * 1e6,
          chart.view.scale("y").invert(event.clientY - box.top - top));
      });
    }
  }

  async function drawAll() {
    for (const { view } of views.splice(0)) view.finalize();
    for (const holder of document.querySelectorAll(".chart")) await draw(holder);
    for (const section of document.querySelectorAll("section.group")) section.refresh();
    document.documentElement.dataset.ready = "yes";
  }

  for (const section of document.querySelectorAll("section.group")) start(section);
  let waiting;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const changed = [...document.querySelectorAll(".chart")].some(
        (holder) => Math.abs(holder.clientWidth - holder.drawnWidth) > 2);
      if (changed) drawAll();
    }, 150);
  });
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  drawAll();
})();
