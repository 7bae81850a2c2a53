// Pretty JSON, without reading it as values: numbers stay as they were written.

function pretty(json) {
  const out = [];
  let depth = 0;
  const line = () => "\n" + "  ".repeat(Math.min(depth, 40));
  for (let place = 0; place < json.length; place += 1) {
    const letter = json[place];
    if (letter === '"') {
      let end = place + 1;
      while (end < json.length && json[end] !== '"') end += json[end] === "\\" ? 2 : 1;
      out.push(json.slice(place, end + 1));
      place = end;
    } else if (letter === "{" || letter === "[") {
      const closes = json[place + 1] === "}" || json[place + 1] === "]";
      out.push(letter);
      if (closes) {
        out.push(json[place + 1]);
        place += 1;
      } else {
        depth += 1;
        out.push(line());
      }
    } else if (letter === "}" || letter === "]") {
      depth -= 1;
      out.push(line(), letter);
    } else if (letter === ",") {
      out.push(letter, line());
    } else {
      out.push(letter === ":" ? ": " : letter);
    }
  }
  return out.join("");
}

function bodyOf(record) {
  if (!record.body) return el("p", { class: "quiet" }, "Its body is not in this file.");
  const { json, of_bytes: bytes } = record.body;
  const cut =
    bytes &&
    el(
      "p",
      { class: "quiet" },
      "The first " + counted(json.length, "character") + " of a body of " + counted(bytes, "byte") + ".",
    );
  return [
    el(
      "pre",
      { class: "body", tabindex: "0", "aria-label": "Body of record " + record.seq },
      visible(pretty(json)),
    ),
    cut,
  ];
}
