// The list of turns, and what a turn is about.

const TURNS_AT_ONCE = 60;

function showTurns(data, view) {
  const latest = data.turns.slice().reverse();
  const shown = latest.slice(
    0,
    Math.max(view.turnsShown, latest.findIndex((turn) => turn.number === view.turn) + 1),
  );
  byId("turns").replaceChildren(
    ...shown.map((turn) => {
      const length = endOfTurn(data, turn) - turn.started;
      return el(
        "li",
        {},
        el(
          "a",
          {
            class: "turn",
            href: link({ turn: turn.number }),
            "aria-current": turn.number === view.turn && "true",
          },
          el(
            "span",
            { class: "line" },
            el("b", {}, "Turn " + turn.number),
            badge(turnTone(data, turn), turnState(data, turn)),
          ),
          el(
            "span",
            { class: "line quiet" },
            el("span", {}, stamp(turn.started).replace(/\.\d{3}/, "")),
            el(
              "span",
              {},
              lasting(Math.max(0, length)) + (turn.ended === null && !isCutOff(data, turn) ? " so far" : ""),
            ),
          ),
          el("span", { class: "preview" }, said(turn.input)),
        ),
      );
    }),
  );
  const more = byId("turns-more");
  more.hidden = shown.length === latest.length;
  more.textContent = "Show " + counted(Math.min(TURNS_AT_ONCE, latest.length - shown.length), "older turn");
  byId("others").replaceChildren(
    ...(data.others.length
      ? [
          el(
            "details",
            {},
            el("summary", {}, "Other sessions"),
            el(
              "ul",
              {},
              data.others.map((name) => el("li", {}, said(name))),
            ),
            el("p", { class: "quiet" }, "Each has a page of its own: ", el("code", {}, "--html FILE FOLDER")),
          ),
        ]
      : []),
  );
}

// Steps by their ids, in this order: the first ones, and how many more there are.
function listed(turn, ids) {
  if (ids.length === 0) return "nothing";
  const first = ids
    .slice(0, 20)
    .map((id, nth) => [nth > 0 && ", ", el("a", { href: link({ turn: turn.number, step: id }) }, said(id))]);
  return [first, ids.length > 20 && " and " + (ids.length - 20).toLocaleString("en") + " more"];
}

function showTurn(data, turn) {
  byId("turn-heading").textContent = turn
    ? "Turn " + turn.number
    : data.chain.unopened
      ? "No turn can be read"
      : "No turn yet";
  if (!turn) return byId("turn").replaceChildren();
  const takeovers = turn.owners.slice(1);
  const record = (seq, text) => el("a", { href: link({ turn: turn.number, record: seq }) }, text);
  const counts = {};
  for (const step of turn.steps) counts[step.state] = (counts[step.state] ?? 0) + 1;
  const ended =
    turn.ended === null
      ? isCutOff(data, turn)
        ? "unknown"
        : "not yet"
      : [at(turn.ended), " (after " + lasting(Math.max(0, turn.ended - turn.started)) + ")"];
  const begins = takeovers.map((owner, nth) => [
    nth > 0 && ", ",
    "epoch " + owner.epoch + " ",
    record(owner.first, "at record " + owner.first),
  ]);
  byId("turn").replaceChildren(
    el(
      "p",
      { class: "end" },
      badge(turnTone(data, turn), turnState(data, turn)),
      " ",
      turn.end !== null && said(turn.end),
    ),
    facts([
      ["Input", [said(turn.input), " ", record(turn.first, "whole input")]],
      ["Asked by", whoIs(data, turn.actor)],
      ["Planner", turn.planner === null ? "none: the plan came with the input" : said(turn.planner)],
      ["Posted", at(turn.posted)],
      ["Started", at(turn.started)],
      ["Deadline", turn.deadline === null ? "none" : at(turn.deadline)],
      ["Ended", ended],
      [
        "Rounds",
        turn.rounds.map((round, nth) => [nth > 0 && ", ", record(round.seq, counted(round.steps, "step"))]),
      ],
      [
        "Steps",
        Object.entries(counts).map(([state, count], nth) => [
          nth > 0 && ", ",
          count.toLocaleString("en") + " " + (STEP[state] ?? state),
        ]),
      ],
      ["Undone", turn.aftermath !== null && listed(turn, turn.aftermath.undone)],
      ["Not undone", turn.aftermath !== null && listed(turn, turn.aftermath.left)],
      ["Taken over", takeovers.length ? [counted(takeovers.length, "time") + ": ", begins] : "never"],
      ["Id", el("code", {}, turn.id)],
    ]),
  );
}
