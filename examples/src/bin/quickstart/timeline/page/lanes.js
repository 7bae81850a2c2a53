// A lane for each step: what it did and waited for, in time.

const LANES_AT_ONCE = 60;

function instantsOf(data, turn) {
  const instants = [turn.started, endOfTurn(data, turn)];
  for (const owner of turn.owners) instants.push(owner.from, owner.to);
  for (const step of turn.steps) {
    for (const span of step.spans) instants.push(span.from, span.to ?? span.from);
  }
  return instants;
}

// Every step's records that stand at neither end of a span: the answers of probes, decisions of operators, and kinds
// that this page knows nothing of.
function marksOf(data, turn) {
  const marks = new Map();
  for (const record of data.records) {
    if (record.turn !== turn.number || record.step === null) continue;
    if (!marks.has(record.step)) marks.set(record.step, []);
    marks.get(record.step).push(record);
  }
  for (const step of turn.steps) {
    const ends = new Set(step.spans.flatMap((span) => [span.first, span.last]));
    marks.set(
      step.id,
      (marks.get(step.id) ?? []).filter((record) => !ends.has(record.seq)),
    );
  }
  return marks;
}

function place(node, from, to) {
  node.style.left = (100 * from).toFixed(3) + "%";
  if (to !== undefined) node.style.width = (100 * Math.max(0, to - from)).toFixed(3) + "%";
  return node;
}

function drawSpan(data, turn, span, scale) {
  const until = span.to ?? endOfTurn(data, turn);
  const about =
    SPAN[span.kind] +
    (span.attempt ? " " + span.attempt : "") +
    ", " +
    lasting(Math.max(0, until - span.from)) +
    ": " +
    SPAN_END[span.end];
  return place(
    el("span", { class: "span " + span.kind + " " + span.end, title: about }),
    scale.of(span.from),
    scale.of(until),
  );
}

function drawLane(data, turn, step, scale, marks, view) {
  const id = "lane-" + turn.steps.indexOf(step);
  const details = el("div", { class: "details", id: id + "-details", hidden: true });
  const head = el(
    "button",
    { type: "button", class: "lane-head", "aria-expanded": "false", "aria-controls": id + "-details" },
    el("span", { class: "line" }, said(step.id, { class: "id" }), badge(step.state, stateOf(step))),
    el(
      "span",
      { class: "line quiet" },
      said(step.name ?? step.action),
      el(
        "span",
        {},
        [step.class, step.attempts > 1 && counted(step.attempts, "attempt")].filter(Boolean).join(" · "),
      ),
    ),
  );
  const open = (wanted) => {
    if (wanted && details.childElementCount === 0) details.append(...stepDetails(data, turn, step));
    details.hidden = !wanted;
    head.setAttribute("aria-expanded", String(wanted));
  };
  head.addEventListener("click", () => open(details.hidden));
  const track = el(
    "div",
    { class: "track", "aria-hidden": "true" },
    step.spans.map((span) => drawSpan(data, turn, span, scale)),
    (marks.get(step.id) ?? []).map((record) =>
      place(
        el("span", { class: "mark " + tone(record.kind), title: record.kind + " " + visible(record.about) }),
        scale.of(record.time),
      ),
    ),
  );
  const lane = el("li", { class: "lane", id }, head, track, details);
  lane.open = open;
  if (view.step === step.id) open(true);
  return lane;
}

function matchesStep(turn, step, filter) {
  const text = [
    step.id,
    step.name,
    step.action,
    step.class,
    step.state,
    stateOf(step),
    step.is_held && "held",
  ]
    .filter(Boolean)
    .join("\n");
  return text.toLowerCase().includes(filter.toLowerCase());
}

function drawAxis(turn, scale) {
  const takeovers = turn.owners.slice(1);
  const lines = takeovers.map((owner) => place(el("span", { class: "takeover" }), scale.of(owner.from)));
  const folds = scale.folds.map((fold) => place(el("span", { class: "fold" }), fold.from, fold.to));
  const ticks = scale.ticks.map((tick) =>
    place(el("span", { class: "tick" + (tick.x > 0.9 ? " last" : "") }, "+" + lasting(tick.after)), tick.x),
  );
  const names = takeovers.map((owner) =>
    place(
      el(
        "a",
        {
          class: "takeover-name",
          tabindex: "-1",
          href: link({ turn: turn.number, record: owner.first }),
          title: "Another owner wrote from here on, under epoch " + owner.epoch,
        },
        String(owner.epoch),
      ),
      scale.of(owner.from),
    ),
  );
  return {
    behind: el("div", { class: "behind", "aria-hidden": "true" }, folds, lines),
    axis: el(
      "div",
      { class: "axis", "aria-hidden": "true" },
      el("div", { class: "ticks" }, ticks),
      takeovers.length > 0 && el("div", { class: "epochs" }, names),
    ),
  };
}

function showLegend(turn) {
  const kinds = new Set(
    turn.steps.flatMap((step) =>
      step.spans.map((span) => (span.kind === "attempt" ? "attempt " + span.end : span.kind)),
    ),
  );
  const names = {
    "attempt done": "attempt",
    "attempt open": "attempt without an end",
    "attempt failed": "failed attempt",
    "attempt unknown": "attempt, end unknown",
    "attempt interrupted": "interrupted attempt",
    unrecorded: "pure: ran within",
    approval: "waits for an approval",
    signal: "waits for a signal",
    timer: "timer",
    pause: "pause",
    probe: "target asked",
    in_doubt: "in doubt",
    stuck: "waits for a person: can't be undone",
  };
  const items = Object.entries(names)
    .filter(([kind]) => kinds.has(kind))
    .map(([kind, name]) => el("span", { class: "item" }, el("span", { class: "span sample " + kind }), name));
  if (turn.owners.length > 1)
    items.push(
      el("span", { class: "item" }, el("span", { class: "sample takeover" }), "another owner, and its epoch"),
    );
  byId("legend").replaceChildren(...items);
}

function showLanes(data, turn, view) {
  byId("lanes-section").hidden = !turn || turn.steps.length === 0;
  if (!turn || turn.steps.length === 0) return;
  const scale = scaleOf(instantsOf(data, turn), view.folded);
  const marks = marksOf(data, turn);
  const found = turn.steps.filter((step) => matchesStep(turn, step, view.steps));
  const upTo = Math.max(view.lanesShown, found.findIndex((step) => step.id === view.step) + 1);
  const { axis, behind } = drawAxis(turn, scale);
  const list = el(
    "ol",
    { class: "lanes", "aria-label": "Steps" },
    found.slice(0, upTo).map((step) => drawLane(data, turn, step, scale, marks, view)),
  );
  byId("lanes").replaceChildren(axis, el("div", { class: "field" }, behind, list));
  showLegend(turn);
  byId("lanes-count").textContent =
    found.length === turn.steps.length ? "" : found.length + " of " + counted(turn.steps.length, "step");
  const more = byId("lanes-more");
  more.hidden = found.length <= upTo;
  more.textContent = "Show " + counted(Math.min(LANES_AT_ONCE, found.length - upTo), "further step");
  rove(list, ".lane-head")();
}
