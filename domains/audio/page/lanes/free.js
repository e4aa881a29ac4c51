// What is left free: the complement of the spans in which a control binds. The brush turns over what it starts on.
function bindings(kind) {
  return content(kind) ? spansOf(kind) || [[0, state.length]] : [];
}

const isFree = (kind, second) => !bindings(kind).some(([start, end]) => start <= second && second < end);

// The state with everything from start to end of a lane free, or bound again.
function withFree(kind, start, end, makeFree, base) {
  let spans = base.flatMap(([a, b]) => [[a, Math.min(b, start)], [Math.max(a, end), b]]);
  if (!makeFree) spans.push([start, end]);
  spans = spans.filter(([a, b]) => b - a > 1e-6).sort((a, b) => a[0] - b[0]);
  const joined = [];
  spans.forEach(([a, b]) => {
    const last = joined[joined.length - 1];
    if (last && a <= last[1] + 1e-9) last[1] = Math.max(last[1], b); else joined.push([a, b]);
  });
  const whole = joined.length === 1 && joined[0][0] < 1e-9 && joined[0][1] > state.length - 1e-9;
  return withSpans(kind, whole ? undefined : joined);
}

function brushFree(at, kind) {
  if (!content(kind)) { say('Nothing is asked here: the model decides already.'); return () => {}; }
  const base = bindings(kind), makeFree = !isFree(kind, Math.min(at.second, state.length - 1e-6));
  const paintTo = (to) => {
    const [a, b] = [Math.min(at.second, to.second), Math.max(at.second, to.second)];
    const start = snapped(a, Math.floor), end = Math.max(snapped(b, Math.ceil), later(start, 0.25));
    state = withFree(kind, start, end, makeFree, base);
  };
  paintTo(at);
  return paintTo;
}
