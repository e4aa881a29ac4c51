// The beat grid: a drag moves the bar lines, taps set the tempo; tempo, metre and bars are worked out by the server.
const TAPS = 4, PAUSE = 2500;  // taps that make a tempo; milliseconds after which counting begins again
let taps = [];

function drawRhythm(at) {
  const grid = gridOf(), steady = grid.tempos.length === 1 && grid.metres.length === 1;
  const bar = metreOf(grid.metres[0].metre).quarters * 60 / grid.tempos[0].qpm;
  const downs = bars(grid).map(({ quarter }) => secondsAt(quarter, grid));
  const nearest = downs.reduce((best, each) => (Math.abs(each - at.second) < Math.abs(best - at.second) ? each : best), grid.start);
  const put = (second) => {
    let start = grid.start + second - nearest;
    if (steady) start -= bar * Math.ceil(start / bar - 1e-9);
    start = Math.min(Math.max(start, 1e-6 - bar), state.length - 1e-3);
    state = awake('rhythm', withPart('grid', { ...grid, start: Math.round(1e6 * start) / 1e6 }));
  };
  put(at.second);
  return (to) => put(to.second);
}

function eraseRhythm() {
  say('Beats come from tempo and metre: untick Rhythm, or brush over what shall be left free.');
  return () => {};
}

function tap() {
  const now = performance.now();
  if (taps.length && now - taps[taps.length - 1] > PAUSE) taps = [];
  taps.push(now);
  if (taps.length < TAPS) { say(`Tap ${taps.length} of ${TAPS}, then the tempo follows every tap.`); return; }
  taps = taps.slice(-9);
  const gaps = taps.slice(1).map((each, n) => each - taps[n]).sort((a, b) => a - b);
  const gap = gaps.length % 2 ? gaps[(gaps.length - 1) / 2] : (gaps[gaps.length / 2 - 1] + gaps[gaps.length / 2]) / 2;
  setTempo(Math.min(Math.max(Math.round(60000 / gap), 20), 400));
}

const setTempo = (bpm) => reshape({ bpm, follow: element.querySelector('.follow').checked });
