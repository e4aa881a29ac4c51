// Painting: what is asked, what was obtained over it, the bars behind, what is left free in grey.
const BLACK = [1, 3, 6, 8, 10];
let found = null;  // controls JSON of what was obtained, with levels when they were measured
let ink = {};

function colours() {
  const style = getComputedStyle(element.querySelector('.sheet'));
  ink = Object.fromEntries(['ground', 'row', 'line', 'bar', 'text', 'asked', 'found', 'free', 'cursor', 'over']
    .map((name) => [name, style.getPropertyValue(`--lane-${name}`).trim()]));
}

function pen(canvas) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = '12px system-ui, sans-serif';
  context.textBaseline = 'middle';
  return context;
}

function paint() {
  if (!state || !ruler.clientWidth) return;
  colours();
  paintRuler();
  ground('melody', paintMelody);
  ground('dynamics', paintDynamics);
  ground('rhythm', paintRhythm);
  ground('chords', paintChords);
  fields();
  placeHead();
  element.querySelector('.save').href = `data:application/json,${encodeURIComponent(JSON.stringify(state))}`;
}

function ground(kind, draw) {
  const { canvas, section, asked } = lanes[kind], context = pen(canvas), width = canvas.clientWidth, height = canvas.clientHeight;
  context.fillStyle = ink.ground;
  context.fillRect(GUTTER, 0, width - GUTTER, height);
  context.save();
  context.beginPath();
  context.rect(GUTTER, 0, width - GUTTER, height);
  context.clip();
  if (kind === 'melody') {
    for (let pitch = low; pitch < low + rows(); pitch += 1) {
      context.fillStyle = BLACK.includes(pitch % 12) ? ink.row : ink.ground;
      context.fillRect(GUTTER, yOfPitch(canvas, pitch), width, height / rows() + 0.5);
    }
  }
  lines(context, canvas);
  free(context, canvas, kind);
  draw(context, canvas, isAsked(kind));
  cursorOf(context, canvas, kind);
  context.restore();
  scale(context, canvas, kind);
  asked.checked = isAsked(kind);
  section.classList.toggle('off', !isAsked(kind));
  canvas.setAttribute('aria-label', `${inWords(kind)}`);
  const about = section.querySelector('.about');
  if (about) about.textContent = short(kind);
}

function lines(context, canvas) {
  const sixteenth = xOf(canvas, later(from, 0.25)) - xOf(canvas, from), height = canvas.clientHeight;
  bars().forEach(({ quarter, metre }) => {
    const every = sixteenth >= 7 ? 0.25 : metre.beat;
    for (let at = 0; at < metre.quarters - 1e-6; at += every) {
      const second = secondsAt(quarter + at);
      if (second < from - 1e-6 || second > Math.min(from + span(), state.length)) continue;
      const onBeat = Math.abs(at / metre.beat - Math.round(at / metre.beat)) < 1e-6;
      context.fillStyle = at < 1e-6 ? ink.bar : ink.line;
      context.globalAlpha = at < 1e-6 || onBeat ? 1 : 0.45;
      context.fillRect(xOf(canvas, second) - (at < 1e-6 ? 0.75 : 0.5), 0, at < 1e-6 ? 1.5 : 1, height);
    }
  });
  context.globalAlpha = 1;
}

function free(context, canvas, kind) {
  const bound = !content(kind) ? [] : spansOf(kind) || [[0, state.length]];
  let now = 0;
  [...bound, [state.length, state.length]].forEach(([start, end]) => {
    if (start > now + 1e-9) hatch(context, canvas, xOf(canvas, now), xOf(canvas, start));
    now = end;
  });
}

function hatch(context, canvas, left, right) {
  const height = canvas.clientHeight;
  context.save();
  context.beginPath();
  context.rect(left, 0, right - left, height);
  context.clip();
  context.fillStyle = ink.free;
  context.globalAlpha = 0.35;
  context.fillRect(left, 0, right - left, height);
  context.globalAlpha = 0.8;
  context.strokeStyle = ink.free;
  context.lineWidth = 1;
  context.beginPath();
  for (let x = Math.max(left, GUTTER) - height - (Math.max(left, GUTTER) % 9); x < Math.min(right, canvas.clientWidth); x += 9) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.stroke();
  context.restore();
}

function paintMelody(context, canvas, on) {
  const height = canvas.clientHeight / rows();
  context.globalAlpha = on ? 1 : 0.4;
  (state.melody || []).forEach((note) => {
    const left = xOf(canvas, note.start), width = Math.max(xOf(canvas, note.end) - left - 1, 2);
    context.fillStyle = ink.asked;
    context.fillRect(left, yOfPitch(canvas, note.pitch) + 0.5, width, height - 1);
    if (height >= 11 && width >= 26) {
      context.fillStyle = ink.over;
      context.fillText(noteName(note.pitch), left + 4, yOfPitch(canvas, note.pitch) + height / 2);
    }
    if (note.pitch < low || note.pitch >= low + rows()) {  // beyond the octaves shown: a mark at the border
      context.fillStyle = ink.asked;
      context.fillRect(left, note.pitch < low ? canvas.clientHeight - 3 : 0, width, 3);
    }
  });
  context.globalAlpha = 1;
  context.strokeStyle = ink.found;
  context.lineWidth = 2;
  context.setLineDash([4, 2]);
  ((found && found.melody) || []).forEach((note) => {
    const left = xOf(canvas, note.start);
    context.strokeRect(left + 1, yOfPitch(canvas, note.pitch) + 1.5, Math.max(xOf(canvas, note.end) - left - 3, 2), Math.max(height - 3, 2));
  });
  context.setLineDash([]);
}

function curve(context, canvas, points, colour, dash) {
  if (!points || !points.length) return;
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(xOf(canvas, 0), yOfLevel(canvas, points[0][1]));
  points.forEach(([second, level]) => context.lineTo(xOf(canvas, second), yOfLevel(canvas, level)));
  context.lineTo(xOf(canvas, state.length), yOfLevel(canvas, points[points.length - 1][1]));
  context.stroke();
  context.setLineDash([]);
}

function paintDynamics(context, canvas, on) {
  context.fillStyle = ink.line;
  [-20, -40].forEach((level) => context.fillRect(GUTTER, yOfLevel(canvas, level), canvas.clientWidth, 1));
  context.globalAlpha = on ? 1 : 0.4;
  curve(context, canvas, state.dynamics, ink.asked, []);
  const points = state.dynamics || [];
  if (points.length < 80) {
    context.fillStyle = ink.asked;
    points.forEach(([second, level]) => {
      context.beginPath();
      context.arc(xOf(canvas, second), yOfLevel(canvas, level), 3.5, 0, 7);
      context.fill();
    });
  }
  context.globalAlpha = 1;
  curve(context, canvas, found && found.dynamics, ink.found, [5, 3]);
}

function paintRhythm(context, canvas, on) {
  const height = canvas.clientHeight;
  context.globalAlpha = on ? 1 : 0.4;
  if (state.grid) {
    bars().forEach(({ quarter, metre }) => {
      for (let n = 0; n < metre.beats; n += 1) {
        const second = secondsAt(quarter + n * metre.beat);
        if (second < -1e-9 || second > state.length - 1e-9) continue;
        context.fillStyle = ink.asked;
        context.fillRect(xOf(canvas, second) - 1.5, n ? height * 0.45 : height * 0.12, 3, n ? height * 0.5 : height * 0.83);
      }
    });
  }
  context.globalAlpha = 1;
  if (found && found.beats) {
    context.fillStyle = ink.found;
    found.beats.forEach((second) => {
      const x = xOf(canvas, second);
      context.beginPath();
      context.moveTo(x - 4, 1);
      context.lineTo(x + 4, 1);
      context.lineTo(x, 9);
      context.fill();
    });
  }
}

function paintChords(context, canvas, on) {
  const height = canvas.clientHeight, both = found && found.chords && found.chords.length;
  const strip = (chords, top, tall, colour, dashed) => chords.forEach((chord) => {
    const left = xOf(canvas, chord.start), width = xOf(canvas, chord.end) - left;
    context.lineWidth = 1.5;
    context.strokeStyle = colour;
    context.fillStyle = colour;
    context.globalAlpha = dashed || !on ? 0.12 : 0.22;
    context.fillRect(left + 1, top, width - 2, tall);
    context.globalAlpha = on || dashed ? 1 : 0.4;
    context.setLineDash(dashed ? [4, 2] : []);
    context.strokeRect(left + 1, top, Math.max(width - 2, 1), tall);
    context.setLineDash([]);
    if (!dashed && selected !== null && Math.abs(chord.start - selected) < 1e-6) { context.lineWidth = 3; context.strokeRect(left + 1, top, width - 2, tall); }
    context.fillStyle = ink.text;
    const words = chordName(chord.chord);
    if (context.measureText(words).width < width - 4) context.fillText(words, left + 5, top + tall / 2);
    context.globalAlpha = 1;
  });
  strip(state.chords || [], 2, both ? height / 2 - 3 : height - 4, ink.asked, false);
  if (both) strip(found.chords, height / 2 + 1, height / 2 - 3, ink.found, true);
}

function scale(context, canvas, kind) {
  context.fillStyle = ink.text;
  context.textAlign = 'right';
  if (kind === 'melody') {
    for (let pitch = low; pitch < low + rows(); pitch += 1) {
      if (pitch % 12 === 0 || (pitch % 12 === 7 && rows() <= 24)) context.fillText(noteName(pitch), GUTTER - 5, yOfPitch(canvas, pitch) + canvas.clientHeight / rows() / 2);
    }
  } else if (kind === 'dynamics') {
    [[0, 5], [-20, 0], [-40, 0], [-60, -5]].forEach(([level, by]) => context.fillText(level ? `${level}`.replace('-', '−') : '0 dB', GUTTER - 5, yOfLevel(canvas, level) + by));
  }
  context.textAlign = 'left';
}

function paintRuler() {
  const context = pen(ruler);
  context.fillStyle = ink.text;
  let last = -100;
  bars().forEach(({ quarter }, n) => {
    const x = xOf(ruler, Math.max(secondsAt(quarter), 0));
    if (x < GUTTER - 1 || x - last < 26 || x > ruler.clientWidth - 8) return;
    context.fillText(`${n + 1}`, x + 2, 8);
    last = x;
  });
  context.textAlign = 'right';
  context.fillText('bar', GUTTER - 5, 8);
  context.textAlign = 'left';
}

// The fields of the rhythm lane follow the grid, unless somebody is typing in them.
function fields() {
  const { section } = lanes.rhythm, grid = state.grid;
  const put = (name, value) => { const field = section.querySelector(name); if (document.activeElement !== field) field.value = value; };
  put('.bpm', grid ? Math.round(100 * bpmOf()) / 100 : '');
  put('.bars', grid ? bars().length : '');
  const metre = section.querySelector('.metre'), name = gridOf().metres[0].metre;
  if (![...metre.options].some((option) => option.value === name)) metre.add(new Option(name));
  metre.value = name;
  element.querySelector('[data-do=undo]').disabled = !past.length;
  element.querySelector('[data-do=redo]').disabled = !future.length;
}

const count = (number, word) => `${number} ${word}${number === 1 ? '' : 's'}`;

function short(kind) {
  if (!content(kind)) return 'not asked: the model decides';
  if (!isAsked(kind)) return 'left free: the model decides';
  if (kind === 'melody') return state.melody.length ? count(state.melody.length, 'note') : 'asked: no melody';
  return count(state.dynamics.length, 'point');
}

function inWords(kind) {
  const name = `${kind[0].toUpperCase()}${kind.slice(1)} lane`;
  if (!isAsked(kind)) return `${name}, left to the model`;
  if (kind === 'rhythm') return `${name}, ${Math.round(100 * bpmOf()) / 100} beats a minute in ${gridOf().metres[0].metre}`;
  if (kind === 'chords') return `${name}, ${state.chords.map((chord) => chordName(chord.chord)).join(' ')}`.slice(0, 300);
  return `${name}, ${short(kind)}`;
}
