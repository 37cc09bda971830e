// The leaderboard: sorting, filtering and opening its rows, and drawing what is opened. Text from a run is only ever set as
// text. `page.js` follows in the same function, and has what is not defined here.

const MOST = 100;  // rows shown at once: ten thousand of them in one table would not scroll

const ESCAPED = /[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff]/g;
const written = (value) =>
  JSON.stringify(value).replace(ESCAPED, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`);

const recipeText = (base, names, values) => {  // as row_recipes.py: recipe_text
  const whole = new Map(Object.entries(base).map(([name, given]) =>
    [name, given instanceof Object ? new Map(Object.entries(given)) : given]));
  names.forEach((name, at) => {
    const [section, field] = name.split('.');
    if (!whole.has(section)) whole.set(section, new Map());
    whole.get(section).set(field, values[at]);
  });
  const lines = [];
  for (const [section, fields] of whole) {
    if (fields instanceof Map && fields.size === 0) continue;
    if (fields instanceof Map) {
      lines.push(`${section}:`);
      for (const [field, value] of fields) lines.push(`  ${field}: ${written(value)}`);
    } else lines.push(`${section}: ${written(fields)}`);
  }
  return `${lines.join('\n')}\n`;
};

// What rows beyond the first draw, from the figures that packed_rows.py left: as board.html.jinja draws the first ones.

const unpacked = async (text) => {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'))).text());
};

const draw = (tag, attributes, ...children) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
// Python has ties, which of three decimals odd sixteenths alone are, of two odd eighths and so on, go to the even digit.
const even = (figure, parts) => figure * parts % 4 === 1 ? figure * (1 - Number.EPSILON) : figure;
const loss = (figure) => even(figure, 16).toFixed(3);  // as wording.py: loss
const share = (figure) => {  // as wording.py: share
  const text = loss(figure);
  if (text === '0.000' && figure > 0) return '<0.001';
  return text === '1.000' && figure < 1 ? '>0.999' : text;
};
const short = (epoch) => String(Number(even(epoch, epoch < 1 ? 16 : epoch < 10 ? 8 : epoch < 100 ? 4 : 2).toPrecision(3)));
const passes = (epochs) => String(Number(even(epochs, 8).toFixed(2)));  // as wording.py: passes

const drawnSketch = (trial, title, lines, at, best) => {  // `at`: where a line has the figures of training and validation
  const [train, validation] = at.map((place) => lines.filter((line) => line[0] !== null && line[place] !== null).map((line) => [line[0], line[place]]));
  if (!validation.length) return [];
  const [epochs, values] = [0, 1].map((place) => [...train, ...validation].map((point) => point[place]));
  const [left, right, low, high] = [Math.min(...epochs), Math.max(...epochs), Math.min(...values), Math.max(...values)];
  const [width, height] = [142, 74];
  const spot = ([x, y]) => [
    (right > left ? (x - left) * width / (right - left) : width / 2).toFixed(1),
    (high > low ? height - (y - low) * height / (high - low) : height).toFixed(1)];
  const path = (points) => `M${points.map((point) => spot(point).join(' ')).join('L')}`;
  const most = validation.reduce((one, other) => best(one[1], other[1]) === one[1] ? one : other);
  const last = validation.at(-1);
  const told = best === Math.min ? loss : share;
  const sentence = `${title} of trial ${trial} over ${validation.length} evaluation${validation.length > 1 ? 's' : ''}: on validation `
    + `${best === Math.min ? 'lowest' : 'highest'} at epoch ${passes(most[0])} (${told(most[1])}), ${told(last[1])} at the end.`;
  const id = `sketch-${trial}-${title.toLowerCase()}`;
  const say = (text, x, y, kind) => draw('text', { x, y, ...(kind && { class: kind }) }, text);
  return [draw('svg', { class: 'sketch', viewBox: '0 0 196 112', role: 'img', 'aria-labelledby': id, focusable: 'false' },
    draw('title', { id }, sentence),
    draw('g', { transform: 'translate(44 18)' },
      draw('path', { class: 'frame', d: `M0 ${height}H${width}M0 0H${width}` }),
      ...(train.length ? [draw('path', { class: 'train', d: path(train) })] : []),
      draw('path', { class: 'validation', d: path(validation) }),
      ...(train.length === 1 ? [draw('circle', { class: 'alone', cx: spot(train[0])[0], cy: spot(train[0])[1], r: 2 })] : []),
      ...validation.filter((point) => point === last || validation.length < 12).map((point) => {
        const [cx, cy] = spot(point);
        return draw('circle', { cx, cy, r: point === last ? 3.2 : 2 });
      }),
      say(title, 0, -7, 'title'), say(told(high), -6, 4, 'end'), say(told(low), -6, height + 3, 'end'),
      ...(left < right ? [say(`epoch ${short(left)}`, 0, height + 15), say(short(right), width, height + 15, 'end')]
        : [say(`epoch ${short(left)}`, width / 2, height + 15, 'middle')])))];
};

const smallMatrix = (trial, across, down, counts) => {
  const of = across.length;
  const number = (count) => count.toLocaleString('en');
  const lines = down.map((_, at) => counts.slice(at * of, (at + 1) * of));
  const sum = (values) => values.reduce((one, other) => one + other, 0);
  const wrong = sum(counts) - sum(lines.map((line, at) => line[at]));
  const cell = (count, hit, all) => {
    const part = all ? count / all : 0;
    const tint = (hit ? 45 * part : 50 * part ** 0.6).toFixed(1);
    const made = make('td', { class: hit ? 'hit' : count ? 'miss' : 'zero' }, number(count));
    made.style.setProperty('--v', tint);
    return made;
  };
  return make('div', { class: `scroll compact${[...across.join('')].length + 3 * across.length > 42 ? ' across' : ''}`, role: 'region', 'aria-label': `Confusion of trial ${trial} on validation`, tabindex: '0' },
    make('table', { class: 'matrix small' },
      make('caption', {}, make('span', {}, `${number(wrong)} of ${number(sum(counts))} validation row${sum(counts) === 1 ? '' : 's'} wrong: true class down, predicted across.`)),
      make('thead', {}, make('tr', {}, make('th', { scope: 'col' }, 'true ↓'),
        ...across.map((label) => make('th', { scope: 'col', class: 'number' }, make('bdi', {}, label))))),
      make('tbody', {}, ...lines.map((line, at) => make('tr', {}, make('th', { scope: 'row', class: 'cell' }, make('bdi', {}, down[at])),
        ...line.map((count, place) => cell(count, place === at, sum(line))))))));
};

const NUMBER = /^[<>]?([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)(?:\s|$)/i;
const keyOf = (cell) => {  // null is sorted last
  const text = cell.dataset.s ?? (cell.firstChild?.nodeType === 3 ? cell.firstChild.data : cell.textContent);
  const number = NUMBER.exec(text.trim());
  if (number) return parseFloat(number[1].replaceAll(',', ''));
  return text.trim() === '' || text.trim() === '–' ? null : text.trim();
};
const compare = (a, b) => {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a !== typeof b) return typeof a === 'number' ? -1 : 1;
  return a.localeCompare(b, undefined, { numeric: true });
};

const addBoard = (table) => {
  const region = table.parentElement;
  const section = table.closest('section');
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const titles = heads.map((head) => (head.lastChild?.textContent ?? '').trim().toLowerCase());
  const names = JSON.parse(table.dataset.names);
  const base = JSON.parse(table.dataset.base);
  const same = new Map(JSON.parse(table.dataset.same).map(([name, value]) => [name.split('.').at(-1).toLowerCase(), value.toLowerCase()]));
  const inAll = [...same].flat().join(' ');
  const rest = section.querySelector('details.rest');
  const opened = new Map(all('.opened-rows > details', section).map((each) => [each.id, each]));
  const rows = all('table.board > tbody > tr', section).map((line, order) => ({ line, order, keys: [] }));
  for (const row of rows) row.line.classList.add('row');
  const find = new Map(rows.map((row) => [row.line.dataset.trial, row]));
  rest?.remove();
  section.querySelector('.opened-rows')?.setAttribute('hidden', '');

  let matching = rows;
  let from = 0;
  let sorted = { column: 0, down: false };
  const last = history.state?.board;
  const keep = () => {  // for where the page is loaded anew, by its reader or by loraloom watch
    const open = rows.filter((row) => row.detail).map((row) => row.line.dataset.trial);
    const title = heads[sorted.column].textContent;  // a run that grows has other columns
    stay({ board: { title, down: sorted.down, from, open, words: input.value, typing: document.activeElement === input } });
  };
  addEventListener('hashchange', keep);  // which is another entry of the history, without a state

  const input = make('input', { type: 'search', placeholder: 'Filter, as in: muon r=16', 'aria-label': 'Filter the rows', 'aria-describedby': 'filter-hint', autocomplete: 'off', spellcheck: 'false' });
  const status = make('p', { role: 'status' });
  const hint = make('span', { id: 'filter-hint', class: 'unseen' }, 'Words that a row must hold; column=value for an exact value, column="value" where it has spaces.');
  region.before(make('div', { class: 'finder' }, input, status, hint));
  const before = make('button', { type: 'button', class: 'button' }, `Previous ${MOST}`);
  const after = make('button', { type: 'button', class: 'button' }, `Next ${MOST}`);
  const pages = make('div', { class: 'pages' }, before, after);
  region.after(pages);

  const key = (row, column) => (row.keys[column] ??= { is: column ? keyOf(row.line.cells[column]) : row.order }).is;

  const show = () => {
    const fragment = document.createDocumentFragment();
    const shown = matching.slice(from, from + MOST);
    for (const row of shown) {
      addButton(row);
      fragment.append(row.line);
      if (row.detail) fragment.append(row.detail);
    }
    body.replaceChildren(fragment);
    const count = (number) => number.toLocaleString('en');
    const part = shown.length < matching.length;
    status.textContent = (matching.length === rows.length ? '' : `${count(matching.length)} of `)
      + `${count(rows.length)} row${rows.length === 1 ? '' : 's'}`
      + (part ? `, ${count(from + 1)} to ${count(from + shown.length)} shown` : '');
    pages.hidden = !part;
    before.disabled = from === 0;
    after.disabled = from + MOST >= matching.length;
    keep();
  };

  const order = () => {
    const { column, down } = sorted;
    matching = [...matching].sort((one, other) => {
      const [a, b] = [key(one, column), key(other, column)];
      if (a === null || b === null) return (a === null) - (b === null) || one.order - other.order;
      return (down ? -compare(a, b) : compare(a, b)) || one.order - other.order;
    });
    heads.forEach((head, at) => at === column ? head.setAttribute('aria-sort', down ? 'descending' : 'ascending') : head.removeAttribute('aria-sort'));
  };

  const filter = () => {
    const words = input.value.toLowerCase().match(/[^\s="]+="[^"]*"|\S+/g) ?? [];
    matching = rows.filter((row) => words.every((word) => {
      const [typed, value] = word.split('=');
      const name = typed.split('.').at(-1);  // an axis may be named whole: lora.r
      const column = value ? titles.indexOf(name) : -1;
      if (column >= 0) return row.line.cells[column].firstChild.textContent.trim().toLowerCase() === value.replaceAll('"', '');
      if (value && same.has(name)) return same.get(name) === value.replaceAll('"', '');
      row.text ??= `${row.line.textContent.toLowerCase()} ${inAll}`;
      return row.text.includes(word);
    }));
    from = 0;
    order();
    show();
  };

  const template = section.querySelector('#row-template');
  let packed;

  const drawInto = async (content, trial) => {
    const note = (text) => make('p', { class: 'note across' }, text);
    if (!('DecompressionStream' in globalThis)) {
      content.querySelector('.told').replaceWith(note('Its curves and its confusion are packed, which takes a browser of 2023 or later to open.'));
      return;
    }
    packed ??= unpacked(template.dataset.packed);
    const { across, down, why, trials } = await packed;
    const [lines, counts] = trials[trial];
    const sketches = [...drawnSketch(trial, 'Loss', lines, [1, 3], Math.min), ...drawnSketch(trial, 'Accuracy', lines, [2, 4], Math.max)];
    if (sketches.length) content.querySelector('.sketches').append(...sketches);
    else content.querySelector('.told').remove();
    content.append(counts ? smallMatrix(trial, across, down, counts) : note(why));
    addEdges(content);
  };

  const detailOf = (row) => {
    const trial = row.line.dataset.trial;
    const drawn = opened.get(`row-${trial}`)?.querySelector('.opened');
    if (drawn) return drawn;
    const content = template.content.firstElementChild.cloneNode(true);
    content.querySelector('code:not(p code)').textContent = recipeText(base, names, JSON.parse(row.line.dataset.v));
    drawInto(content, trial);
    return content;
  };

  const addButton = (row) => {
    if (row.button) return;
    const head = row.line.cells[0];
    const link = head.firstChild;
    const text = link.textContent.trim();
    row.button = make('button', { type: 'button', class: 'open', 'aria-expanded': 'false', 'aria-label': `${text === '–' ? 'No rank' : text}: open trial ${row.line.dataset.trial}` }, text);
    row.button.addEventListener('click', (event) => { event.stopPropagation(); toggle(row); });
    row.line.addEventListener('click', (event) => {
      if (!event.target.closest('a, button') && getSelection().isCollapsed) toggle(row);
    });
    link.replaceWith(row.button);
  };

  const toggle = (row, open = !row.detail) => {
    if (open === Boolean(row.detail)) return;
    if (open) {
      row.content ??= detailOf(row);
      row.detail = make('tr', { class: 'detail', id: `detail-${row.line.dataset.trial}` }, make('td', { colspan: heads.length }, row.content));
      row.line.after(row.detail);
      addCopying(row.detail);
      addEdges(row.detail);
      row.button.setAttribute('aria-controls', row.detail.id);
    } else {
      row.detail.remove();
      row.detail = null;
      row.button.removeAttribute('aria-controls');
    }
    row.button.setAttribute('aria-expanded', String(open));
    keep();
  };

  heads.forEach((head, column) => {
    const button = make('button', { type: 'button', class: 'sort' });
    button.append(...head.childNodes);
    button.addEventListener('click', () => {
      const bestFirst = ['accuracy', 'macro-f1'].includes(titles[column]);
      sorted = { column, down: sorted.column === column ? !sorted.down : bestFirst };
      from = 0;
      order();
      show();
    });
    head.append(button);
  });
  let waiting;
  input.addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(filter, rows.length > 500 ? 120 : 0); });
  const turn = (by) => {
    from += by;
    show();
    region.scrollIntoView({ block: 'nearest' });
    if (document.activeElement?.disabled || document.activeElement === document.body) (by > 0 ? before : after).focus({ preventScroll: true });
  };
  for (const kind of ['focus', 'blur']) input.addEventListener(kind, keep);
  before.addEventListener('click', () => turn(-MOST));
  after.addEventListener('click', () => turn(MOST));
  order();
  show();

  if (last) {
    const column = heads.findIndex((head) => head.textContent === last.title);
    if (column >= 0) sorted = { column, down: last.down };
    input.value = last.words;
    filter();
    if (last.from < matching.length) from = last.from;
    for (const row of last.open.map((trial) => find.get(trial)).filter(Boolean)) {
      addButton(row);
      toggle(row, true);
    }
    show();
    if (last.typing) {
      input.focus({ preventScroll: true });
      input.setSelectionRange(input.value.length, input.value.length);
      keep();
    }
  }

  return (trial) => {  // opens the row of a trial, wherever it is
    const row = find.get(trial);
    if (!row) return;
    if (!matching.includes(row)) { input.value = ''; filter(); }
    const page = MOST * Math.floor(matching.indexOf(row) / MOST);
    if (page !== from) { from = page; show(); }
    toggle(row, true);
    row.line.scrollIntoView({ block: 'center' });
    row.button.focus({ preventScroll: true });
  };
};
