// Creates elements. Text only becomes text nodes, never markup, because some of it is untrusted.

/** An element with attributes and children, which are elements or text. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) attribute(node, name, value);
  node.append(...children);
  return node;
}

/** The same in SVG. */
function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) attribute(node, name, value);
  node.append(...children);
  return node;
}

/** The element of the page with this id. */
function byId(id) {
  return document.getElementById(id);
}

/** Makes a node's text this one. What is the same already is left alone, so that a selection survives. */
function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/** Makes an attribute this one; `null` removes it. */
function attribute(node, name, value) {
  if (value === null || value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Fills a bar: its only child is as wide as this fraction. */
function fill(bar, fraction) {
  const width = `${(100 * Math.min(1, Math.max(0, fraction))).toFixed(1)}%`;
  if (bar.firstElementChild.style.width !== width) bar.firstElementChild.style.width = width;
}

/** Makes an element with a mark and a word say this. The mark's shape tells the kind, too, not its colour alone. */
function say(node, { word, kind }) {
  attribute(node, 'data-kind', kind);
  text(node.lastElementChild, word);
}

/** An element for `say`. */
function saying(name) {
  return el('span', { class: `state ${name}` }, el('i', { class: 'mark', 'aria-hidden': 'true' }), el('span'));
}
