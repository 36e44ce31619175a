// What the console adds where scripts run: pages that follow the mesh, filters that answer at once, forms that are sent once.
// Everything works without it.

import { follow } from "./live.js";
import { filters } from "./filter.js";

filters();
follow((announce) => {
  const announcer = document.getElementById("announcer");
  if (announcer && announcer.textContent !== announce) announcer.textContent = announce;
});

for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    for (const button of form.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
  });
}

// A page that comes back from the browser's memory may be sent again.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

document.querySelector("[data-focus]")?.focus();
