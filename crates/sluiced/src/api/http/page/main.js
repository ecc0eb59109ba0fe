// Connects the parts: data are processed at once, and drawn at most once per frame.

/** Above so many services only backends with problems are drawn unless the reader wants all. */
const UNFOLDED = 200;

const model = new Model();
const filter = { words: [], problems: false, unfolded: true };
const list = new List(byId('list'), model, filter);
const summary = new Summary();
const events = new Events(byId('events'), byId('severity'));
let due = false;
let choseFolding = false;

list.redraw = () => {
  list.resized();
  drawList();
};

text(byId('where'), location.host);
new Live('api/v1/live', {
  status: (status) => {
    model.status(status);
    if (!choseFolding) byId('unfolded').checked = filter.unfolded = status.services.length <= UNFOLDED;
    list.resized();
    soon();
  },
  changes: (changes) => {
    model.changes(changes);
    announce(changes.events);
    soon();
  },
  lost: () => {
    model.lost();
    soon();
  },
});

byId('find').addEventListener('input', ({ target }) => {
  filter.words = target.value.toLowerCase().split(/\s+/).filter((word) => word !== '');
  list.redraw();
});
byId('problems').addEventListener('change', ({ target }) => {
  filter.problems = target.checked;
  list.redraw();
});
byId('unfolded').addEventListener('change', ({ target }) => {
  choseFolding = true;
  filter.unfolded = target.checked;
  list.folded.clear();
  list.redraw();
});
addEventListener('scroll', () => requestAnimationFrame(() => list.draw()), { passive: true });
addEventListener('resize', () => {
  list.resized();
  soon();
});
// Ages and graphs advance without changes.
setInterval(soon, 1000);

function soon() {
  if (due) return;
  due = true;
  requestAnimationFrame(draw);
}

function draw() {
  due = false;
  model.beginFrame();
  drawConnection();
  if (!model.known) return;
  drawColumns();
  summary.draw(model);
  events.draw(model);
  drawList();
}

function drawList() {
  drawFound(list.draw().length);
}

function drawConnection() {
  const lost = model.lostAt !== undefined;
  const live = { word: 'live', kind: 'good' };
  const waiting = { word: 'connecting', kind: 'wait' };
  say(byId('live'), lost ? { word: 'not connected', kind: 'bad' } : model.known ? live : waiting);
  document.body.classList.toggle('stale', lost && model.known);
  const banner = byId('lost');
  banner.hidden = !lost;
  const old = model.known ? 'What you see is as of then and may be old. ' : '';
  text(banner, lost ? `Not connected to sluiced since ${timeOfDay(model.lostAt)}. ${old}Retrying.` : '');
}

/** Columns that nobody counts are left out. */
function drawColumns() {
  for (const column of ['bytes', 'ports']) {
    document.body.classList.toggle(`with-${column}`, model.sorted.some(({ counts }) => counts[column]));
  }
}

function drawFound(shown) {
  const all = model.sorted.length;
  const troubled = model.sorted.filter(({ troubles }) => troubles > 0).length;
  text(byId('problems-count'), whole.format(troubled));
  text(byId('found'), shown === all ? number(all, 'service') : `${whole.format(shown)} of ${number(all, 'service')}`);
  const none = byId('none');
  none.hidden = shown > 0;
  const filtered = filter.words.length > 0 ? 'Nothing matches.' : 'No service has problems.';
  text(none, all === 0 ? 'The configuration has no services.' : filtered);
  const wrong = troubled + (model.table.synced ? 0 : 1) + (model.reload.ok ? 0 : 1) + (model.state.problems.length > 0 ? 1 : 0)
    + (model.followers.some(({ error }) => error !== null) ? 1 : 0)
    + (model.node.left !== null || model.announce.error !== null ? 1 : 0);
  document.title = wrong === 0 ? 'sluice' : `(${whole.format(wrong)}) sluice`;
}

/** Says what went wrong to who does not see it. */
function announce(happened) {
  const bad = happened.filter(({ severity }) => severity !== 'info');
  if (bad.length === 0) return;
  const said = bad.map(({ service, backend, text: what }) => `${service ?? ''} ${backend ?? ''} ${what}`);
  text(byId('said'), said.slice(-3).join('. '));
}
