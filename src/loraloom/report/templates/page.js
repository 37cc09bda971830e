// The page is whole without its script, which adds to it: a theme, copying, what `board.js` does, and pointing at the
// points of pictures. Text from a run is only ever set as text.

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// -- theme ---------------------------------------------------------------------------------------------------------

const kept = (value) => {  // a browser may keep nothing for a file
  try {
    if (value) localStorage.setItem('loraloom-theme', value);
    return localStorage.getItem('loraloom-theme');
  } catch { return null; }
};

const addTheme = () => {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const isDark = () => (root.dataset.theme ?? (system.matches ? 'dark' : 'light')) === 'dark';
  const button = make('button', { type: 'button', class: 'button theme' });
  const say = () => { button.textContent = isDark() ? 'Light' : 'Dark'; button.setAttribute('aria-label', `${button.textContent} colours`); };
  if (['light', 'dark'].includes(kept())) root.dataset.theme = kept();
  button.addEventListener('click', () => { root.dataset.theme = isDark() ? 'light' : 'dark'; kept(root.dataset.theme); say(); });
  system.addEventListener('change', say);
  say();
  document.querySelector('header').append(button);
};

// -- copying -------------------------------------------------------------------------------------------------------

const copy = async (pre) => {
  try { await navigator.clipboard.writeText(pre.textContent); } catch {
    getSelection().selectAllChildren(pre);
    document.execCommand('copy');
  }
};

const addCopying = (root) => {
  for (const pre of all('pre.copy', root)) {
    if (pre.previousElementSibling?.matches('.copy-button')) continue;
    const button = make('button', { type: 'button', class: 'button copy-button' }, 'Copy');
    button.append(make('span', { class: 'unseen' }, `: ${pre.getAttribute('aria-label')}`));
    button.addEventListener('click', async () => {
      await copy(pre);
      button.firstChild.data = 'Copied';
      setTimeout(() => { button.firstChild.data = 'Copy'; }, 1500);
    });
    pre.parentElement.classList.add('copied');
    pre.before(button);
  }
};

// -- what goes on beyond an edge ---------------------------------------------------------------------------------------

const edged = new WeakSet();
const addEdges = (root) => {  // a fade where something can be scrolled on, and a place for the keyboard
  for (const region of all('.scroll, .slides, pre', root)) {
    if (edged.has(region)) continue;
    edged.add(region);
    const look = () => {
      const left = region.scrollWidth - region.clientWidth - region.scrollLeft;
      region.classList.toggle('more', left > 2);
      if (left > 2) region.tabIndex = 0;
    };
    region.addEventListener('scroll', look, { passive: true });
    new ResizeObserver(look).observe(region);
    look();
  }
};

// -- points of pictures ----------------------------------------------------------------------------------------------

const addPointing = (svg, open) => {
  const marks = all('.mark', svg);
  if (!marks.length) return;
  const tip = document.querySelector('.tip') ?? document.body.appendChild(make('div', { class: 'tip', 'aria-hidden': 'true', hidden: '' }));
  svg.setAttribute('role', 'group');
  for (const mark of marks) {
    const title = mark.querySelector('title');
    mark.setAttribute('role', 'img');
    mark.setAttribute('aria-label', title.textContent);
    mark.setAttribute('tabindex', '-1');
    title.remove();
  }
  const centre = (mark) => {
    const box = mark.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  let current = null;
  const point = (mark) => {
    current?.classList.remove('on');
    current = mark;
    tip.hidden = !mark;
    if (!mark) return;
    mark.classList.add('on');
    tip.textContent = mark.getAttribute('aria-label');
    const [x, y] = centre(mark);
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(12, Math.min(innerWidth - box.width - 12, x - box.width / 2))}px`;
    tip.style.top = `${y - box.height - 14 > 8 ? y - box.height - 14 : y + 14}px`;
  };
  const nearest = (event) => {
    let found = null, least = 26;
    for (const mark of marks) {
      const [x, y] = centre(mark);
      const far = Math.hypot(event.clientX - x, event.clientY - y);
      if (far < least) [found, least] = [mark, far];
    }
    return found;
  };
  const byPlace = [...marks].sort((one, other) => centre(one)[0] - centre(other)[0] || centre(other)[1] - centre(one)[1]);
  byPlace[0].setAttribute('tabindex', '0');
  const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  svg.addEventListener('pointermove', (event) => { const mark = nearest(event); if (mark !== current) point(mark); });
  svg.addEventListener('pointerleave', () => point(null));
  svg.addEventListener('focusin', (event) => point(event.target.closest('.mark')));
  svg.addEventListener('focusout', () => point(null));
  svg.addEventListener('click', (event) => { const mark = nearest(event); if (mark) open?.(mark.dataset.trial); });
  svg.addEventListener('keydown', (event) => {
    const mark = event.target.closest('.mark');
    if (!mark) return;
    const at = byPlace.indexOf(mark);
    const to = event.key === 'Home' ? 0 : event.key === 'End' ? byPlace.length - 1 : moves[event.key] ? at + moves[event.key] : null;
    if (event.key === 'Escape') point(null);
    else if (event.key === 'Enter') open?.(mark.dataset.trial);
    else if (byPlace[to]) {
      mark.setAttribute('tabindex', '-1');
      byPlace[to].setAttribute('tabindex', '0');
      byPlace[to].focus({ preventScroll: true });
    } else return;
    event.preventDefault();
  });
  addEventListener('scroll', () => { if (current) point(current); }, { passive: true });
  svg.parentElement.classList.add('reads');
};

// -- what the reader has opened ----------------------------------------------------------------------------------------

const stay = (what) => history.replaceState({ ...history.state, ...what }, '');

const addStaying = () => {  // the page may be loaded anew, by its reader or by loraloom watch
  const folded = [];
  for (const section of all('main > section')) {
    all('details', section).filter((each) => !each.closest('.opened-rows, .rest')).forEach((each, order) => folded.push([`${section.id} ${order}`, each]));
  }
  const keep = () => stay({ folded: folded.map(([name, each]) => [name, each.open]) });
  const before = new Map(history.state?.folded ?? []);
  for (const [name, each] of folded) {
    if (before.has(name)) each.open = before.get(name);
    each.addEventListener('toggle', keep);
  }
  addEventListener('hashchange', keep);  // which is another entry of the history, without a state
};

// -- where the reader is -----------------------------------------------------------------------------------------------

const addFollowing = () => {
  const links = new Map(all('nav a').map((link) => [link.hash.slice(1), link]));
  const sections = all('main > section');
  const near = new Set();  // those at the height that is read
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) isIntersecting ? near.add(target) : near.delete(target);
    for (const link of links.values()) link.removeAttribute('aria-current');
    const bar = document.querySelector('nav ol');  // of a narrow screen, beyond which the link may lie
    const link = links.get(sections.findLast((section) => near.has(section))?.id);  // none above the first section
    link?.setAttribute('aria-current', 'true');
    bar.scrollLeft = link ? link.offsetLeft - (bar.clientWidth - link.offsetWidth) / 2 : 0;
  }, { rootMargin: '-15% 0px -75% 0px' });
  for (const section of sections) watch.observe(section);
};

addTheme();
addStaying();
const table = document.querySelector('table.board');
const open = table ? addBoard(table) : null;
addCopying(document);
addEdges(document);
for (const svg of all('svg.plot')) addPointing(svg, open);
addFollowing();
const toRow = () => { if (/^#row-\d+$/.test(location.hash)) open?.(location.hash.slice(5)); };
addEventListener('hashchange', toRow);
toRow();
