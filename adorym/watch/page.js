// In a browser: answers come from the server that sent this page, with the token of its address.
class HttpSource {
  constructor() {
    const token = new URLSearchParams(location.search).get("token") || "";
    this.headers = { Authorization: `Bearer ${token}` };
  }

  async get(what, query) {
    const response = await fetch(`api/${what}?${new URLSearchParams(query)}`, { headers: this.headers });
    return { status: response.status, body: await response.arrayBuffer() };
  }
}

// The runs that are shown stay in the address, so that a reload, or a bookmark, shows them again.
const chosen = new URLSearchParams(location.hash.slice(1));
const view = new View(document.body, new HttpSource(), {
  first: chosen.get("run"),
  second: chosen.get("with"),
  chose: (first, second) => {
    const hash = new URLSearchParams({ run: first, ...(second ? { with: second } : {}) });
    history.replaceState(null, "", `#${hash}`);
  },
});
view.start();
