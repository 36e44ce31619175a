// Follows one page of the console: the server says which regions changed, and they take their new shape in place.

import { morph } from "./morph.js";

const STATES = { open: "live", lost: "not live: trying to reach the gateway again", paused: "paused" };
const AGAIN_MS = [1000, 2000, 5000, 10000];

export function follow(announce) {
  const address = document.body.dataset.live;
  if (!address) return;
  let source = null;
  let failures = 0;
  let timer = 0;

  const tell = (state) => {
    document.body.dataset.link = state;
    for (const place of document.querySelectorAll("[data-link-state]")) place.textContent = STATES[state];
  };

  const update = (event) => {
    failures = 0;
    const told = JSON.parse(event.data);
    for (const [name, html] of Object.entries(told.regions)) {
      for (const region of document.querySelectorAll(`[data-region="${name}"]`)) {
        morph(region, html);
        region.dispatchEvent(new CustomEvent("morphed"));
      }
    }
    tell("open");
    if (told.announce) announce(told.announce);
    // For measurements: how long it took from here to the finished page.
    document.body.dataset.updates = String(Number(document.body.dataset.updates || 0) + 1);
  };

  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };

  const open = () => {
    close();
    source = new EventSource(address);
    source.addEventListener("regions", update);
    source.addEventListener("ended", () => location.reload());
    source.onerror = () => {
      close();
      tell("lost");
      timer = setTimeout(open, AGAIN_MS[Math.min(failures++, AGAIN_MS.length - 1)]);
    };
  };

  // A page that nobody sees asks for nothing.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      tell("paused");
    } else open();
  });
  addEventListener("pagehide", close);
  open();
}
