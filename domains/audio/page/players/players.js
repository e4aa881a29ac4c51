// Players of takes, or of what is asked: one sounds at a time; A/B goes on in the other take at the same moment.
// The value is JSON from the server: {empty, takes: [{name, src, volume, line, found, near}], play, clears}.
// Other parts of the page hear of it by events of the window: audio-time (seconds), audio-found, audio-melody.
const list = element.querySelector('.takes'), compare = element.querySelector('.compare');
const [first, second] = [element.querySelector('.first'), element.querySelector('.second')];
const equal = element.querySelector('.equal'), looping = element.querySelector('.looping');
let data = null, current = 0, frame = null;

const sounds = () => [...list.querySelectorAll('audio')];
const tell = (name, detail) => window.dispatchEvent(new CustomEvent(name, { detail }));

function show() {
  try { data = props.value ? JSON.parse(props.value) : null; } catch { data = null; }
  const takes = data ? data.takes : [];
  element.querySelector('.empty').textContent = data ? data.empty : '';
  list.replaceChildren(...takes.map(card));
  compare.hidden = !takes.length;
  compare.classList.toggle('single', takes.length < 2);
  [first, second].forEach((choice, n) => {
    choice.replaceChildren(...takes.map((take, k) => new Option(take.name, String(k))));
    choice.value = String(Math.min(n, Math.max(takes.length - 1, 0)));
  });
  loudness();
  if (takes.some((take) => take.found)) pick(0);
  else if (data && data.clears) tell('audio-found', null);
  if (data && data.play && takes.length) sounds()[0].play().catch(() => {});
}

function card(take, k) {
  const item = document.createElement('li');
  item.innerHTML = '<div class="take-head"><h4></h4><p class="line"></p></div><audio controls preload="auto"></audio><div class="acts"></div>';
  item.querySelector('h4').textContent = take.name;
  item.querySelector('.line').textContent = take.line;
  const audio = item.querySelector('audio');
  audio.src = take.src;
  audio.setAttribute('aria-label', take.name);
  audio.loop = looping.checked;
  audio.addEventListener('play', () => {
    document.querySelectorAll('.players audio').forEach((other) => { if (other !== audio) other.pause(); });
    pick(k);
    follow(audio);
  });
  audio.addEventListener('pause', () => { cancelAnimationFrame(frame); });
  audio.addEventListener('ended', () => tell('audio-time', null));
  audio.addEventListener('seeked', () => tell('audio-time', audio.currentTime));
  const acts = item.querySelector('.acts');
  const button = (words, act) => {
    const made = document.createElement('button');
    made.type = 'button';
    made.textContent = words;
    made.addEventListener('click', act);
    acts.append(made);
  };
  if (take.found) button('Show its curves', () => pick(k));
  if (take.found && take.found.melody.length) button('Use as melody', () => tell('audio-melody', take.found.melody));
  if (take.near) button('More like this', () => trigger('select', { take: k }));
  return item;
}

function follow(audio) {
  cancelAnimationFrame(frame);
  const step = () => { tell('audio-time', audio.currentTime); if (!audio.paused) frame = requestAnimationFrame(step); };
  step();
}

// The take whose curves lie over the lanes.
function pick(k) {
  current = k;
  [...list.children].forEach((item, n) => item.toggleAttribute('data-shown', n === k && Boolean(data.takes[n].found)));
  if (data.takes[k].found) tell('audio-found', data.takes[k].found);
}

function loudness() {
  sounds().forEach((audio, k) => {
    audio.volume = equal.checked ? data.takes[k].volume : 1;
    audio.loop = looping.checked;
  });
}

element.querySelector('.swap').addEventListener('click', () => {
  const all = sounds(), now = all[current], to = Number(String(current) === first.value ? second.value : first.value);
  const at = now.currentTime;
  now.pause();
  all[to].currentTime = Math.min(at, all[to].duration || at);
  all[to].play().catch(() => {});
  pick(to);
});
equal.addEventListener('change', loudness);
looping.addEventListener('change', loudness);
watch('value', show);
show();
