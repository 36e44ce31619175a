// Filters of lists that are on the page already: what does not contain the text is hidden.

function apply(input, root) {
  const wanted = input.value.trim().toLowerCase();
  const show = (item) => {
    let any = !wanted || item.dataset.text.includes(wanted);
    const inner = item.querySelectorAll(":scope > details > ul > li[data-text]");
    if (inner.length) {
      any = false;
      for (const one of inner) any = show(one) || any;
      const details = item.querySelector(":scope > details");
      if (wanted && any) details.open = true;
    }
    item.hidden = !any;
    return any;
  };
  for (const item of root.querySelectorAll(":scope > ul > li[data-text]")) show(item);
}

export function filters() {
  for (const input of document.querySelectorAll("input[data-filter]")) {
    const root = document.querySelector(input.dataset.filter);
    if (!root) continue;
    input.addEventListener("input", () => apply(input, root));
    input.form?.addEventListener("submit", (event) => {
      event.preventDefault();
      apply(input, root);
    });
    root.addEventListener("morphed", () => apply(input, root));
    apply(input, root);
  }
}
