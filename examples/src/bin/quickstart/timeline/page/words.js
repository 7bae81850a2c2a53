// The words for what the data names.

const STEP = {
  pending: "not begun",
  asking: "waits for an approval",
  waiting: "waits",
  approved: "approved",
  running: "running",
  paused: "waits for its retry",
  probing: "its target is asked",
  in_doubt: "in doubt",
  succeeded: "done",
  failed: "failed",
  stuck: "can't be undone",
  undone: "undone",
};

const TURN = {
  running: "not ended",
  answered: "answered",
  failed: "failed",
  cancelled: "cancelled",
  expired: "expired",
  abandoned: "abandoned",
  purged: "purged",
  ended: "ended",
};

const SPAN = {
  attempt: "attempt",
  unrecorded: "attempt",
  approval: "wait for an approval",
  signal: "wait for a signal",
  timer: "timer",
  pause: "pause before the retry",
  probe: "the target is asked",
  in_doubt: "in doubt",
  stuck: "wait for a person",
};

const SPAN_END = {
  open: "no record of its end",
  done: "done",
  failed: "failed: nothing happened",
  unknown: "what happened is not known",
  interrupted: "interrupted: its process was gone",
};

// The colour of a kind of record.
function tone(kind) {
  if (/^(step\.failed|plan\.failed|turn\.expired|mail\.refused)$/.test(kind)) return "failed";
  if (/in_doubt|^probe\.|^undo\.parked$/.test(kind)) return "in_doubt";
  if (/^attempt\.failed$/.test(kind)) return "paused";
  if (/^wait\.|^signal\.|^step\.resolved$/.test(kind)) return "asking";
  if (/succeeded$/.test(kind)) return "succeeded";
  if (/^step\./.test(kind)) return "running";
  return "pending";
}

// Whether the rest of a turn does not open, so that nobody knows how it stands.
function isCutOff(data, turn) {
  return turn.ended === null && data.chain.unopened !== null;
}

function turnTone(data, turn) {
  if (isCutOff(data, turn)) return "pending";
  if (turn.state === "answered") return "succeeded";
  if (turn.state !== "running") return "failed";
  const states = turn.steps.map((step) => step.state);
  return ["in_doubt", "stuck", "asking"].find((state) => states.includes(state)) ?? "running";
}

function turnState(data, turn) {
  if (isCutOff(data, turn)) return "known to record " + turn.last;
  if (turn.state !== "running") return TURN[turn.state] ?? turn.state;
  const tone = turnTone(data, turn);
  return tone === "running" ? TURN.running : STEP[tone];
}

function stateOf(step) {
  const word = STEP[step.state] ?? step.state;
  return step.state === "waiting"
    ? word + " for " + (step.action === "signal" ? "a signal" : "its time")
    : word;
}

// When a turn ended; one that has not lasts to the moment at which the journal was read.
function endOfTurn(data, turn) {
  return turn.ended ?? (isCutOff(data, turn) ? turn.updated : Math.max(turn.updated, data.made));
}

function badge(tone, text) {
  return el("span", { class: "badge " + tone }, text);
}

function whoIs(data, pseudonym) {
  const who = data.actors[pseudonym] ?? { kind: "unknown", name: pseudonym.slice(0, 8) };
  return who.kind === "named" ? said(who.name, { class: "named" }) : el("i", {}, who.name);
}
