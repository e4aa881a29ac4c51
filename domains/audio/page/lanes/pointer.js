// Mouse, pen and finger: a gesture begins in a lane with the tool that is chosen, and counts as one step back.
const DRAW = { melody: drawMelody, dynamics: drawDynamics, rhythm: drawRhythm, chords: drawChords };
const ERASE = { melody: eraseMelody, dynamics: eraseDynamics, rhythm: eraseRhythm, chords: eraseChords };
const tools = [...element.querySelectorAll('[data-tool]')];
let tool = window.matchMedia('(pointer: coarse)').matches ? 'look' : 'draw', drag = null;

function take(name) {
  tool = name;
  tools.forEach((button) => button.setAttribute('aria-pressed', String(button.dataset.tool === name)));
  element.querySelector('.sheet').dataset.tool = name;
}

function placed(canvas, event) {
  const box = canvas.getBoundingClientRect();
  const x = Math.min(Math.max(event.clientX - box.left, GUTTER), canvas.clientWidth - 1);
  const y = Math.min(Math.max(event.clientY - box.top, 0), canvas.clientHeight - 1);
  return {
    x, y, second: secondOf(canvas, x), pitch: pitchOf(canvas, y), level: levelOf(canvas, y),
    xOf: (second) => xOf(canvas, second), yOf: (level) => yOfLevel(canvas, level), secondOf: (left) => secondOf(canvas, left),
  };
}

function heard(kind, at) {
  if (kind === 'melody') return `${noteName(at.pitch)}, ${placeInWords(at.second)}`;
  return kind === 'dynamics' ? `${at.level} dB, ${placeInWords(at.second)}` : placeInWords(at.second);
}

Object.values(lanes).forEach(({ kind, canvas }) => {
  canvas.addEventListener('pointerdown', (event) => {
    if (!state || event.button || drag) return;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    const at = placed(canvas, event), before = state;
    cursor = { ...cursor, second: snapped(at.second, Math.floor), pitch: at.pitch };
    if (tool === 'look') {
      const first = from;
      drag = { id: event.pointerId, move: (to) => look(first - (to.x - at.x) / across(canvas) * span(), zoom), before };
      return;
    }
    event.preventDefault();
    const begin = { draw: DRAW[kind], erase: ERASE[kind], free: brushFree }[tool];
    drag = { id: event.pointerId, move: begin(at, kind), before };
    if (tool !== 'free') say(heard(kind, at));
    paint();
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!drag || drag.id !== event.pointerId) return;
    const to = placed(canvas, event);
    drag.move(to);
    if (tool === 'draw') say(heard(kind, to));
    paint();
  });
  const done = (event) => {
    if (!drag || drag.id !== event.pointerId) return;
    const { before } = drag;
    drag = null;
    if (JSON.stringify(before) === JSON.stringify(state)) { state = before; paint(); return; }
    keep(before);
    tell();
  };
  canvas.addEventListener('pointerup', done);
  canvas.addEventListener('pointercancel', done);
  canvas.addEventListener('wheel', (event) => {
    if (!state || document.activeElement !== canvas || !(event.ctrlKey || event.shiftKey || event.deltaX)) return;
    event.preventDefault();
    if (event.ctrlKey) zoomBy(event.deltaY < 0 ? 1.25 : 0.8);
    else look(from + (event.deltaX || event.deltaY) / across(canvas) * span(), zoom);
  }, { passive: false });
});
