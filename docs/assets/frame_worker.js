// Search in pages that are opened from the disk, where browsers start no workers: the same script runs in a hidden frame.
if (location.protocol === "file:") {
  const load = (inside, source) =>
    new Promise((done, failed) => {
      const script = inside.document.createElement("script");
      script.src = source;
      script.onload = done;
      script.onerror = failed;
      inside.document.body.appendChild(script);
    });
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      const inside = frame.contentWindow;
      window.addEventListener("message", (event) => {
        if (event.source === inside) this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      });
      inside.eval("postMessage = (data) => parent.postMessage(data, '*')");
      inside.importScripts = (...sources) =>
        sources.reduce((before, source) => before.then(() => load(inside, source)), Promise.resolve());
      this.inside = inside;
      this.ready = load(inside, url);
    }

    postMessage(data) {
      this.ready = this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {}
  };
}
