// What is known of one step, under its lane.

// How a span ended, and who ended it when that was a person.
function endOf(data, span) {
  const record = data.bySeq.get(span.last);
  const by = record && data.actors[record.actor]?.kind !== "runtime" && [" by ", whoIs(data, record.actor)];
  if (span.end === "done" && span.note !== null) return [said(span.note), by];
  return [SPAN_END[span.end], span.note !== null && [": ", said(span.note)], by];
}

function stepDetails(data, turn, step) {
  const record = (seq) =>
    seq !== null && el("a", { href: link({ turn: turn.number, record: seq }) }, "record " + seq);
  const names = (places) =>
    places.map((place, nth) => [
      nth > 0 && ", ",
      el("a", { href: link({ turn: turn.number, step: turn.steps[place].id }) }, said(turn.steps[place].id)),
    ]);
  const untilWhat =
    {
      in_doubt: "May happen until",
      paused: "Tried again at",
      probing: "Asked at",
      running: "Attempt ends at",
    }[step.state] ?? "Ends at";
  const rows = step.spans.map((span) => {
    const until = span.to ?? endOfTurn(data, turn);
    return el(
      "tr",
      {},
      el("td", {}, SPAN[span.kind] + (span.attempt ? " " + span.attempt : "")),
      el("td", {}, span.kind === "unrecorded" ? ["within ", clock(span.from)] : clock(span.from)),
      el("td", {}, span.to === null ? "…" : clock(span.to)),
      el("td", {}, lasting(Math.max(0, until - span.from))),
      el("td", {}, endOf(data, span)),
      el("td", {}, [record(span.first), " ", span.last !== span.first && record(span.last)]),
    );
  });
  const head = ["What", "From", "To", "Length", "End", "Records"].map((name) =>
    el("th", { scope: "col" }, name),
  );
  return [
    facts([
      ["Does", step.name === null ? step.action : [step.action + " ", said(step.name)]],
      ["Effect class", step.class],
      ["Key", step.key !== null && el("code", {}, visible(step.key))],
      ["Undoes", step.undoes !== null && names([step.undoes])],
      ["After", step.after.length > 0 && step.undoes === null && names(step.after.slice(0, 40))],
      ["And", step.after.length > 40 && counted(step.after.length - 40, "further step")],
      ["Locks", step.locks.length > 0 && step.locks.map((lock) => [said(lock), " "])],
      ["Held back", step.is_held && "until all else has succeeded"],
      ["Asks first", step.asks_first && "each call waits for an approval"],
      [
        "Interrupted",
        step.interruptions > 0 && counted(step.interruptions, "attempt") + " ended with the process",
      ],
      [untilWhat, step.until !== null && step.state !== "succeeded" && at(step.until)],
      ["Code", step.code],
      ["What was said", step.reason !== null && said(step.reason)],
    ]),
    rows.length > 0 &&
      el(
        "div",
        { class: "scroll" },
        el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)),
      ),
    rows.length === 0 && el("p", { class: "quiet" }, "No record tells of it yet."),
    step.spans_left_out > 0 &&
      el("p", { class: "quiet" }, counted(step.spans_left_out, "earlier span") + " were left out."),
  ].filter(Boolean);
}
