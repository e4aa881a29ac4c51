// The beat grid: a drag moves the bar lines, taps set the tempo, or, while something plays, the beats themselves; tempo,
// metre and bars are worked out by the server.
const TAPS = 4, PAUSE = 2500;  // taps that make a tempo; milliseconds after which counting begins again
const SOUNDING = 250, DONE = 1200;  // milliseconds: as old the time of a sound that plays may be; after the last tap
const CLICKS = 8, EVERY = 600, LATEST = 400;  // of the calibration; milliseconds between clicks, and a tap may be late
let taps = [], along = [], over = null, calibration = null;

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

// Milliseconds by which this person's taps, on this machine, come after the sound.
const lateness = () => Number(localStorage.getItem('tap-latency')) || 0;

function tap() {
  const now = performance.now();
  if (calibration) { calibrated(now); return; }
  if (playing !== null && now - heardAt < SOUNDING) { tapAlong(playing + (now - heardAt - lateness()) / 1000); return; }
  if (taps.length && now - taps[taps.length - 1] > PAUSE) taps = [];
  taps.push(now);
  if (taps.length < TAPS) { say(`Tap ${taps.length} of ${TAPS}, then the tempo follows every tap.`); return; }
  taps = taps.slice(-9);
  const gaps = taps.slice(1).map((each, n) => each - taps[n]).sort((a, b) => a - b);
  const gap = gaps.length % 2 ? gaps[(gaps.length - 1) / 2] : (gaps[gaps.length / 2 - 1] + gaps[gaps.length / 2]) / 2;
  setTempo(Math.min(Math.max(Math.round(60000 / gap), 20), 400));
}

function tapAlong(second) {
  if (along.length && second <= along[along.length - 1]) along = [];
  along.push(Math.max(second, 0));
  clearTimeout(over);
  over = setTimeout(() => {
    const beats = along;
    along = [];
    if (beats.length < TAPS) say(`${beats.length} taps; tap ${TAPS} beats or more while it plays, from a first beat of a bar.`);
    else reshape({ beats });
  }, DONE);
  say(`Beat ${along.length}`);
}

// Eight clicks to tap along with; the middle of how late the taps are is taken off later ones.
function calibrate() {
  const context = new AudioContext(), first = context.currentTime + EVERY / 1000;
  for (let n = 0; n < CLICKS; n += 1) {
    const click = context.createOscillator(), gain = context.createGain(), at = first + n * EVERY / 1000;
    click.frequency.value = n ? 1000 : 1500;
    gain.gain.setValueAtTime(0.3, at);
    gain.gain.exponentialRampToValueAtTime(0.001, at + 0.05);
    click.connect(gain).connect(context.destination);
    click.start(at);
    click.stop(at + 0.06);
  }
  calibration = { context, zero: performance.now() + EVERY, late: [] };
  calibration.timer = setTimeout(judge, EVERY * (CLICKS + 1) + LATEST);
  say('Tap with the clicks, by the button, or by space in the lane.');
  lanes.rhythm.canvas.focus();
}

function calibrated(now) {
  const since = now - calibration.zero, nearest = Math.min(Math.max(Math.round((since - LATEST / 4) / EVERY), 0), CLICKS - 1);
  calibration.late.push(since - nearest * EVERY);
  if (calibration.late.length === CLICKS) judge();
}

function judge() {
  const { context, late, timer } = calibration;
  calibration = null;
  clearTimeout(timer);
  context.close();
  if (late.length < TAPS) { say('Too few taps; nothing has changed.'); return; }
  const middle = Math.round(late.sort((a, b) => a - b)[Math.floor(late.length / 2)]);
  localStorage.setItem('tap-latency', String(middle));
  say(`Your taps come ${middle} milliseconds after the sound; that is taken off from now on.`);
}

const setTempo = (bpm) => reshape({ bpm, follow: element.querySelector('.follow').checked });
