// Everything the pointer can do, by keys: a cursor in every lane, moved by arrows, a sixteenth or a beat at a time.
let cursor = { second: 0, pitch: 72 };

function cursorOf(context, canvas, kind) {
  if (document.activeElement !== canvas) return;
  context.strokeStyle = ink.cursor;
  context.lineWidth = 2;
  const left = xOf(canvas, cursor.second), width = Math.max(xOf(canvas, later(cursor.second, kind === 'chords' ? beatOf() : 0.25)) - left, 4);
  if (kind === 'melody') context.strokeRect(left, yOfPitch(canvas, cursor.pitch), width, canvas.clientHeight / rows());
  else context.strokeRect(left, 1, width, canvas.clientHeight - 2);
}

function seen() {
  if (cursor.second < from || cursor.second >= from + span()) look(cursor.second - span() / 2, zoom);
  if (cursor.pitch < low) low = Math.max(cursor.pitch - cursor.pitch % 12, 0);
  if (cursor.pitch >= low + rows()) low = Math.min(cursor.pitch - cursor.pitch % 12 + 12 - rows(), 128 - rows());
}

function step(kind, way) {
  const every = kind === 'chords' ? beatOf() : 0.25;
  const to = snapped(later(cursor.second, way * every), Math.round, every);
  if (to < state.length - 1e-6) cursor = { ...cursor, second: to };
}

const MELODY = {
  here: () => noteAt(cursor.second + 1e-6, cursor.pitch),
  place() {
    const hit = this.here(), melody = state.melody || [];
    if (hit) { this.remove(); return; }
    change(awake('melody', withPart('melody', laid(melody, { start: cursor.second, end: later(cursor.second, lastLength), pitch: cursor.pitch, velocity: 80 }))));
  },
  remove() {
    const hit = this.here(), rest = hit && without(state.melody, hit);
    if (hit) change(withPart('melody', rest.length ? rest : undefined));
  },
  arrow(x, y, event) {
    const hit = this.here();
    if (event.shiftKey && x && hit) {
      const end = Math.max(later(hit.end, 0.25 * x), later(hit.start, 0.25));
      lastLength = quarterAt(end) - quarterAt(hit.start);
      change(withPart('melody', laid(without(state.melody, hit), { ...hit, end })));
      return;
    }
    const pitch = Math.min(Math.max(cursor.pitch + y, 0), 127);
    if (event.ctrlKey && hit) {
      const start = x ? Math.max(later(hit.start, 0.25 * x), 0) : hit.start, length = quarterAt(hit.end) - quarterAt(hit.start);
      if (x > 0 && hit.end >= state.length - 1e-6) return;
      const moved = { ...hit, start, end: x ? later(start, length) : hit.end, pitch };
      cursor = { second: start, pitch };
      change(withPart('melody', laid(without(state.melody, hit), moved)));
      return;
    }
    if (x) step('melody', x);
    cursor = { ...cursor, pitch };
  },
  words() { return `${noteName(cursor.pitch)}, ${placeInWords(cursor.second)}: ${this.here() ? 'a note' : 'no note'}`; },
};

const DYNAMICS = {
  here: () => (state.dynamics || []).findIndex(([second]) => Math.abs(second - tidy(cursor.second)) < 1e-3),
  put(level) {
    const points = (state.dynamics || []).filter(([second]) => Math.abs(second - tidy(cursor.second)) >= 1e-3);
    change(awake('dynamics', withPart('dynamics', [...points, [tidy(cursor.second), Math.min(Math.max(level, QUIET), LOUD)]].sort((a, b) => a[0] - b[0]))));
  },
  level: () => Math.round(10 * (levelAt(state.dynamics || [], cursor.second) ?? -20)) / 10,
  place() { if (this.here() >= 0) this.remove(); else this.put(this.level()); },
  remove() {
    const hit = this.here(), rest = (state.dynamics || []).filter((_, n) => n !== hit);
    if (hit >= 0) change(withPart('dynamics', rest.length ? rest : undefined));
  },
  arrow(x, y) { if (x) step('dynamics', x); else this.put(this.level() + y); },
  words() { return `${this.level()} dB, ${placeInWords(cursor.second)}${this.here() >= 0 ? ': a point' : ''}`; },
};

const RHYTHM = {
  place: tap,
  remove: eraseRhythm,
  arrow(x, y) {
    if (y) { setTempo(Math.round(bpmOf()) + y); return; }
    const bar = metreOf(gridOf().metres[0].metre).quarters * 60 / gridOf().tempos[0].qpm;
    const start = Math.round(1e6 * (gridOf().start + 0.01 * x)) / 1e6;
    change(awake('rhythm', withPart('grid', { ...gridOf(), start: start > 0 ? start - bar : Math.max(start, 1e-6 - bar) })));
  },
  words: () => null,
};

const CHORDS = {
  here: () => chordAt(cursor.second + 1e-6),
  place() {
    if (this.here()) { this.remove(); return; }
    const next = bars().map(({ quarter, metre }) => secondsAt(quarter + metre.quarters)).find((second) => second > cursor.second + 1e-6);
    const after = (state.chords || []).find((chord) => chord.start > cursor.second);
    const end = Math.min(next ?? state.length, after ? after.start : state.length, state.length);
    change(awake('chords', withPart('chords', laid(state.chords || [], { start: cursor.second, end, chord: label }))));
    selected = cursor.second;
  },
  remove() {
    const hit = this.here(), rest = hit && without(state.chords, hit);
    if (hit) change(withPart('chords', rest.length ? rest : undefined));
  },
  arrow(x) { if (x) step('chords', x); choose(this.here()); },
  words() { return `${placeInWords(cursor.second)}: ${this.here() ? chordName(this.here().chord) : 'no chord'}`; },
};

const BY_KEY = { melody: MELODY, dynamics: DYNAMICS, rhythm: RHYTHM, chords: CHORDS };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function freeHere(kind) {
  if (!content(kind)) { say('Nothing is asked here: the model decides already.'); return; }
  const start = snapped(cursor.second, Math.floor, beatOf()), makeFree = !isFree(kind, cursor.second);
  change(withFree(kind, start, later(start, beatOf()), makeFree, bindings(kind)));
  say(`${placeInWords(start)}: ${makeFree ? 'left free' : 'asked again'}`);
}

Object.values(lanes).forEach(({ kind, canvas }) => {
  const keys = BY_KEY[kind];
  canvas.addEventListener('focus', paint);
  canvas.addEventListener('blur', paint);
  canvas.addEventListener('keydown', (event) => {
    if (!state || event.altKey) return;
    const way = ARROWS[event.key], key = event.key.toLowerCase(), mod = event.ctrlKey || event.metaKey;
    if (mod && key === 'z') { if (event.shiftKey) redo(); else undo(); }
    else if (mod && key === 'y') redo();
    else if (way) keys.arrow(way[0], way[1], event);
    else if (key === 'home' || key === 'end') cursor = { ...cursor, second: key === 'home' ? 0 : snapped(state.length - 1e-3, Math.floor) };
    else if (mod) return;
    else if (key === ' ' || key === 'enter') { if (!event.repeat) keys.place(); }
    else if (key === 'delete' || key === 'backspace') keys.remove();
    else if (key === 'f') freeHere(kind);
    else return;
    event.preventDefault();
    seen();
    const words = key === 'f' || key === 'z' || key === 'y' ? null : keys.words();
    if (words) say(words);
    paint();
  });
});
