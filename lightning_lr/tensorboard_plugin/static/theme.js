// Light or dark, as TensorBoard itself is: it marks the body of the page around ours.

export function follow(changed) {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const outside = parentBody();
  const isDark = () => (outside ? outside.classList.contains("dark-mode") : system.matches);
  let dark = isDark();
  const show = () => (document.documentElement.dataset.theme = dark ? "dark" : "light");
  const look = () => {
    if (isDark() === dark) return;
    dark = isDark();
    show();
    changed(dark);
  };
  show();
  if (outside) new MutationObserver(look).observe(outside, { attributes: true, attributeFilter: ["class"] });
  else system.addEventListener("change", look);
  return dark;
}

function parentBody() {
  try {
    return window.parent === window ? null : window.parent.document.body;
  } catch {
    return null; // another origin: a notebook, for instance
  }
}
