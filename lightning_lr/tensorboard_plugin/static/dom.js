// Elements without HTML: whatever comes from a log goes in as text, so that no metric's name can be taken for markup.

export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null));
  return node;
}

// Numbers as people read them: four digits, and powers of ten where zeros would hide them.
export function number(value) {
  if (typeof value !== "number") return value === null || value === undefined ? "–" : String(value);
  if (value === 0 || Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  const size = Math.abs(value);
  const text = size < 1e-3 || size >= 1e6 ? value.toExponential(2) : value.toPrecision(4);
  if (!text.includes(".")) return text.replace(/^-/, "−");
  const short = text.includes("e") ? text.replace(/\.?0+e/, "e").replace("e+", "e") : text.replace(/\.?0+$/, "");
  return short.replace(/^-/, "−");
}

export function count(many, word) {
  return `${many.toLocaleString("en")} ${word}${many === 1 ? "" : "s"}`;
}
