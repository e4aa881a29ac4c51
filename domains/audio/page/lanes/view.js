// What of the clip is seen: its part, the octaves, and between pixels and music.
const GUTTER = 38, QUIET = -60, LOUD = 0;
const NAMES = ['C', 'C♯', 'D', 'D♯', 'E', 'F', 'F♯', 'G', 'G♯', 'A', 'A♯', 'B'];
const SUFFIX = { maj: '', min: 'm', dim: 'dim', aug: 'aug', sus2: 'sus2', sus4: 'sus4', maj7: 'maj7', 7: '7', min7: 'm7', hdim7: 'm7♭5', dim7: 'dim7', min6: 'm6' };
const noteName = (pitch) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;
const chordName = (label) => { const [root, quality] = label.split(':'); return root.replace('#', '♯') + (SUFFIX[quality] ?? quality); };
const lanes = Object.fromEntries(KINDS.map((kind) => {
  const section = element.querySelector(`.lane[data-kind=${kind}]`);
  return [kind, { kind, section, canvas: section.querySelector('canvas'), asked: section.querySelector('.asked') }];
}));
const ruler = element.querySelector('.ruler'), head = element.querySelector('.head'), slider = element.querySelector('.part');
const octaves = element.querySelector('.octaves');
let from = 0, zoom = 1, low = 60;  // first second shown, times enlarged, lowest pitch shown

const rows = () => 12 * Number(octaves.value);
const span = () => state.length / zoom;
const across = (canvas) => Math.max(canvas.clientWidth - GUTTER - 1, 1);
const xOf = (canvas, second) => GUTTER + (second - from) / span() * across(canvas);
const secondOf = (canvas, x) => inClip(from + (x - GUTTER) / across(canvas) * span());
const yOfPitch = (canvas, pitch) => (low + rows() - 1 - pitch) * canvas.clientHeight / rows();
const pitchOf = (canvas, y) => Math.min(Math.max(low + rows() - 1 - Math.floor(y * rows() / canvas.clientHeight), 0), 127);
const yOfLevel = (canvas, level) => 6 + (LOUD - Math.max(level, QUIET)) / (LOUD - QUIET) * (canvas.clientHeight - 12);
const levelOf = (canvas, y) => Math.round(10 * Math.min(Math.max(LOUD - (y - 6) / (canvas.clientHeight - 12) * (LOUD - QUIET), QUIET), LOUD)) / 10;

function look(first, times) {
  zoom = Math.min(Math.max(times, 1), Math.max(1, Math.min(64, state.length / 0.5)));
  from = Math.min(Math.max(first, 0), state.length - span());
  slider.hidden = zoom <= 1;
  const range = slider.querySelector('input');
  range.max = state.length - span();
  range.value = from;
  paint();
}

function zoomBy(factor) {
  const middle = from + span() / 2;
  const times = zoom * factor;
  look(middle - state.length / Math.max(times, 1) / 2, times);
}

// As many octaves as the melody needs, with its middle in theirs.
function showNotes() {
  const pitches = (state.melody || []).map((note) => note.pitch);
  if (!pitches.length) return;
  const most = Math.max(...pitches), least = Math.min(...pitches);
  octaves.value = String(Math.min(3, Math.max(2, Math.ceil((most - least + 7) / 12))));
  low = 12 * Math.round((most + least - rows()) / 24);
  if (most >= low + rows()) low += 12;
  if (least < low) low -= 12;
  low = Math.min(Math.max(low, 0), 128 - rows());
}

function shiftOctave(by) {
  low = Math.min(Math.max(low + 12 * by, 0), 128 - rows());
  say(`From ${noteName(low)} to ${noteName(low + rows() - 1)}.`);
  paint();
}
