// The chord strip: a click puts the chord that is written in the field, a bar long; its name is changed in the field.
let selected = null;  // where the chosen chord begins, seconds
const field = element.querySelector('.chord');

const chordAt = (second) => (state.chords || []).find((chord) => chord.start <= second && second < chord.end);
const setChords = (chords) => { state = awake('chords', withPart('chords', chords.length ? chords : undefined)); };

function choose(chord) {
  selected = chord ? chord.start : null;
  if (chord && document.activeElement !== field) field.value = chordName(chord.chord).replace('♯', '#').replace('♭', 'b');
}

function drawChords(at) {
  const chords = state.chords || [], hit = chordAt(at.second), beat = beatOf();
  if (!hit) {
    const start = snapped(at.second, Math.floor, beat), next = chords.find((chord) => chord.start > start);
    const barEnd = bars().map(({ quarter, metre }) => secondsAt(quarter + metre.quarters)).find((second) => second > start + 1e-6);
    const most = Math.min(next ? next.start : state.length, state.length);
    const put = (end) => { setChords(laid(chords, { start, end: Math.min(Math.max(end, later(start, beat)), most), chord: label })); selected = start; };
    put(barEnd === undefined ? state.length : barEnd);
    return (to) => { if (Math.abs(to.x - at.x) > 5) put(snapped(to.second, Math.ceil, beat)); };
  }
  choose(hit);
  const others = without(chords, hit);
  if (at.xOf(hit.end) - at.x < Math.min(10, (at.xOf(hit.end) - at.xOf(hit.start)) / 3)) {
    return (to) => setChords(laid(others, { ...hit, end: Math.max(snapped(to.second, Math.round, beat), later(hit.start, beat)) }));
  }
  const length = quarterAt(hit.end) - quarterAt(hit.start);
  return (to) => {
    if (Math.abs(to.x - at.x) < 4) { setChords(laid(others, hit)); return; }
    const start = Math.max(Math.min(snapped(hit.start + to.second - at.second, Math.round, beat), secondsAt(quarterAt(state.length) - length)), 0);
    setChords(laid(others, { ...hit, start, end: later(start, length) }));
    selected = start;
  };
}

function eraseChords(at) {
  const wipe = (to) => { const hit = chordAt(to.second); if (hit) setChords(without(state.chords, hit)); };
  wipe(at);
  return wipe;
}

let label = 'C:maj';  // of the next chord
// The field was written: the chosen chord, if there is one, takes the name.
async function named() {
  const got = await server.chord(field.value);
  if (got.error) { say(got.error, true); return; }
  label = got.label;
  const hit = selected === null ? null : (state.chords || []).find((chord) => Math.abs(chord.start - selected) < 1e-6);
  if (hit && hit.chord !== label) change(awake('chords', withPart('chords', state.chords.map((chord) => (chord === hit ? { ...chord, chord: label } : chord)))));
  say(`${chordName(label)}${hit ? '' : ': click in the strip to put it'}`);
}
