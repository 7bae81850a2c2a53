// The list of records, page by page. What a record holds in full is made when it is opened.

const RECORDS_AT_ONCE = 200;

// Whether a record is of the turn, or was written while it ran and is of none.
function belongs(data, turn, record) {
  if (record.turn !== null) return record.turn === turn.number;
  return record.seq >= turn.first && (record.seq <= turn.last || isCutOff(data, turn));
}

function matcher(data, turn, view) {
  const wanted = view.search.toLowerCase();
  // Bodies are long: they are searched without a copy in small letters.
  const inBody = wanted && new RegExp(view.search.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
  return (record) => {
    if (view.kind && record.kind !== view.kind) return false;
    if (turn && view.onlyTurn && !belongs(data, turn, record)) return false;
    if (!wanted) return true;
    const who = data.actors[record.actor]?.name ?? "";
    const short = [
      record.seq,
      record.kind,
      record.step,
      record.about,
      who,
      "epoch " + record.epoch,
      record.hash,
    ]
      .join("\n")
      .toLowerCase();
    return short.includes(wanted) || Boolean(record.body && inBody.test(record.body.json));
  };
}

function recordDetails(data, record) {
  const step =
    record.step !== null &&
    el("a", { href: link({ turn: record.turn, step: record.step }) }, said(record.step));
  return [
    facts([
      ["Time", at(record.time)],
      ["Step", step],
      ["Actor", [whoIs(data, record.actor), " ", el("code", { class: "quiet" }, record.actor)]],
      ["Epoch", String(record.epoch)],
      ["Form", record.kind + ", version " + record.version],
      ["Head hash", el("code", {}, record.hash)],
    ]),
    bodyOf(record),
  ]
    .flat()
    .filter(Boolean);
}

function drawRecord(data, record, before, view) {
  const broken = data.chain.broken;
  const isProven = !broken || record.seq < broken.from;
  const details = el("div", { class: "details", id: "record-" + record.seq + "-details", hidden: true });
  const head = el(
    "button",
    { type: "button", class: "record-head", "aria-expanded": "false", "aria-controls": details.id },
    el("span", { class: "seq" }, String(record.seq)),
    el("span", { class: "clock" }, clock(record.time)),
    el("span", { class: "since quiet" }, before ? "+" + lasting(Math.max(0, record.time - before.time)) : ""),
    badge(tone(record.kind), record.kind),
    el(
      "span",
      { class: "says" },
      record.step !== null && [said(record.step, { class: "id" }), " "],
      said(record.about),
      !isProven && badge("failed", "not proven"),
    ),
    el("span", { class: "who quiet" }, whoIs(data, record.actor)),
  );
  const item = el("li", { class: "record", id: "record-" + record.seq }, head, details);
  item.open = (wanted) => {
    if (wanted && details.childElementCount === 0) details.append(...recordDetails(data, record));
    details.hidden = !wanted;
    head.setAttribute("aria-expanded", String(wanted));
  };
  head.addEventListener("click", () => item.open(details.hidden));
  if (view.record === record.seq) item.open(true);
  return item;
}

// What is said between two records of the list. They may not follow each other in the journal, where some are filtered
// out; when an owner began is told from the journal.
function between(data, record, shownBefore) {
  const lines = [];
  if (!shownBefore || day(shownBefore.time) !== day(record.time))
    lines.push(day(record.time) + (zone === "utc" ? " UTC" : ""));
  if (shownBefore && shownBefore.epoch !== record.epoch) {
    const { first, before } = data.begins.get(record.epoch);
    const silent = before ? first.epoch - before.epoch - 1 : 0;
    lines.push(
      "epoch " +
        record.epoch +
        ": another owner" +
        (before
          ? ", " +
            lasting(Math.max(0, first.time - before.time)) +
            " after the last record of epoch " +
            before.epoch
          : "") +
        (silent > 0 ? "; " + counted(silent, "owner") + " between wrote nothing" : ""),
    );
  }
  return lines.map((line) => el("li", { class: "between" }, line));
}

function showRecords(data, turn, view) {
  const first = data.records.length ? data.records[0].seq : 0;
  const found = data.records.filter(matcher(data, turn, view));
  const at = view.record === undefined ? -1 : found.findIndex((record) => record.seq === view.record);
  if (at >= 0 && !view.paged) view.page = Math.floor(at / RECORDS_AT_ONCE);
  const pages = Math.max(1, Math.ceil(found.length / RECORDS_AT_ONCE));
  view.page = Math.max(0, Math.min(view.page, pages - 1));
  const from = view.page * RECORDS_AT_ONCE;
  const shown = found.slice(from, from + RECORDS_AT_ONCE);
  const items = shown.flatMap((record, nth) => {
    return [
      ...between(data, record, shown[nth - 1]),
      drawRecord(data, record, data.bySeq.get(record.seq - 1), view),
    ];
  });
  const list = byId("records");
  list.replaceChildren(...items);
  byId("records-count").textContent =
    found.length === 0
      ? "No record matches."
      : pages === 1
        ? counted(found.length, "record")
        : from + 1 + "–" + (from + shown.length) + " of " + counted(found.length, "record");
  byId("earlier").hidden = byId("later").hidden = pages === 1;
  byId("earlier").disabled = view.page === 0;
  byId("later").disabled = view.page === pages - 1;
  if (view.record !== undefined && view.record < first)
    byId("records-count").textContent = "Record " + view.record + " is not in this file.";
  list.querySelector(".record-head")?.setAttribute("tabindex", "0");
}

function listKinds(data) {
  const kinds = Array.from(new Set(data.records.map((record) => record.kind))).sort();
  byId("kind").replaceChildren(
    el("option", { value: "" }, "any"),
    ...kinds.map((kind) => el("option", { value: kind }, visible(kind))),
  );
}
