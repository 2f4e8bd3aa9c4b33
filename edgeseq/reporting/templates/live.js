// Loads the report again when status.json tells of a newer one. A report whose limits the reader
// has moved stays until the reader asks for the newer one. Texts are inserted through textContent.
(() => {
  "use strict";
  const INTERVAL_MS = 2000, DRAWING_LIMIT_MS = 20000;
  const find = (selector) => document.querySelector(selector);
  const frame = find("iframe"), button = find("button"), list = find("ol");
  let shown = 0, newest = 0;

  function tell(state, text) {
    document.body.dataset.state = state;
    if (find(".text").textContent !== text) find(".text").textContent = text;
  }

  const isMoved = () =>
    shown > 0 && frame.contentDocument?.querySelector(".reset:not([hidden])") != null;

  function keepPosition(top, began) {
    if (frame.contentDocument?.documentElement?.dataset.ready === "yes") {
      frame.contentWindow.scrollTo({ top, behavior: "instant" });
    } else if (Date.now() - began < DRAWING_LIMIT_MS) {
      setTimeout(() => keepPosition(top, began), 50);
    }
  }

  function load() {
    const top = shown ? frame.contentWindow.scrollY : 0;
    if (!shown) find("details").open = false;
    frame.hidden = false;
    frame.onload = () => keepPosition(top, Date.now());
    // A frame's address would add to the history of the browser's back button.
    frame.contentWindow.location.replace(`report.html?${newest}`);
    shown = newest;
    button.hidden = true;
  }

  function showSteps(steps) {
    find("details").hidden = steps.length === 0;
    if (steps.length === list.children.length) return;
    // Before the first report they are all that there is to see.
    if (!newest && !list.children.length) find("details").open = true;
    find("summary").textContent = `${steps.length} step${steps.length === 1 ? "" : "s"} finished`;
    list.replaceChildren(...steps.map((step) => {
      const item = document.createElement("li");
      const note = step.note ? `: ${step.note}` : "";
      item.textContent = `${step.title}, ${step.seconds.toFixed(0)} s${note}`;
      return item;
    }));
  }

  function show(status) {
    newest = status.version;
    showSteps(status.steps);
    find(".files").textContent = status.files.join(", ");
    find(".problem").textContent = status.problem;
    find(".problem").hidden = !status.problem;
    find(".waiting").hidden = newest > 0 || status.is_drawing;
    const time = new Date(status.updated_unix_s * 1000).toLocaleTimeString();
    tell(status.problem ? "problem" : "live",
      status.is_drawing ? (newest ? `Report of ${time}; drawing a newer one` : "Drawing the first report")
        : newest ? `Report of ${time}` : "Waiting for the first result");
    if (newest === shown) return;
    if (isMoved()) button.hidden = false;
    else load();
  }

  async function refresh() {
    try {
      const response = await fetch("status.json");
      if (!response.ok) throw new Error(response.statusText);
      show(await response.json());
    } catch {
      tell("ended", "edgeseq serve has ended; nothing is updated");
    }
    setTimeout(refresh, INTERVAL_MS);
  }

  button.addEventListener("click", load);
  refresh();
})();
