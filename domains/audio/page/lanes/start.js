// Buttons, fields, the play-head, and what was obtained: other parts of the page speak through events of the window.
const CONTENT = { melody: () => [], dynamics: () => [[0, -20], [tidy(state.length), -20]], rhythm: () => ({ ...FREE_GRID }), chords: () => null };
let playing = null, heardAt = 0;  // seconds of the clip that are heard now; when that was said

function placeHead() {
  const canvas = lanes.melody.canvas;
  head.hidden = playing === null || playing < from || playing > from + span() || !canvas.clientWidth;
  if (!head.hidden) head.style.left = `${xOf(canvas, playing)}px`;
}

Object.values(lanes).forEach(({ kind, section, asked }) => {
  asked.addEventListener('change', () => {
    if (!state) return;
    if (!asked.checked) { change(withSpans(kind, [])); return; }
    const made = content(kind) || CONTENT[kind]();
    if (!made) { asked.checked = false; say('Write chords first: in the field By bars, or with a click in the strip.'); return; }
    change(withSpans(kind, undefined, withPart(kind === 'rhythm' ? 'grid' : kind, made)));
  });
  const clear = section.querySelector('.clear');
  if (clear) clear.addEventListener('click', () => { if (state && content(kind)) change(withSpans(kind, undefined, withPart(kind, undefined))); });
});

const BUTTONS = {
  undo, redo, tap, calibrate,
  wider: () => zoomBy(2),
  narrower: () => zoomBy(0.5),
  lower: () => shiftOctave(-1),
  higher: () => shiftOctave(1),
  half: () => reshape({ times: 0.5 }),
  double: () => reshape({ times: 2 }),
};
Object.entries(BUTTONS).forEach(([name, act]) => element.querySelector(`[data-do=${name}]`).addEventListener('click', () => { if (state) act(); }));
tools.forEach((button) => button.addEventListener('click', () => take(button.dataset.tool)));

const onChange = (selector, act) => element.querySelector(selector).addEventListener('change', (event) => { if (state) act(event.target); });
onChange('.octaves', () => { low = Math.min(low, 128 - rows()); paint(); });
onChange('.bpm', (input) => setTempo(Number(input.value)));
onChange('.bars', (input) => reshape({ bars: Number(input.value) }));
onChange('.metre', (input) => reshape({ metre: input.value }));
onChange('.shape', (input) => { if (input.value) reshape({ shape: input.value }); input.value = ''; });
onChange('.chord', named);
onChange('.strip', (input) => reshape({ strip: input.value }));
element.querySelectorAll('.lane-head input').forEach((input) => input.addEventListener('keydown', (event) => {
  if (event.key === 'Enter') input.blur();  // which is when a field is read
}));
slider.querySelector('input').addEventListener('input', (event) => look(Number(event.target.value), zoom));

window.addEventListener('audio-time', (event) => { playing = event.detail; heardAt = performance.now(); if (state) placeHead(); });
window.addEventListener('audio-found', (event) => { found = event.detail; paint(); });
window.addEventListener('audio-melody', (event) => {
  if (!state) return;
  const notes = event.detail.filter((note) => note.start < state.length).map((note) => ({ ...note, end: Math.min(note.end, state.length) }));
  change(awake('melody', withPart('melody', notes)));
  showNotes();
  paint();
  say(`${notes.length} notes of the take are the melody now.`);
});
new ResizeObserver(paint).observe(element);
new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ['class'] });
take(tool);
watch('value', show);
show();
