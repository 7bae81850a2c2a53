// What is shown follows from the address's fragment and from the fields of the page.

const data = JSON.parse(byId("data").textContent);
data.bySeq = new Map(data.records.map((record) => [record.seq, record]));
// The first record of each epoch, and the one before it.
data.begins = new Map();
for (const [place, record] of data.records.entries()) {
  if (!data.begins.has(record.epoch))
    data.begins.set(record.epoch, { first: record, before: data.records[place - 1] });
}
const latest = data.turns.length ? data.turns[data.turns.length - 1].number : undefined;
const view = {
  turn: latest,
  record: undefined,
  step: undefined,
  steps: "",
  search: "",
  kind: "",
  onlyTurn: true,
  folded: true,
  page: 0,
  paged: false,
  turnsShown: TURNS_AT_ONCE,
  lanesShown: LANES_AT_ONCE,
};

function turnShown() {
  return data.turns.find((turn) => turn.number === view.turn);
}

function showAll() {
  const turn = turnShown();
  showHead(data);
  showNotices(data);
  showTurns(data, view);
  showTurn(data, turn);
  showPlan(turn);
  showLanes(data, turn, view);
  showRecords(data, turn, view);
}

// Reads `#turn=2&record=17`, `#turn=2&step=publish`, `#turn=2&steps=open`, `#search=text`.
function follow() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const number = (name) => (/^\d+$/.test(asked.get(name) ?? "") ? Number(asked.get(name)) : undefined);
  view.record = number("record");
  const record = data.bySeq.get(view.record);
  const turn = number("turn") ?? record?.turn ?? view.turn;
  if (turn !== view.turn) view.lanesShown = LANES_AT_ONCE;
  view.turn = data.turns.some((known) => known.number === turn) ? turn : latest;
  view.step = asked.get("step") ?? undefined;
  if (asked.has("steps") || view.step !== undefined) view.steps = asked.get("steps") ?? "";
  if (asked.has("search")) view.search = asked.get("search");
  view.paged = false;
  if (view.record === undefined) view.page = 0;
  const isHidden = record && !matcher(data, turnShown(), view)(record);
  if (isHidden) Object.assign(view, { search: "", kind: "", onlyTurn: false });
  byId("steps-filter").value = view.steps;
  byId("search").value = view.search;
  byId("kind").value = view.kind;
  byId("only-turn").checked = view.onlyTurn;
  showAll();
  const target = record
    ? byId("record-" + record.seq)?.querySelector(".record-head")
    : view.step !== undefined
      ? Array.from(document.querySelectorAll(".lane-head")).find(
          (head) => head.getAttribute("aria-expanded") === "true",
        )
      : asked.has("steps")
        ? byId("lanes-heading")
        : undefined;
  target?.scrollIntoView({ block: "center" });
  if (target?.matches("button")) target.focus({ preventScroll: true });
}

function later(work) {
  let waits;
  return () => {
    clearTimeout(waits);
    waits = setTimeout(work, 150);
  };
}

function search() {
  Object.assign(view, {
    record: undefined,
    page: 0,
    search: byId("search").value,
    kind: byId("kind").value,
    onlyTurn: byId("only-turn").checked,
  });
  showRecords(data, turnShown(), view);
}

function turnPage(by) {
  Object.assign(view, { page: view.page + by, paged: true });
  showRecords(data, turnShown(), view);
  byId("records-heading").scrollIntoView();
}

function step(by) {
  const heads = Array.from(document.querySelectorAll(".record-head"));
  const now = heads.indexOf(document.activeElement?.closest(".record")?.querySelector(".record-head"));
  const next = heads[now < 0 ? (by > 0 ? 0 : heads.length - 1) : now + by];
  next?.focus();
}

function otherTurn(by) {
  const place = data.turns.findIndex((turn) => turn.number === view.turn) + by;
  if (data.turns[place]) location.hash = link({ turn: data.turns[place].number });
}

const KEYS = {
  "/": () => byId("search").focus(),
  "?": () => byId("help").showModal(),
  j: () => step(1),
  k: () => step(-1),
  n: () => otherTurn(1),
  p: () => otherTurn(-1),
};

function pressed(event) {
  const field = event.target.closest?.("input, select, textarea");
  if (event.key === "Escape" && field) return field.blur();
  const known = Object.hasOwn(KEYS, event.key) && !event.ctrlKey && !event.altKey && !event.metaKey;
  if (field || !known || byId("help").open || !byId("single-keys").checked) return;
  event.preventDefault();
  KEYS[event.key]();
}

byId("zone").addEventListener("change", () => {
  zone = byId("zone").value;
  showAll();
});
byId("steps-filter").addEventListener(
  "input",
  later(() => {
    Object.assign(view, { steps: byId("steps-filter").value, step: undefined, lanesShown: LANES_AT_ONCE });
    showLanes(data, turnShown(), view);
  }),
);
byId("folded").addEventListener("change", () => {
  view.folded = byId("folded").checked;
  showLanes(data, turnShown(), view);
});
byId("search").addEventListener("input", later(search));
byId("kind").addEventListener("change", search);
byId("only-turn").addEventListener("change", search);
byId("earlier").addEventListener("click", () => turnPage(-1));
byId("later").addEventListener("click", () => turnPage(1));
byId("turns-more").addEventListener("click", () => {
  view.turnsShown += TURNS_AT_ONCE;
  showTurns(data, view);
});
byId("lanes-more").addEventListener("click", () => {
  view.lanesShown += LANES_AT_ONCE;
  showLanes(data, turnShown(), view);
});
byId("help-open").addEventListener("click", () => byId("help").showModal());
byId("help-close").addEventListener("click", () => byId("help").close());
document.addEventListener("keydown", pressed);
window.addEventListener("hashchange", follow);
rove(byId("records"), ".record-head");
rove(byId("turns"), ".turn");
listKinds(data);
follow();
document.documentElement.setAttribute("data-ready", "");
