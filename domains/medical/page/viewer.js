// Three planes: a click or the keys move the cross-hair, the wheel walks through slices, a drag paints.
// The value is JSON from the server: pictures as data URLs, and what lies under them. Nothing is fetched.
const figures = [...element.querySelectorAll('figure')];
const bar = element.querySelector('.blinking');
const calm = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
let data = null, drawing = null, timer = null, second = false;

function place(event, image) {
  const box = image.getBoundingClientRect();
  return [(event.clientX - box.left) * image.naturalWidth / box.width,
          (event.clientY - box.top) * image.naturalHeight / box.height];
}

function show() {
  try { data = props.value ? JSON.parse(props.value) : null; } catch { data = null; }
  const planes = data ? data.planes : [];
  element.querySelector('.planes').hidden = !planes.length;
  element.querySelector('.empty').textContent = data ? data.empty : 'Making the example brain: a few seconds…';
  element.querySelector('.position').textContent = data ? data.position : '';
  const legend = element.querySelector('.legend');
  legend.replaceChildren(...(data ? data.legend : []).map((entry) => {
    const item = document.createElement('li'), sample = document.createElement('span');
    sample.className = entry.dashed ? 'sample dashed' : 'sample';
    sample.style.setProperty('--own', entry.colour);
    item.append(sample, entry.label);
    return item;
  }));
  planes.forEach((plane, slot) => {
    const figure = figures[slot], [first, other] = figure.querySelectorAll('img');
    figure.dataset.plane = plane.plane;
    figure.setAttribute('aria-label', plane.plane + ' plane: ' + plane.help);
    first.src = plane.src;
    first.alt = plane.alt;
    if (plane.second) { other.src = plane.second; other.alt = plane.alt; }
    figure.classList.toggle('painting', data.tool !== 'Cross-hair');
  });
  const blinks = planes.length > 0 && Boolean(planes[0].second);
  if (blinks === bar.hidden) {
    bar.hidden = !blinks;
    clearInterval(timer);
    timer = null;
    if (blinks && !calm) start(); else label();
    if (!blinks) flip(false);
  }
}

function flip(to) {
  second = to;
  figures.forEach((figure) => { figure.querySelector('.second').hidden = !to; });
  bar.querySelector('.shown').textContent = to ? 'After' : 'Before';
}
function label() { bar.querySelector('.play').textContent = timer ? 'Pause' : 'Play'; }
function start() { timer = setInterval(() => flip(!second), 700); label(); }
bar.querySelector('.play').addEventListener('click', () => {
  if (timer) { clearInterval(timer); timer = null; label(); } else start();
});
bar.querySelector('.swap').addEventListener('click', () => {
  clearInterval(timer); timer = null; label(); flip(!second);
});

function ink(figure, canvas, points) {
  const image = figure.querySelector('img'), plane = data.planes[Number(figure.dataset.slot)];
  if (points.length === 1) { canvas.width = image.naturalWidth; canvas.height = image.naturalHeight; }
  const pen = canvas.getContext('2d'), last = points[points.length - 1], before = points[points.length - 2] || last;
  pen.lineCap = pen.lineJoin = 'round';
  pen.lineWidth = plane.brush;
  pen.strokeStyle = data.tool === 'Erase' ? 'rgb(86,180,233)' : 'rgb(230,159,0)';
  pen.beginPath();
  pen.moveTo(before[0], before[1]);
  pen.lineTo(last[0], last[1] + 0.01);
  pen.stroke();
}

figures.forEach((figure, slot) => {
  const picture = figure.querySelector('.picture'), image = figure.querySelector('img');
  const canvas = figure.querySelector('canvas');
  picture.addEventListener('pointerdown', (event) => {
    if (!data || event.button || data.tool === 'Cross-hair') return;
    event.preventDefault();
    picture.setPointerCapture(event.pointerId);
    drawing = { slot, points: [place(event, image)] };
    ink(figure, canvas, drawing.points);
  });
  picture.addEventListener('click', (event) => {  // not pointerdown: a finger that scrolls the page moves nothing
    if (!data || data.tool !== 'Cross-hair') return;
    figure.focus({ preventScroll: true });
    const at = place(event, image);
    trigger('select', { plane: figure.dataset.plane, index: data.planes[slot].index, at });
  });
  picture.addEventListener('pointermove', (event) => {
    if (!drawing || drawing.slot !== slot) return;
    const at = place(event, image), last = drawing.points[drawing.points.length - 1];
    if (Math.hypot(at[0] - last[0], at[1] - last[1]) < 1 || drawing.points.length >= 3000) return;
    drawing.points.push(at);
    ink(figure, canvas, drawing.points);
  });
  const done = () => {
    if (!drawing || drawing.slot !== slot) return;
    const points = drawing.points;
    drawing = null;
    trigger('input', { plane: figure.dataset.plane, index: data.planes[slot].index, points });
  };
  picture.addEventListener('pointerup', done);
  picture.addEventListener('pointercancel', done);
  image.addEventListener('load', () => { if (!drawing) canvas.width = canvas.width; });
  figure.addEventListener('keydown', (event) => {
    const keys = ['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'PageUp', 'PageDown'];
    if (!data || !keys.includes(event.key)) return;
    event.preventDefault();
    trigger('select', { plane: figure.dataset.plane, key: event.key });
  });
  figure.addEventListener('wheel', (event) => {
    if (!data || document.activeElement !== figure || !event.deltaY) return;
    event.preventDefault();
    trigger('select', { plane: figure.dataset.plane, key: event.deltaY < 0 ? 'PageUp' : 'PageDown' });
  }, { passive: false });
});

watch('value', show);
show();
