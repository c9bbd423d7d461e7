// What the tab asks the server. Addresses are relative to this file, which also holds behind a proxy's prefix.

const address = (path, query = {}) => {
  const url = new URL(path, import.meta.url);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url;
};

async function get(url) {
  const answer = await fetch(url, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${answer.status} ${(await answer.text()).slice(0, 200)}`);
  return answer.json();
}

// {runs: [{run, start, changed}], charts: whether plotly is installed}
export const runs = () => get(address("./runs"));

// {run, cursor, pages, unreadable}: the pages that changed since `after`
export const pages = (run, after) => get(address("./pages", { run, after }));

// Loads the charts' library once, however often it is asked for.
let library = null;

export function charts() {
  library ??= new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = address("./plotly.min.js");
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => {
      library = null; // the next look tries again
      script.remove();
      resolve(null);
    });
    document.head.append(script);
  });
  return library;
}
