// Brings a region to a new shape and touches only what differs: focus, selection, scrolling and opened details stay.

const KEPT = { DETAILS: ["open"], INPUT: ["value", "checked"], LI: ["hidden"] };

function same(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b);
}

function key(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") || node.id : "";
}

function attributes(from, to) {
  const kept = KEPT[from.nodeName] || [];
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !kept.includes(name)) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value && !kept.includes(name)) from.setAttribute(name, value);
  }
}

function node(from, to) {
  if (from.isEqualNode(to)) return;
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  attributes(from, to);
  // A live region inside a live region keeps what it says itself.
  if (!from.hasAttribute("data-link-state")) children(from, to);
}

function children(from, to) {
  let keyed = null;
  const known = (name) => {
    keyed ??= new Map([...from.children].map((child) => [key(child), child]));
    return keyed.get(name);
  };
  let place = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    let found = place && same(place, wanted) ? place : null;
    if (!found && key(wanted)) {
      const other = known(key(wanted));
      if (other && other.nodeName === wanted.nodeName) found = other;
    }
    if (!found) {
      // Without a key the next one of its kind is as good, as long as it is not wanted under its own name.
      for (let next = place; next && !key(wanted); next = next.nextSibling) {
        if (same(next, wanted)) {
          found = next;
          break;
        }
        if (key(next)) break;
      }
    }
    if (!found) {
      from.insertBefore(document.importNode(wanted, true), place);
      continue;
    }
    if (found === place) place = place.nextSibling;
    else from.insertBefore(found, place);
    node(found, wanted);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

export function morph(region, html) {
  const wanted = new DOMParser().parseFromString(`<body>${html}</body>`, "text/html").body;
  const focused = document.activeElement;
  children(region, wanted);
  // Moving an element takes its focus away.
  if (focused !== document.activeElement && region.contains(focused)) focused.focus({ preventScroll: true });
}
