// The search of a site that is opened as files: browsers start no worker from file:, so its script runs in a hidden frame.
// Stands in for what the offline plugin would fetch from another host; the search asks for the name IFrameWorker.
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const { contentWindow: inside, contentDocument: page } = this.frame;
      page.open();
      page.write("<body></body>");
      page.close();
      inside.postMessage = (data) => setTimeout(() => this.dispatchEvent(new MessageEvent("message", { data })));
      this.ready = new Promise((begun, failed) => {
        const script = page.createElement("script");
        script.onload = begun;
        script.onerror = failed;
        script.src = new URL(url, document.baseURI);
        page.body.append(script);
      });
    }

    set onmessage(listener) {
      this.addEventListener("message", listener);
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
