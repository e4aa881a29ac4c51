// Notes, one at a time: what a new note covers gives way, as on a monophonic instrument. Chords are laid likewise.
let lastLength = 0.5;  // quarter notes of a note that is only clicked

// `others` with `item` among them; what it overlaps is cut, and left out when nothing of it stays.
function laid(others, item) {
  const kept = [];
  others.forEach((each) => {
    if (each.end <= item.start || each.start >= item.end) kept.push(each);
    else if (each.start < item.start) kept.push({ ...each, end: item.start });
    else if (each.end > item.end) kept.push({ ...each, start: item.end });
  });
  kept.push(item);
  return kept.filter((each) => each.end - each.start > 1e-4).sort((a, b) => a.start - b.start);
}

const without = (items, gone) => items.filter((each) => each !== gone);
const noteAt = (second, pitch) => (state.melody || []).find((note) => note.pitch === pitch && note.start <= second && second < note.end);
const setMelody = (notes) => { state = awake('melody', withPart('melody', notes)); };

function drawMelody(at) {
  const hit = noteAt(at.second, at.pitch), melody = state.melody || [];
  if (!hit) {
    const start = snapped(at.second, Math.floor);
    const put = (end, pitch) => setMelody(laid(melody, { start, end, pitch, velocity: 80 }));
    put(later(start, lastLength), at.pitch);
    return (to) => {
      const drawn = Math.abs(to.x - at.x) > 5, end = Math.max(snapped(to.second, Math.ceil), later(start, 0.25));
      if (drawn) lastLength = Math.max(quarterAt(end) - quarterAt(start), 0.25);
      put(later(start, lastLength), to.pitch);
    };
  }
  const others = without(melody, hit), width = at.xOf(hit.end) - at.xOf(hit.start);
  if (at.xOf(hit.end) - at.x < Math.min(10, width / 3)) {
    return (to) => setMelody(laid(others, { ...hit, end: Math.max(snapped(to.second), later(hit.start, 0.25)) }));
  }
  const length = quarterAt(hit.end) - quarterAt(hit.start);
  return (to) => {
    const moved = snapped(hit.start + to.second - at.second), last = secondsAt(quarterAt(state.length) - length);
    const start = Math.abs(to.x - at.x) < 4 ? hit.start : Math.max(Math.min(moved, snapped(last, Math.floor)), 0);
    setMelody(laid(others, { ...hit, start, end: start === hit.start ? hit.end : later(start, length), pitch: to.pitch }));
  };
}

function eraseMelody(at) {
  const wipe = (to) => {
    const hit = noteAt(to.second, to.pitch);
    if (!hit) return;
    const rest = without(state.melody, hit);
    state = withPart('melody', rest.length ? rest : undefined);
  };
  wipe(at);
  return wipe;
}
