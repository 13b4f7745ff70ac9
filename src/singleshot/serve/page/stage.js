/** The stage: one image with its boxes, on a canvas that fills its place. */

import { detectionAt, drawDetections, scoreText } from "./boxes.js";

const LARGEST_SHOWN = 2560; // longest side of the picture kept to be shown, in pixels
const CLASSES_IN_WORDS = 4;
const LINE = 2.5; // CSS pixels
const TEXT = 12.5;

/** An image and its detections, drawn as large as there is room. */
export class Stage {
  #canvas;
  #frame;
  #shown = { bitmap: null, width: 0, height: 0, detections: [], classes: [], highlighted: null };

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {object} events
   * @param {(detection: object | null) => void} events.onHover
   * @param {(detection: object | null) => void} events.onPick
   */
  constructor(canvas, { onHover, onPick }) {
    this.#canvas = canvas;
    this.#frame = canvas.parentElement;
    canvas.addEventListener("pointermove", (event) => onHover(this.#at(event)));
    canvas.addEventListener("pointerleave", () => onHover(null));
    canvas.addEventListener("click", (event) => onPick(this.#at(event)));
    new ResizeObserver(() => this.#draw()).observe(this.#frame);
  }

  /**
   * @param {object} shown
   * @param {ImageBitmap | null} shown.bitmap null: this browser cannot show the image.
   * @param {number} shown.width of the image that the boxes speak of; 0 where neither is known.
   * @param {number} shown.height
   * @param {object[]} shown.detections best first.
   * @param {string[]} shown.classes
   * @param {object | null} shown.highlighted
   * @param {string} shown.description for those who do not see it.
   */
  show({ description, ...shown }) {
    this.#shown = shown;
    this.#canvas.setAttribute("aria-label", description);
    if (shown.width) this.#frame.style.setProperty("--ratio", shown.width / shown.height);
    this.#draw();
  }

  #draw() {
    const canvas = this.#canvas;
    const { bitmap, detections, classes, highlighted } = this.#shown;
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.round(this.#frame.clientWidth * density);
    canvas.height = Math.round(this.#frame.clientHeight * density);
    const context = canvas.getContext("2d");
    context.scale(density, density);
    context.imageSmoothingQuality = "high";
    const view = this.#view();
    if (!this.#shown.width) return;
    if (bitmap) context.drawImage(bitmap, view.x, view.y, view.scale * view.width, view.scale * view.height);
    else {
      context.fillStyle = "rgb(127 127 127 / 0.25)";
      context.fillRect(view.x, view.y, view.scale * view.width, view.scale * view.height);
    }
    drawDetections(context, detections, view, { line: LINE, text: TEXT, classes, highlighted });
  }

  /** Where the image lies: in the middle, as large as it fits. */
  #view() {
    const { clientWidth, clientHeight } = this.#frame;
    const { width, height } = this.#shown;
    const scale = Math.min(clientWidth / width, clientHeight / height);
    return { x: (clientWidth - scale * width) / 2, y: (clientHeight - scale * height) / 2, scale, width, height };
  }

  #at(event) {
    return detectionAt(this.#shown.detections, this.#view(), event.offsetX, event.offsetY);
  }
}

/**
 * The picture of a file, turned as its EXIF data say, small enough to be kept.
 *
 * @param {Blob} blob
 * @returns {Promise<{bitmap: ImageBitmap, width: number, height: number} | null>} with the size of the whole image;
 *   null where this browser does not read it.
 */
export async function readPicture(blob) {
  try {
    const whole = await createImageBitmap(blob);
    const { width, height } = whole;
    const scale = LARGEST_SHOWN / Math.max(width, height);
    if (scale >= 1) return { bitmap: whole, width, height };
    const size = { resizeWidth: Math.ceil(scale * width), resizeHeight: Math.ceil(scale * height) };
    const bitmap = await createImageBitmap(whole, { ...size, resizeQuality: "medium" });
    whole.close();
    return { bitmap, width, height };
  } catch {
    return null;
  }
}

/**
 * The image in its full size, with boxes drawn on it as `ssd detect --out` does.
 *
 * @param {Blob} blob
 * @param {object[]} detections
 * @param {string[]} classes
 * @returns {Promise<Blob | null>} null where this browser cannot draw it.
 */
export async function annotated(blob, detections, classes) {
  const canvas = document.createElement("canvas");
  try {
    const bitmap = await createImageBitmap(blob);
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const size = Math.sqrt(canvas.width * canvas.height);
    const view = { x: 0, y: 0, scale: 1, width: canvas.width, height: canvas.height };
    const pen = { line: Math.max(1, Math.round(size / 260)), text: Math.max(10, Math.round(size / 42)), classes };
    drawDetections(context, detections, view, pen);
  } catch {
    return null;
  }
  const type = blob.type === "image/jpeg" ? "image/jpeg" : "image/png";
  return new Promise((resolve) => canvas.toBlob(resolve, type, 0.95));
}

/** What is in an image, in words: `2 × person, cat`; of many classes their number. */
export function counts(detections) {
  const byLabel = new Map();
  for (const { label } of detections) byLabel.set(label, (byLabel.get(label) ?? 0) + 1);
  if (byLabel.size > CLASSES_IN_WORDS) return `${detections.length} detections of ${byLabel.size} classes`;
  return [...byLabel].map(([label, count]) => (count > 1 ? `${count} × ${label}` : label)).join(", ");
}

/** A detection in words: class, score, and corners of its box in pixels. */
export function inWords({ label, score, box }) {
  const [left, top, right, bottom] = box.map(Math.round);
  return `${label} ${scoreText(score)}, from ${left}, ${top} to ${right}, ${bottom}`;
}
