// The head of the page, and what one must know first.

function showHead(data) {
  const { session, chain } = data;
  byId("name").textContent = visible(session.name ?? session.id);
  document.title = visible(session.name ?? session.id) + " · Agent Shell timeline";
  const facts = [
    session.status,
    counted(chain.records, "record"),
    counted(session.epoch, "owner") + " so far",
  ];
  if (session.waiting_mail) facts.push(counted(session.waiting_mail, "piece") + " of mail waiting");
  if (session.wake_at !== null) facts.push("wakes at " + stamp(session.wake_at));
  byId("status").textContent = facts.join(" · ");
  const badge = byId("chain");
  badge.classList.toggle("good", !chain.broken);
  badge.classList.toggle("bad", Boolean(chain.broken));
  badge.textContent = chain.broken
    ? "Chain broken at record " + chain.broken.from
    : "Chain verified, " + counted(chain.records, "record");
  byId("footer").replaceChildren(
    el(
      "p",
      {},
      "Read at ",
      at(data.made),
      ". The chain was checked then, by the program that wrote this file; the file proves nothing by itself. ",
      "Keep the head elsewhere to find later what was cut: record ",
      String(chain.head[0]),
      ", ",
      el("code", {}, chain.head[1]),
      ".",
    ),
    el(
      "p",
      {},
      "Session ",
      el("code", {}, session.id),
      ", tenant ",
      said(session.tenant),
      ", data of ",
      said(session.subject ?? "unknown"),
      ", registered ",
      at(session.created),
      ".",
    ),
  );
}

function showNotices(data) {
  const { chain, left_out: left } = data;
  const notices = [];
  if (chain.broken) {
    notices.push([
      "bad",
      "The chain is broken at record " +
        chain.broken.from +
        ": " +
        chain.broken.problem +
        ". From there on nothing is proven, and the bodies are not opened.",
    ]);
  }
  const purge = data.bySeq.get(chain.purged);
  if (purge) {
    notices.push([
      "",
      [
        "The subject of this session was erased at ",
        at(purge.time),
        " by ",
        whoIs(data, purge.actor),
        ": what the records said is gone for good, and the chain verifies as before. Acts that were open then stand in ",
        el("a", { href: link({ record: purge.seq }) }, "record " + purge.seq),
        ".",
      ],
    ]);
  }
  if (chain.unopened && !chain.broken && !purge) {
    notices.push([
      "bad",
      "From record " + chain.unopened.from + " on the bodies don't open: " + chain.unopened.problem + ".",
    ]);
  }
  if (left.records) {
    notices.push([
      "",
      counted(left.records, "earlier record") +
        " and " +
        counted(left.turns, "earlier turn") +
        " are not in this file: it holds the latest " +
        counted(data.records.length, "record") +
        ".",
    ]);
  }
  if (left.bodies)
    notices.push([
      "",
      "The bodies of the oldest " +
        counted(left.bodies, "record") +
        " of this file were left out, for their size.",
    ]);
  if (left.cut)
    notices.push([
      "",
      counted(left.cut, "body").replace("bodys", "bodies") +
        " of this file: only the beginning is shown, for the size.",
    ]);
  for (const turn of data.turns.filter((turn) => turn.ended === null && !isCutOff(data, turn))) {
    for (const step of turn.steps) {
      const need = needOf(turn, step);
      if (need) notices.push(["needs", need]);
    }
  }
  const shown = notices.slice(0, 12).map(([tone, text]) => el("p", { class: "notice " + tone }, text));
  const more =
    notices.length > 12 && el("p", { class: "notice" }, counted(notices.length - 12, "further notice") + ".");
  byId("notices").hidden = notices.length === 0;
  byId("notices").replaceChildren(...[shown, more].flat().filter(Boolean));
}

// What a person must say, and what helps to say it.
function needOf(turn, step) {
  const name = el("a", { href: link({ turn: turn.number, step: step.id }) }, said(step.id));
  if (step.state === "asking") {
    return [
      el("strong", {}, "Waits for an approval: "),
      name,
      step.name && [" calls ", said(step.name)],
      ". ",
      step.until !== null && ["It expires at ", at(step.until), ". "],
      "What is to be approved: ",
      el(
        "a",
        { href: link({ turn: turn.number, record: step.spans[step.spans.length - 1].first }) },
        "record " + step.spans[step.spans.length - 1].first,
      ),
      ".",
    ];
  }
  if (step.state === "stuck") {
    return [
      el("strong", {}, "Can't be undone: "),
      name,
      step.name && [" called ", said(step.name)],
      " (",
      said(step.reason ?? ""),
      "). A person lets it be tried again, says that it is undone by hand, or leaves it as it is.",
    ];
  }
  if (step.state !== "in_doubt") return undefined;
  return [
    el("strong", {}, "In doubt: "),
    name,
    step.name && [" called ", said(step.name)],
    ", and nobody knows whether it happened (",
    said(step.reason ?? ""),
    "). ",
    step.key && ["Ask the target for the key ", el("code", {}, visible(step.key)), ". "],
    step.until !== null && [
      "Before ",
      at(step.until),
      " it may still happen, and can't be called not applied.",
    ],
  ];
}
