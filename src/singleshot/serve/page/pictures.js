/** The images that were opened: sent to the server one after another, each with its result or its error. */

import { ServerError } from "./server.js";
import { readPicture } from "./stage.js";

/**
 * @typedef {object} Picture
 * @property {string} name of the file.
 * @property {Blob} blob
 * @property {string | null} address where the server itself holds the file.
 * @property {"waiting" | "sending" | "done" | "failed" | "stopped"} state
 * @property {ImageBitmap | null} bitmap while it is shown or sent.
 * @property {boolean} isUnreadable this browser does not read the format; the server may.
 * @property {number} width in pixels; 0 where it is not known yet.
 * @property {number} height
 * @property {object | null} answer of the server: `model`, `image`, `timing`.
 * @property {Error | null} error
 */

/** A picture of which nothing is known yet. */
export function newPicture(blob, name, address = null) {
  const unknown = { bitmap: null, isUnreadable: false, width: 0, height: 0, answer: null, error: null };
  return { name, blob, address, state: "waiting", ...unknown };
}

/** Pictures, one of them selected. */
export class Pictures {
  all = [];
  selected = null;
  #server;
  #events;
  #limits = null; // what the server told of its model; nothing is sent before
  #isWorking = false;
  #stopping = new AbortController();

  /**
   * @param {import("./server.js").Server} server
   * @param {object} events
   * @param {() => void} events.onChange
   * @param {(seconds: number | null) => void} events.onBusy the server wants to be left alone; null: no longer.
   */
  constructor(server, events) {
    this.#server = server;
    this.#events = events;
  }

  /** Keep to what the server told of its model. */
  use(model) {
    this.#limits = model;
    this.#work();
  }

  /** Append pictures, select the first of them, and send all. */
  add(pictures) {
    this.all.push(...pictures);
    this.select(pictures[0]);
    this.#work();
  }

  /** Show another picture, or none. */
  async select(picture) {
    const previous = this.selected;
    this.selected = picture;
    if (previous !== picture) this.#release(previous);
    this.#events.onChange();
    if (picture) await this.#read(picture);
    this.#events.onChange();
  }

  /** Send a picture again. */
  retry(picture) {
    Object.assign(picture, { state: "waiting", error: null });
    this.#work();
  }

  /** Send no more, and give up the one that is being sent. */
  stop() {
    this.#stopping.abort();
    this.#stopping = new AbortController();
    for (const picture of this.all) if (picture.state === "waiting") picture.state = "stopped";
    this.#events.onChange();
  }

  async #work() {
    if (this.#isWorking || this.#limits === null) return;
    this.#isWorking = true;
    for (let next; (next = this.all.find(({ state }) => state === "waiting"));) await this.#send(next);
    this.#isWorking = false;
  }

  async #send(picture) {
    const { signal } = this.#stopping;
    picture.state = "sending";
    this.#events.onChange();
    try {
      await requireReadable(picture.blob, this.#limits.max_body_bytes);
      await this.#read(picture);
      this.#events.onChange();
      const options = { score: this.#limits.min_score, signal, onBusy: this.#events.onBusy };
      picture.answer = await this.#server.detect(picture.blob, options);
      const { width, height } = picture.answer.image;
      Object.assign(picture, { state: "done", width, height });
    } catch (error) {
      if (signal.aborted) picture.state = "stopped";
      else Object.assign(picture, { state: "failed", error });
    }
    if (picture !== this.selected) this.#release(picture);
    this.#events.onBusy(null);
    this.#events.onChange();
  }

  async #read(picture) {
    if (picture.bitmap) return;
    const read = await readPicture(picture.blob);
    picture.isUnreadable = read === null;
    if (read === null) return;
    if (picture.bitmap || (picture !== this.selected && picture.state !== "sending")) read.bitmap.close();
    else picture.bitmap = read.bitmap;
    if (!picture.width) Object.assign(picture, { width: read.width, height: read.height });
  }

  /** Let go of a picture's pixels, which are read from its file again when it is selected. */
  #release(picture) {
    if (!picture || picture.state === "sending") return;
    picture.bitmap?.close();
    picture.bitmap = null;
  }
}

async function requireReadable(blob, mostBytes) {
  if (blob.size > mostBytes) {
    const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
    throw new ServerError(413, `It has ${megabytes(blob.size)}; this server takes up to ${megabytes(mostBytes)}.`);
  }
  try {
    await blob.slice(0, 1).arrayBuffer();
  } catch {
    throw new ServerError(415, "The browser cannot read it. If it is a folder: open the images in it.");
  }
}
