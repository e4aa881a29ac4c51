// The beat grid, as domains/audio/controls/beats.py has it: positions in quarter notes, times in seconds.
// Without a grid there are two quarter notes a second, so that there is something to snap to.
const FREE_GRID = { start: 0, tempos: [{ quarter: 0, qpm: 120 }], metres: [{ bar: 0, metre: '4/4' }] };
const gridOf = () => (state && state.grid) || FREE_GRID;

function metreOf(name) {
  const [count, unit] = name.split('/').map(Number);
  const compound = unit >= 8 && count > 3 && count % 3 === 0;
  const quarters = 4 * count / unit, beat = (compound ? 3 : 1) * 4 / unit;
  return { name, quarters, beat, beats: Math.round(quarters / beat) };
}

function segments(grid) {
  let second = grid.start;
  return grid.tempos.map((tempo, n) => {
    if (n) second += (tempo.quarter - grid.tempos[n - 1].quarter) * 60 / grid.tempos[n - 1].qpm;
    return { quarter: tempo.quarter, second, qpm: tempo.qpm };
  });
}

function secondsAt(quarter, grid = gridOf()) {
  const parts = segments(grid);
  let n = parts.length - 1;
  while (n > 0 && parts[n].quarter > quarter) n -= 1;
  return parts[n].second + (quarter - parts[n].quarter) * 60 / parts[n].qpm;
}

function quarterAt(second, grid = gridOf()) {
  const parts = segments(grid);
  let n = parts.length - 1;
  while (n > 0 && parts[n].second > second) n -= 1;
  return parts[n].quarter + (second - parts[n].second) * parts[n].qpm / 60;
}

// Every bar that begins before the end: {quarter, metre}.
function bars(grid = gridOf()) {
  const found = [];
  let quarter = 0;
  for (let bar = 0; found.length < 4000 && secondsAt(quarter, grid) < state.length - 1e-9; bar += 1) {
    let metre = grid.metres[0];
    grid.metres.forEach((each) => { if (each.bar <= bar) metre = each; });
    found.push({ quarter, metre: metreOf(metre.metre) });
    quarter += found[found.length - 1].metre.quarters;
  }
  return found;
}

const inClip = (second) => Math.min(Math.max(second, 0), state.length);
// The nearest, the last or the next place of a grid of `every` quarter notes: a sixteenth when nothing is said.
const snapped = (second, how = Math.round, every = 0.25) =>
  inClip(secondsAt(how(quarterAt(second) / every + (how === Math.floor ? 1e-6 : how === Math.ceil ? -1e-6 : 0)) * every));
const later = (second, quarters) => inClip(secondsAt(quarterAt(second) + quarters));
const beatOf = () => metreOf(gridOf().metres[0].metre).beat;
const bpmOf = () => gridOf().tempos[0].qpm / beatOf();
// As in "bar 2, beat 3.25".
function placeInWords(second) {
  const quarter = quarterAt(second) + 1e-6;
  const whole = bars();
  let n = 0;
  while (n + 1 < whole.length && whole[n + 1].quarter <= quarter) n += 1;
  if (!whole.length || quarter < 0) return `${second.toFixed(2)} s`;
  return `bar ${n + 1}, beat ${Math.round(100 * ((quarter - whole[n].quarter) / whole[n].metre.beat + 1)) / 100}`;
}
