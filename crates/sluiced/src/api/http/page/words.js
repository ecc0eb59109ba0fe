// Names of states, the same as in `sluice status`.

/** Fraction of source ports, and of conntrack, in use from which there is a warning. */
const SCARCE = 0.8;

/** The reason why a backend takes no new connections, otherwise its health. */
function backendState(backend) {
  const { admin, health, eligible, active } = backend;
  if (admin === 'disabled') return spare(backend, 'disabled', 'off');
  if (admin === 'drain' && active === 0) return spare(backend, 'drained', 'off');
  if (admin === 'drain') return { word: active === null ? 'drain' : `drain, ${whole.format(active)} left`, kind: 'wait' };
  if (health === 'unhealthy') return spare(backend, 'unhealthy', 'bad');
  if (backend.full) return spare(backend, 'full', 'warn');
  if (!eligible) return spare(backend, 'not eligible', 'off');
  return spare(backend, health === 'healthy' ? 'healthy' : 'eligible', 'good');
}

function spare(backend, word, kind) {
  return { word: backend.backup && backend.share === 0 ? `${word} backup` : word, kind };
}

/** The state of a service. */
function serviceState({ state }) {
  return { word: state === 'empty' ? 'no backends' : state, kind: { up: 'good', empty: 'bad', disabled: 'off' }[state] };
}

/** Why a service of the ruleset is not ready; empty: it is. */
function notReady({ state, not_ready: reason }) {
  return state === 'disabled' || reason === null ? '' : `not ready: ${reason}`;
}

/** A failure of the last hook of a service; empty: there was none. */
function failedHook({ last_hook: run }) {
  return run === null || run.ok === true ? '' : `${run.hook}: ${run.detail}`;
}

/** Whether a backend has a problem; one that an operator drained or disabled has none. */
function isProblem(backend) {
  if (backend.admin !== 'enabled') return false;
  return backend.health === 'unhealthy' || backend.full || failing(backend) || portsScarce(backend);
}

/**
 * Notes about a backend beside its numbers, each with a kind. The time of the last probe is not shown, because changes do
 * not include a further probe with the same result.
 */
function notes(backend, now) {
  const said = [];
  const { last_probe: probe, override } = backend;
  if (failing(backend)) {
    const of = probe.ok === null ? ' (the probe could not run)' : `, ${probe.count} of ${probe.needed}`;
    said.push({ kind: backend.health === 'unhealthy' ? 'bad' : 'warn', word: `${probe.detail}${of}` });
  }
  if (portsScarce(backend)) {
    const used = whole.format(100 * backend.source_ports);
    said.push({ kind: 'warn', word: `${used} % of source ports in use: set \`source\` to a range of addresses` });
  }
  if (override) {
    const what = [override.admin, override.weight === null ? null : `weight ${override.weight}`];
    said.push({
      kind: 'wait',
      word: `${what.filter((one) => one !== null).join(', ')} by uid ${override.uid}, ${age(now, override.since)} ago (override)`,
    });
  }
  return said;
}

function failing({ last_probe: probe }) {
  return probe !== null && probe.ok !== true;
}

function portsScarce({ source_ports: used }) {
  return used !== null && used >= SCARCE;
}

/** The packets that a service's guard dropped, on one line. */
function dropped({ dropped: reasons }) {
  return Object.entries(reasons).map(([reason, count]) => `${whole.format(count)} ${reason}`).join(', ');
}
