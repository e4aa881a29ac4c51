// The pictures of a run, enlarged with hard pixels, with the edges asked for or found laid over them.
// The value is JSON from the server: {empty, pictures: [{src, alt, title, marks, found}], asked}. Nothing is fetched.
const list = element.querySelector('.pictures'), overlay = element.querySelector('.overlay');
const choice = element.querySelector('select'), opacity = element.querySelector('input');
let data = null;

function show() {
  try { data = props.value ? JSON.parse(props.value) : null; } catch { data = null; }
  const pictures = data ? data.pictures : [];
  element.querySelector('.empty').textContent = data ? data.empty : '';
  while (list.children.length > pictures.length) list.lastChild.remove();
  pictures.forEach((picture, k) => {
    let item = list.children[k];
    if (!item) {
      item = document.createElement('li');
      item.innerHTML = '<figure><div class="frame"><img class="picture" alt=""><img class="lines" alt="" hidden></div>'
        + '<figcaption></figcaption></figure>';
      list.append(item);
    }
    const image = item.querySelector('.picture');
    if (image.src !== picture.src) image.src = picture.src;
    image.alt = picture.alt;
    item.querySelector('figcaption').textContent = picture.title;
  });
  list.classList.toggle('single', pictures.length === 1);
  list.classList.toggle('many', pictures.length > 4);
  overlay.hidden = !pictures.length || Boolean(data.running);
  choice.options[1].disabled = !data || !data.asked;
  if (choice.selectedOptions[0].disabled) choice.value = 'none';
  lay();
}

function lay() {
  const pictures = data ? data.pictures : [];
  pictures.forEach((picture, k) => {
    const lines = list.children[k].querySelector('.lines');
    const src = overlay.hidden ? '' : { asked: data.asked, found: picture.found }[choice.value] || '';
    lines.hidden = !src;
    if (src) lines.src = src;
    lines.style.opacity = opacity.value;
  });
}

choice.addEventListener('change', lay);
opacity.addEventListener('input', lay);
watch('value', show);
show();
