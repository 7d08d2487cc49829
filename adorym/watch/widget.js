// In a notebook: answers come from the kernel as messages; while it computes, they arrive when something has changed.
class KernelSource {
  constructor(model) {
    Object.assign(this, { model, waiting: new Map(), fresh: new Map() });
    model.on("msg:custom", ({ path, status }, buffers) => this.arrived(path, { status, body: bufferOf(buffers[0]) }));
  }

  arrived(path, answer) {
    const waiting = this.waiting.get(path);
    if (waiting) {
      this.waiting.delete(path);
      waiting.forEach((resolve) => resolve(answer));
    } else this.fresh.set(path, answer);
  }

  get(what, query) {
    const { have, ...rest } = query, path = `${what}?${new URLSearchParams(rest)}`, fresh = this.fresh.get(path);
    this.model.send({ path, have: have || "" });
    if (fresh) {
      this.fresh.delete(path);
      return Promise.resolve(fresh);
    }
    return new Promise((resolve) => this.waiting.set(path, [...(this.waiting.get(path) || []), resolve]));
  }
}

function bufferOf(data) {
  return data ? data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) : new ArrayBuffer(0);
}

export default {
  render({ model, el: root }) {
    const view = new View(root, new KernelSource(model));
    view.start();
    return () => view.stop();
  },
};
