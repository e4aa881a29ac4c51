// The run drawn on canvases: paths up to the chosen step over the exact law, and six moments as small pictures.
// The value is JSON from the server with all numbers in thousandths; nothing is fetched.
const drawn = element.querySelector('.drawn'), canvas = element.querySelector('canvas.main');
const slider = element.querySelector('.steps'), where = element.querySelector('.where');
const play = element.querySelector('.play'), moments = element.querySelector('.moments');
const calm = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
let data = null, timer = null;

function colours() {
  const style = getComputedStyle(element.querySelector('.colours') || element);
  const of = (name) => style.getPropertyValue(name).trim();
  return { end: of('--end'), law: of('--law'), path: of('--path'), line: of('--line'), text: of('--text') };
}

function sheet(target) {
  const box = target.getBoundingClientRect(), fine = Math.min(window.devicePixelRatio || 1, 2);
  const side = Math.max(80, Math.round(box.width * fine));
  if (target.width !== side) { target.width = side; target.height = side; }
  const pen = target.getContext('2d');
  pen.clearRect(0, 0, side, side);
  const scale = side / (2 * data.half);
  return { pen, side, fine, x: (v) => side / 2 + v * scale, y: (v) => side / 2 - v * scale };
}

function grid(s, ink) {
  s.pen.strokeStyle = ink.line; s.pen.lineWidth = s.fine; s.pen.beginPath();
  for (let v = -4000; v <= 4000; v += 1000) {
    s.pen.moveTo(s.x(v), 0); s.pen.lineTo(s.x(v), s.side); s.pen.moveTo(0, s.y(v)); s.pen.lineTo(s.side, s.y(v));
  }
  s.pen.stroke();
}

function outlines(s, lines, ink, width) {
  s.pen.strokeStyle = ink.law; s.pen.lineWidth = width * s.fine;
  for (const line of lines) {
    s.pen.beginPath();
    for (let i = 0; i < line.length; i += 2) s.pen.lineTo(s.x(line[i]), s.y(line[i + 1]));
    s.pen.stroke();
  }
}

function dots(s, points, radius, fill, stroke) {
  s.pen.beginPath();
  for (let i = 0; i < points.length; i += 2) {
    s.pen.moveTo(s.x(points[i]) + radius * s.fine, s.y(points[i + 1]));
    s.pen.arc(s.x(points[i]), s.y(points[i + 1]), radius * s.fine, 0, 7);
  }
  if (fill) { s.pen.fillStyle = fill; s.pen.fill(); }
  if (stroke) { s.pen.strokeStyle = stroke; s.pen.lineWidth = s.fine; s.pen.stroke(); }
}

function crosses(s, points, ink) {
  s.pen.strokeStyle = ink.law; s.pen.lineWidth = s.fine; s.pen.beginPath();
  for (let i = 0; i < points.length; i += 2) {
    const x = s.x(points[i]), y = s.y(points[i + 1]), r = 3 * s.fine;
    s.pen.moveTo(x - r, y); s.pen.lineTo(x + r, y); s.pen.moveTo(x, y - r); s.pen.lineTo(x, y + r);
  }
  s.pen.stroke();
}

function draw() {
  if (!data || !canvas.getBoundingClientRect().width) return;
  const k = Number(slider.value), ink = colours(), s = sheet(canvas);
  grid(s, ink);
  s.pen.strokeStyle = ink.path; s.pen.lineWidth = 0.8 * s.fine; s.pen.globalAlpha = 0.4;
  const count = data.states[0].length;
  for (let i = 0; i < count; i += 2) {
    s.pen.beginPath();
    for (let j = 0; j <= k; j += 1) s.pen.lineTo(s.x(data.states[j][i]), s.y(data.states[j][i + 1]));
    s.pen.stroke();
  }
  s.pen.globalAlpha = 1;
  dots(s, data.states[0], 2, null, ink.path);
  dots(s, data.states[k], 2.6, ink.end, null);
  crosses(s, data.atoms, ink);
  outlines(s, data.law, ink, 2);
  const words = `Step ${data.at[k]} of ${data.at[data.at.length - 1]}: ${data.words[k]}`;
  where.textContent = words;
  slider.setAttribute('aria-valuetext', words);
}

function strip() {
  const ink = colours();
  [...moments.children].forEach((button, n) => {
    const s = sheet(button.querySelector('canvas')), moment = data.moments[n];
    dots(s, moment.points, 1.5, ink.end, null);
    outlines(s, moment.law, ink, 1.6);
  });
}

function jump(k) {
  let best = 0;
  data.at.forEach((at, n) => { if (Math.abs(at - k) < Math.abs(data.at[best] - k)) best = n; });
  slider.value = best;
  draw();
}

function stop() { clearInterval(timer); timer = null; play.textContent = 'Play'; }

function show() {
  stop();
  try { data = props.value ? JSON.parse(props.value) : null; } catch { data = null; }
  element.querySelector('.empty').hidden = Boolean(data);
  drawn.hidden = !data;
  if (!data) return;
  slider.max = data.at.length - 1;
  slider.value = data.at.length - 1;
  canvas.setAttribute('aria-label', data.alt);
  element.querySelector('.of-law').hidden = !data.law.length;
  element.querySelector('.of-atoms').hidden = !data.atoms.length;
  moments.replaceChildren(...data.moments.map((moment) => {
    const button = document.createElement('button'), sheetOf = document.createElement('canvas');
    const words = document.createElement('span');
    button.type = 'button';
    button.title = 'Show this step above';
    words.textContent = `step ${moment.k}: ${moment.words}`;
    button.append(sheetOf, words);
    button.addEventListener('click', () => { stop(); jump(moment.k); });
    return button;
  }));
  requestAnimationFrame(() => { draw(); strip(); });
}

slider.addEventListener('input', () => { stop(); draw(); });
play.addEventListener('click', () => {
  if (timer) { stop(); return; }
  if (Number(slider.value) >= data.at.length - 1) slider.value = 0;
  play.textContent = 'Pause';
  timer = setInterval(() => {
    slider.value = Number(slider.value) + 1;
    draw();
    if (Number(slider.value) >= data.at.length - 1) stop();
  }, calm ? 400 : 90);
});
new ResizeObserver(() => { if (data) { draw(); strip(); } }).observe(element);
new MutationObserver(() => { if (data) { draw(); strip(); } }).observe(document.body, { attributes: true });
watch('value', show);
show();
