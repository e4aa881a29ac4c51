// The edge map: 32 x 32 cells, 0 nothing to 255 an edge. Pointer and keys draw here; the server hears of whole strokes.
// The value is JSON {map: base64 of 1024 bytes, under: data URL of a picture to trace, or ""}. Nothing is fetched.
const SIDE = 32, MOST = 40;
const sheet = element.querySelector('.sheet'), canvas = element.querySelector('canvas');
const under = element.querySelector('.under'), pen = element.querySelector('.pen');
const said = element.querySelector('.said'), context = canvas.getContext('2d');
const tools = [...element.querySelectorAll('[data-tool]')];
let cells = new Uint8ClampedArray(SIDE * SIDE), before = [], last = null, at = [SIDE / 2, SIDE / 2];
let tool = window.matchMedia('(pointer: coarse)').matches ? 'look' : 'draw', own = null;

const packed = () => btoa(String.fromCharCode(...cells));

function show() {
  if (props.value === own) return;  // our own stroke, on its way back
  own = props.value;
  let data = null;
  try { data = props.value ? JSON.parse(props.value) : null; } catch { data = null; }
  const bytes = data && data.map ? atob(data.map) : '';
  cells = new Uint8ClampedArray(SIDE * SIDE);
  for (let i = 0; i < bytes.length && i < cells.length; i += 1) cells[i] = bytes.charCodeAt(i);
  before = [];
  under.hidden = !(data && data.under);
  if (data && data.under) under.src = data.under;
  paint();
  count();
}

function paint() {
  const image = context.createImageData(SIDE, SIDE);
  cells.forEach((value, i) => {
    image.data.set([255, 255, 255, value], 4 * i);
  });
  context.putImageData(image, 0, 0);
}

function count() {
  const edges = cells.reduce((sum, value) => sum + (value > 127), 0);
  said.textContent = edges ? `${edges} of 1024 pixels are edges.` : 'No edges: the caption alone decides.';
}

function choose(name) {
  tool = name;
  tools.forEach((button) => button.setAttribute('aria-pressed', String(button.dataset.tool === name)));
  sheet.classList.toggle('drawing', name !== 'look');
}

function remember() {
  before.push(cells.slice());
  if (before.length > MOST) before.shift();
}

function set(x, y, value) {
  if (x >= 0 && y >= 0 && x < SIDE && y < SIDE) cells[y * SIDE + x] = value;
}

function line(from, to, value) {
  const steps = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), 1);
  for (let i = 0; i <= steps; i += 1) {
    set(Math.round(from[0] + (to[0] - from[0]) * i / steps), Math.round(from[1] + (to[1] - from[1]) * i / steps), value);
  }
}

function tell() {
  paint();
  count();
  own = JSON.stringify({ map: packed(), under: under.hidden ? '' : under.src });
  props.value = own;
  trigger('input');
}

function cell(event) {
  const box = canvas.getBoundingClientRect();
  return [Math.floor((event.clientX - box.left) / box.width * SIDE), Math.floor((event.clientY - box.top) / box.height * SIDE)];
}

function place() {
  pen.hidden = document.activeElement !== sheet;
  pen.style.left = `${at[0] / SIDE * 100}%`;
  pen.style.top = `${at[1] / SIDE * 100}%`;
}

const ink = () => (tool === 'erase' ? 0 : 255);

sheet.addEventListener('pointerdown', (event) => {
  if (event.button || tool === 'look') return;
  event.preventDefault();
  sheet.focus({ preventScroll: true });
  sheet.setPointerCapture(event.pointerId);
  remember();
  last = cell(event);
  at = last.map((v) => Math.min(Math.max(v, 0), SIDE - 1));
  place();
  line(last, last, ink());
  paint();
});
sheet.addEventListener('pointermove', (event) => {
  if (!last) return;
  const next = cell(event);
  line(last, next, ink());
  last = next;
  paint();
});
const done = () => {
  if (!last) return;
  last = null;
  tell();
};
sheet.addEventListener('pointerup', done);
sheet.addEventListener('pointercancel', done);
sheet.addEventListener('focus', place);
sheet.addEventListener('blur', place);
sheet.addEventListener('keydown', (event) => {
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const way = ways[event.key];
  if (way) {
    event.preventDefault();
    const next = at.map((v, k) => Math.min(Math.max(v + way[k], 0), SIDE - 1));
    if (event.shiftKey) { remember(); line(at, next, ink()); }
    at = next;
    place();
    if (event.shiftKey) tell();
    said.textContent = `Column ${at[0] + 1}, row ${at[1] + 1}: ${cells[at[1] * SIDE + at[0]] > 127 ? 'edge' : 'no edge'}.`;
  } else if (event.key === ' ' || event.key === 'Enter') {
    event.preventDefault();
    remember();
    set(at[0], at[1], cells[at[1] * SIDE + at[0]] > 127 ? 0 : 255);
    tell();
    said.textContent = `Column ${at[0] + 1}, row ${at[1] + 1}: ${cells[at[1] * SIDE + at[0]] > 127 ? 'edge' : 'no edge'}.`;
  } else if (event.key === 'z' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    undo();
  }
});

function undo() {
  if (!before.length) return;
  cells = before.pop();
  tell();
}
tools.forEach((button) => button.addEventListener('click', () => choose(button.dataset.tool)));
element.querySelector('[data-do=undo]').addEventListener('click', undo);
element.querySelector('[data-do=clear]').addEventListener('click', () => {
  remember();
  cells = new Uint8ClampedArray(SIDE * SIDE);
  tell();
});

choose(tool);
watch('value', show);
show();
