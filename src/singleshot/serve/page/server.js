/** The server's HTTP interface, as this page uses it. */

/** Why a request has no result. */
export class ServerError extends Error {
  /**
   * @param {number} status of HTTP; 0: no answer came.
   * @param {string} detail the server's own words.
   */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }

  /** Whether the same request may succeed later. */
  get mayPass() {
    return this.status < 400 || this.status >= 500 || [401, 408].includes(this.status);
  }

  /** The kind of error in a few words. */
  get title() {
    if (this.status in TITLES) return TITLES[this.status];
    if (this.status < 400) return "The answer cannot be read";
    return this.status < 500 ? "The server refused this" : "The server failed";
  }
}

const TITLES = {
  0: "The server does not answer",
  401: "This server asks for its token",
  408: "The upload took too long",
  413: "Too large",
  415: "Not an image that can be read",
  422: "This image cannot be used",
  504: "It took too long",
};
const BUSY = [429, 503];
const PATIENCE_WITHOUT_HEADER = 2; // seconds, where a busy server does not say how long to wait

/** Requests to the server that this page came from. */
export class Server {
  #token = ""; // sent as `Authorization: Bearer`, where the server asks for one; kept in memory alone
  #askForToken;

  /**
   * @param {(wasWrong: boolean) => Promise<string | null>} askForToken gives what the user enters; null: nothing.
   */
  constructor(askForToken) {
    this.#askForToken = askForToken;
  }

  /** Whether the server asked for a token. */
  get hasToken() {
    return this.#token !== "";
  }

  /** What the server tells of its model: name, classes, scores, limits. */
  async model() {
    return readJson(await this.#ask("v1/model", {}));
  }

  /**
   * The detections of one image. A busy server is asked again after the time that it gives.
   *
   * @param {Blob} image a file, or a frame as JPEG.
   * @param {object} options
   * @param {number} options.score leave out detections below it.
   * @param {AbortSignal} options.signal ends the request, and the waiting for a busy server.
   * @param {(seconds: number) => void} options.onBusy is told how long the server wants to be left alone.
   * @returns {Promise<{model: string, image: object, timing: object}>} one entry of `images` of the server's answer;
   *   the times, in milliseconds, of the server's steps and of the whole (`total`).
   * @throws {ServerError}
   */
  async detect(image, { score, signal, onBusy }) {
    const path = `v1/detect?score=${score}`;
    const headers = { "Content-Type": "application/octet-stream" };
    for (;;) {
      const start = performance.now();
      const response = await this.#ask(path, { method: "POST", body: image, headers, signal }, BUSY);
      if (BUSY.includes(response.status)) {
        const seconds = secondsToWait(response.headers.get("Retry-After"));
        onBusy(seconds);
        await sleep(1000 * seconds, signal);
        continue;
      }
      const answer = await readJson(response, signal);
      const timing = { ...parseServerTiming(response.headers.get("Server-Timing")), total: performance.now() - start };
      return { model: answer.model, image: answer.images[0], timing };
    }
  }

  async #ask(path, options, accepted = []) {
    let response = await this.#fetch(path, options);
    while (response.status === 401) {
      const token = await this.#askForToken(this.hasToken);
      if (!token) break;
      this.#token = token;
      response = await this.#fetch(path, options);
    }
    if (response.ok || accepted.includes(response.status)) return response;
    const problem = await response.json().catch(() => ({}));
    throw new ServerError(response.status, String(problem.detail ?? `It answered with the status ${response.status}.`));
  }

  async #fetch(path, options) {
    const headers = { ...options.headers };
    if (this.#token) headers.Authorization = `Bearer ${this.#token}`;
    try {
      return await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ServerError(0, "It may have been stopped, or the connection was lost.");
    }
  }
}

/**
 * The times in a header Server-Timing.
 *
 * @param {string | null} header such as `decode;dur=4.1, infer;dur=20.3`.
 * @returns {Record<string, number>} milliseconds by name.
 */
export function parseServerTiming(header) {
  const entries = [...(header ?? "").matchAll(/([a-z]+);dur=([0-9.]+)/g)];
  return Object.fromEntries(entries.map(([, name, duration]) => [name, Number(duration)]));
}

async function readJson(response, signal) {
  try {
    return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServerError(response.status, "It is no whole JSON: does another program answer in the server's place?");
  }
}

/** Seconds of a header Retry-After, which may be a date; at least 1. */
function secondsToWait(header) {
  const seconds = /^\d+$/.test(header ?? "") ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(1, Math.ceil(seconds)) : PATIENCE_WITHOUT_HEADER;
}

/** Wait, unless the signal comes first, which throws its reason. */
function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}

/**
 * A line for a terminal that asks the server for what the page shows.
 *
 * @param {object} request
 * @param {string} request.address of the server, ending in a slash.
 * @param {string} request.file name of the image; or its address, where the server itself holds it.
 * @param {number} request.score
 * @param {string[] | null} request.classes null: all.
 * @param {boolean} request.withToken the server asks for one, which the line takes from the environment.
 */
export function curlLine({ address, file, score, classes, withToken }) {
  const parameters = [`score=${score}`];
  if (classes !== null) {
    const names = classes.map(encodeURIComponent);
    if (classes.some((name) => name.includes(","))) parameters.push(...names.map((name) => `classes=${name}`));
    else parameters.push(`classes=${names.join(",")}`);
  }
  const isAddress = file.startsWith(address);
  const authorization = withToken ? ' -H "Authorization: Bearer $TOKEN"' : "";
  const url = quoted(`${address}v1/detect?${parameters.join("&")}`);
  const line = `curl${authorization} --data-binary ${isAddress ? "@-" : quoted(`@${file}`)} ${url}`;
  return isAddress ? `curl -s ${quoted(file)} | ${line}` : line;
}

/** A word that a shell takes as it is; control characters, which a terminal might obey, become underscores. */
function quoted(word) {
  return `'${word.replace(/[\u0000-\u001f\u007f-\u009f]/g, "_").replaceAll("'", "'\\''")}'`;
}
