// What is asked: the JSON of domains/audio/controls/json_form.py, never changed in place, so that a step back is the
// object before. The value of the component is its text; the server hears of finished gestures.
const KINDS = ['melody', 'dynamics', 'rhythm', 'chords'], MOST_STEPS = 200;
let state = null, own = null, past = [], future = [];

const content = (kind) => state && (kind === 'rhythm' ? state.grid : state[kind]);
const spansOf = (kind) => state && state.spans && state.spans[kind];
const isAsked = (kind) => Boolean(content(kind)) && !(spansOf(kind) && !spansOf(kind).length);

// The state with a part put in, or taken out when it is undefined.
function withPart(name, value) {
  const next = { ...state };
  if (value === undefined) delete next[name]; else next[name] = value;
  return next;
}

function withSpans(kind, spans, from = state) {
  const all = { ...(from.spans || {}) };
  if (spans === undefined) delete all[kind]; else all[kind] = spans;
  const next = { ...from, spans: all };
  if (!Object.keys(all).length) delete next.spans;
  return next;
}

// A lane that was switched off is asked for again as soon as something is drawn in it.
const awake = (kind, next) => (next.spans && next.spans[kind] && !next.spans[kind].length ? withSpans(kind, undefined, next) : next);

function keep(before) {
  past.push(before);
  if (past.length > MOST_STEPS) past.shift();
  future = [];
}

function change(next) {
  keep(state);
  state = next;
  tell();
}

function tell() {
  own = JSON.stringify(state);
  props.value = own;
  paint();
  trigger('input');
}

function undo() {
  if (!past.length) { say('Nothing to undo.'); return; }
  future.push(state);
  state = past.pop();
  tell();
  say('Undone.');
}

function redo() {
  if (!future.length) { say('Nothing to do again.'); return; }
  past.push(state);
  state = future.pop();
  tell();
  say('Done again.');
}

// From the server: an example, a file, a table. It can be undone like a stroke.
function show() {
  if (props.value === own) return;
  own = props.value;
  let next = null;
  try { next = props.value ? JSON.parse(props.value) : null; } catch { next = null; }
  if (!next) return;
  if (state) keep(state);
  const first = !state || Math.abs(state.length - next.length) > 1e-9;
  state = next;
  if (first) look(0, 1);
  showNotes();
  paint();
}

// What only the server can work out (tempo, metre, bars, shapes, names of chords); a change meanwhile asks again.
async function reshape(wish) {
  const sent = JSON.stringify(state);
  const got = await server.reshape({ controls: sent, ...wish });
  if (got.error) { say(got.error, true); paint(); return; }
  if (JSON.stringify(state) !== sent) { await reshape(wish); return; }
  change(JSON.parse(got.controls));
  say(got.words);
}

function say(words, wrong = false) {
  const said = element.querySelector('.said');
  said.textContent = words;
  said.classList.toggle('wrong', wrong);
}
