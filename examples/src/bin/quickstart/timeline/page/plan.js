// The plan as a graph: a column for each depth, and an edge from each step to those that need it.

const NODE = { width: 196, height: 44, across: 52, down: 14, margin: 12 };
// With more steps, those that are alike are one node.
const ALONE = 36;
const MOST_NODES = 400;
const MOST_EDGES = 3000;

// The nodes, and for each step its node. Steps of one depth that call the same and stand alike are one.
function nodesOf(turn) {
  const groups = new Map();
  const together = turn.steps.length > ALONE;
  const ofStep = turn.steps.map((step, place) => {
    const key = together ? JSON.stringify([step.depth, step.action, step.name, step.state]) : place;
    const node = groups.get(key) ?? { depth: step.depth, step, places: [], number: groups.size };
    groups.set(key, node);
    node.places.push(place);
    return node;
  });
  const all = Array.from(groups.values());
  return { nodes: all.slice(0, MOST_NODES), left: all.length - Math.min(all.length, MOST_NODES), ofStep };
}

function edgesOf(turn, ofStep) {
  const edges = new Map();
  for (const [place, step] of turn.steps.entries()) {
    for (const needed of step.after) {
      const [from, to] = [ofStep[needed], ofStep[place]];
      if (from !== to) edges.set(from.number * 1e6 + to.number, { from, to });
    }
  }
  return Array.from(edges.values()).filter((edge) => edge.from.x !== undefined && edge.to.x !== undefined);
}

function layOut(nodes) {
  const columns = new Map();
  for (const node of nodes) {
    const column = columns.get(node.depth) ?? [];
    columns.set(node.depth, column);
    column.push(node);
  }
  const depths = Array.from(columns.keys()).sort((a, b) => a - b);
  const tallest = Math.max(...Array.from(columns.values(), (column) => column.length));
  const row = NODE.height + NODE.down;
  for (const [nth, depth] of depths.entries()) {
    const column = columns.get(depth);
    const offset = ((tallest - column.length) * row) / 2;
    column.forEach((node, place) => {
      node.x = NODE.margin + nth * (NODE.width + NODE.across);
      node.y = NODE.margin + offset + place * row;
    });
  }
  return {
    width: depths.length * (NODE.width + NODE.across) - NODE.across + 2 * NODE.margin,
    height: tallest * row - NODE.down + 2 * NODE.margin,
  };
}

function drawNode(turn, node) {
  const { step, places } = node;
  const many = places.length > 1;
  const name = many ? places.length + " × " + (step.name ?? step.action) : step.id;
  const state = stateOf(step);
  const second = [state, step.is_held && "held", step.class].filter(Boolean).join(" · ");
  const target = many
    ? { turn: turn.number, steps: step.name ?? step.action }
    : { turn: turn.number, step: step.id };
  return svg(
    "a",
    {
      href: link(target),
      class: "node " + step.state,
      transform: "translate(" + node.x + " " + node.y + ")",
    },
    svg("title", {}, visible(name) + ": " + second + (step.name ? ", calls " + visible(step.name) : "")),
    many && svg("rect", { x: 4, y: -4, width: NODE.width, height: NODE.height, rx: 6 }),
    svg("rect", { width: NODE.width, height: NODE.height, rx: 6 }),
    svg("text", { x: 10, y: 18, class: "name" }, shorten(name, 21)),
    svg("text", { x: 10, y: 35, class: "more" }, shorten(second, 28)),
  );
}

function drawEdge({ from, to }) {
  const [x1, y1] = [from.x + NODE.width, from.y + NODE.height / 2];
  const [x2, y2] = [to.x, to.y + NODE.height / 2];
  const bend = Math.max(20, (x2 - x1) / 2);
  return svg("path", { class: "edge", d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}` });
}

function showPlan(turn) {
  byId("plan-section").hidden = !turn || turn.steps.length === 0;
  if (!turn || turn.steps.length === 0) return;
  const { nodes, left, ofStep } = nodesOf(turn);
  const { width, height } = layOut(nodes);
  const edges = edgesOf(turn, ofStep);
  const about = [
    counted(turn.steps.length, "step") +
      " in " +
      counted(turn.rounds.length, "round") +
      ", from left to right.",
  ];
  if (turn.steps.length > ALONE) about.push("Steps that are alike are one node.");
  if (left) about.push(counted(left, "further node") + " are not drawn; all steps are below.");
  if (edges.length > MOST_EDGES) about.push("Only the first " + counted(MOST_EDGES, "edge") + " are drawn.");
  if (turn.dependencies_left_out)
    about.push(counted(turn.dependencies_left_out, "edge") + " are not in this file.");
  byId("plan-about").textContent = about.join(" ");
  const drawing = svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, class: "plan" },
    edges.slice(0, MOST_EDGES).map(drawEdge),
    nodes.map((node) => drawNode(turn, node)),
  );
  byId("plan").replaceChildren(drawing);
}
