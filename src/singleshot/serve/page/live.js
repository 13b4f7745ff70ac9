/** A camera or a video file: frames go to the server one at a time, as fast as its answers come. */

import { newPicture } from "./pictures.js";

const LONGEST_SIDE = 960; // of a frame that is sent, in pixels: more than networks of this family look at
const JPEG_QUALITY = 0.9;

/**
 * Show the camera in a video element.
 *
 * @param {HTMLVideoElement} video
 * @throws {Error} in words why there is no camera.
 */
export async function openCamera(video) {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers give the camera only to pages of https or of this machine (localhost).");
  }
  try {
    const wanted = { facingMode: { ideal: "environment" }, width: { ideal: LONGEST_SIDE } };
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
  } catch (error) {
    const reasons = {
      NotAllowedError: "The browser was not allowed to use the camera. Its settings for this page can change that.",
      NotFoundError: "There is no camera.",
      NotReadableError: "The camera is used by another program.",
    };
    throw new Error(reasons[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
  await video.play();
}

/**
 * Play a file in a video element.
 *
 * @param {HTMLVideoElement} video
 * @param {File} file
 * @throws {Error} in words why it cannot be played.
 */
export async function openVideo(video, file) {
  video.src = URL.createObjectURL(file);
  try {
    await video.play();
  } catch {
    throw new Error(`This browser cannot play ${file.name}. It may know WebM, or MP4 with H.264.`);
  }
}

/** End a camera or a video, and let go of it. */
export function closeVideo(video) {
  video.pause();
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load();
}

/**
 * The frames that are there whenever the next is asked for: those that pass meanwhile are left out, so nothing queues.
 *
 * @param {HTMLVideoElement} video that plays.
 * @param {AbortSignal} signal ends it.
 * @returns {AsyncGenerator<{blob: Blob, bitmap: ImageBitmap}>} a frame as JPEG, and as a picture to show.
 */
export async function* frames(video, signal) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  while (await nextFrame(video, signal)) {
    const scale = Math.min(1, LONGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
    canvas.width = Math.max(1, Math.round(scale * video.videoWidth));
    canvas.height = Math.max(1, Math.round(scale * video.videoHeight));
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
    yield { blob, bitmap: await createImageBitmap(canvas) };
  }
}

/** Wait for a new frame; false where none will come. A hidden page gets none, so it sends none. */
function nextFrame(video, signal) {
  return new Promise((resolve) => {
    if (signal.aborted || video.ended) {
      resolve(false);
      return;
    }
    const listening = new AbortController();
    const settle = (hasFrame) => {
      listening.abort();
      resolve(hasFrame);
    };
    const options = { signal: listening.signal };
    for (const name of ["ended", "error"]) video.addEventListener(name, () => settle(false), options);
    for (const track of video.srcObject?.getTracks() ?? [])
      track.addEventListener("ended", () => settle(false), options);
    signal.addEventListener("abort", () => settle(false), options);
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(() => settle(true));
    else requestAnimationFrame(() => settle(true));
  });
}

/** A camera or a video as it is looked at: its last frame with the server's answer. */
export class LiveView {
  /** The last frame that was answered, as a picture; null where nothing plays or played. */
  picture = null;
  #server;
  #events;
  #source = null;
  #stopping = null;
  #leastScore = 0;
  #times = []; // when the frames of the last two seconds were answered
  #count = 0;
  #ending = "";

  /**
   * @param {import("./server.js").Server} server
   * @param {object} events
   * @param {() => void} events.onChange
   * @param {(seconds: number | null) => void} events.onBusy the server wants to be left alone; null: no longer.
   * @param {(text: string) => void} events.onFailure told in words why it ended.
   */
  constructor(server, events) {
    this.#server = server;
    this.#events = events;
  }

  /** Keep to what the server told of its model; before `start`. */
  use({ min_score: least }) {
    this.#leastScore = least;
  }

  /** Whether frames are being sent. */
  get isRunning() {
    return this.#stopping !== null;
  }

  /** How fast it goes, or how it ended. */
  get text() {
    if (!this.isRunning) return this.#ending;
    const [first, last] = [this.#times[0], this.#times.at(-1)];
    return last > first ? `${((1000 * (this.#times.length - 1)) / (last - first)).toFixed(1)} frames/s` : "starting";
  }

  /**
   * Play, and detect in a frame after another until the end or `stop`.
   *
   * @param {{camera: true} | {file: File}} source
   */
  async start(source) {
    this.close();
    const stopping = new AbortController();
    this.picture = { ...newPicture(null, source.file?.name ?? "camera.jpg"), state: "sending" };
    [this.#source, this.#stopping, this.#times, this.#count] = [source, stopping, [], 0];
    this.#events.onChange();
    const video = document.createElement("video");
    Object.assign(video, { muted: true, playsInline: true });
    try {
      await (source.file ? openVideo(video, source.file) : openCamera(video));
      for await (const frame of frames(video, stopping.signal)) await this.#detect(frame, stopping.signal);
    } catch (error) {
      if (!stopping.signal.aborted) this.#events.onFailure(`${error.title ? `${error.title}. ` : ""}${error.message}`);
    } finally {
      closeVideo(video);
      if (this.#stopping === stopping) this.#end();
    }
  }

  /** Play the same again from its beginning. */
  again() {
    this.start(this.#source);
  }

  /** Send no more frames; the last one stays. */
  stop() {
    this.#stopping?.abort();
    this.#end();
  }

  /** Stop, and show nothing. */
  close() {
    this.#stopping?.abort();
    this.#stopping = null;
    this.picture?.bitmap?.close();
    this.picture = null;
  }

  async #detect({ blob, bitmap }, signal) {
    const options = { score: this.#leastScore, signal, onBusy: this.#events.onBusy };
    let answer;
    try {
      answer = await this.#server.detect(blob, options);
      signal.throwIfAborted();
    } catch (error) {
      bitmap.close();
      throw error;
    } finally {
      this.#events.onBusy(null);
    }
    this.picture.bitmap?.close();
    const { width, height } = answer.image;
    Object.assign(this.picture, { blob, bitmap, answer, width, height, state: "done" });
    const now = performance.now();
    this.#times = [...this.#times, now].filter((time) => now - time <= 2000);
    this.#count += 1;
    this.#events.onChange();
  }

  #end() {
    this.#stopping = null;
    this.#ending = this.#count === 1 ? "1 frame" : `${this.#count} frames`;
    if (this.#count === 0) this.close();
    this.#events.onChange();
  }
}
