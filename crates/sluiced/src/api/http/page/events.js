// Events of the last hour, newest first.

/** Most that are drawn. */
const EVENTS = 200;
const SEVERITIES = ['info', 'warning', 'error'];
const EVENT_KINDS = { info: 'plain', warning: 'warn', error: 'bad' };

class Events {
  constructor(node, select) {
    Object.assign(this, { node, select });
    select.addEventListener('change', () => this.draw(this.model));
  }

  draw(model) {
    this.model = model;
    const least = SEVERITIES.indexOf(this.select.value);
    if (this.drawn === model.events && this.least === least) return;
    Object.assign(this, { drawn: model.events, least });
    const listed = model.events.filter(({ severity }) => SEVERITIES.indexOf(severity) >= least).reverse();
    const rows = listed.slice(0, EVENTS).map(eventRow);
    const more = listed.length - rows.length;
    if (more > 0) rows.push(el('li', { class: 'fine' }, `${number(more, 'older event')} not shown.`));
    if (rows.length === 0) rows.push(el('li', { class: 'fine' }, 'None.'));
    this.node.replaceChildren(...rows);
  }
}

function eventRow({ at, kind, severity, service, backend, text: what }) {
  const state = saying('severity');
  say(state, { word: severity === 'info' ? kind : `${kind}, ${severity}`, kind: EVENT_KINDS[severity] });
  const about = [service, backend].filter((name) => name !== null).join('/');
  return el(
    'li', {},
    el('time', { class: 'num', datetime: at, title: at }, timeOfDay(at)), state,
    el('p', {}, ...(about === '' ? [] : [el('b', { class: 'mono' }, about), ' ']), what),
  );
}
