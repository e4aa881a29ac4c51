// The curve of loudness: a click puts a break point, a point is dragged, and a stroke is drawn freely and simplified.
const TOLERANCE = 0.5;  // dB that a simplified stroke may be off

const setDynamics = (points) => { state = awake('dynamics', withPart('dynamics', points.length ? points : undefined)); };

function levelAt(points, second) {
  if (!points.length) return null;
  let n = 0;
  while (n < points.length && points[n][0] < second) n += 1;
  if (n === 0) return points[0][1];
  if (n === points.length) return points[n - 1][1];
  const [a, b] = [points[n - 1], points[n]];
  return a[1] + (b[1] - a[1]) * (second - a[0]) / (b[0] - a[0]);
}

// As few of the points as stay within the tolerance of all (Ramer, Douglas and Peucker, measured along dB).
function simplified(points) {
  if (points.length < 3) return points;
  const [first, last] = [points[0], points[points.length - 1]];
  let worst = 0, where = 0;
  points.forEach((point, n) => {
    const off = Math.abs(point[1] - levelAt([first, last], point[0]));
    if (n && n < points.length - 1 && off > worst) { worst = off; where = n; }
  });
  if (worst <= TOLERANCE) return [first, last];
  return [...simplified(points.slice(0, where + 1)).slice(0, -1), ...simplified(points.slice(where))];
}

const tidy = (second) => Math.min(Math.round(1e4 * second) / 1e4, state.length);
const pointNear = (at) => (state.dynamics || []).findIndex(([second, level]) => Math.hypot(at.xOf(second) - at.x, at.yOf(level) - at.y) < 10);

function drawDynamics(at) {
  const points = state.dynamics || [], hit = pointNear(at);
  if (hit >= 0) {
    const others = points.filter((_, n) => n !== hit);
    const least = hit ? points[hit - 1][0] + 1e-3 : 0, most = hit + 1 < points.length ? points[hit + 1][0] - 1e-3 : state.length;
    return (to) => {
      const second = tidy(Math.min(Math.max(Math.abs(to.x - at.x) < 3 ? points[hit][0] : to.second, least), most));
      setDynamics([...others, [second, to.level]].sort((a, b) => a[0] - b[0]));
    };
  }
  const drawn = new Map([[Math.round(at.x), at.level]]);
  let last = at;
  const put = () => {
    const columns = [...drawn.keys()].sort((a, b) => a - b);
    const stroke = columns.map((x) => [tidy(at.secondOf(x)), drawn.get(x)]).filter(([second], n, all) => !n || second > all[n - 1][0]);
    if (stroke.length === 1) { setDynamics([...points.filter(([second]) => second !== stroke[0][0]), stroke[0]].sort((a, b) => a[0] - b[0])); return; }
    const [start, end] = [stroke[0][0], stroke[stroke.length - 1][0]], edge = at.secondOf(at.x + 2) - at.secondOf(at.x);
    const before = points.filter(([second]) => second < start), after = points.filter(([second]) => second > end);
    // What lies beside the stroke keeps its shape.
    if (before.length && after.length + before.length < points.length + 1 && start - edge > before[before.length - 1][0]) before.push([tidy(start - edge), Math.round(10 * levelAt(points, start - edge)) / 10]);
    if (after.length && end + edge < after[0][0]) after.unshift([tidy(end + edge), Math.round(10 * levelAt(points, end + edge)) / 10]);
    setDynamics([...before, ...simplified(stroke), ...after].filter(([second], n, all) => !n || second > all[n - 1][0]));
  };
  put();
  return (to) => {
    const [a, b] = [Math.round(last.x), Math.round(to.x)], steps = Math.max(Math.abs(b - a), 1);
    for (let n = 1; n <= steps; n += 1) {
      const x = Math.round(a + (b - a) * n / steps);
      if (x >= GUTTER) drawn.set(x, Math.round(10 * (last.level + (to.level - last.level) * n / steps)) / 10);
    }
    last = to;
    put();
  };
}

function eraseDynamics(at) {
  const wipe = (to) => {
    const near = (state.dynamics || []).filter(([second]) => Math.abs(to.xOf(second) - to.x) > 8);
    if (state.dynamics && near.length < state.dynamics.length) setDynamics(near);
  };
  wipe(at);
  return wipe;
}
