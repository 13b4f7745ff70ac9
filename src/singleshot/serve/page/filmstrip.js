/** The row of images below the stage. */

import { make } from "./panel.js";

const HEIGHT = 56; // CSS pixels

/** Thumbnails of images, with how many detections each has. */
export class Filmstrip {
  #strip;
  #onSelect;
  #tiles = new Map();
  #selected = null;

  /**
   * @param {HTMLElement} strip
   * @param {(picture: object) => void} onSelect
   */
  constructor(strip, onSelect) {
    this.#strip = strip;
    this.#onSelect = onSelect;
    strip.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const tiles = [...strip.children];
      const next = tiles[tiles.indexOf(event.target.closest("button")) + step];
      if (!next) return;
      event.preventDefault();
      next.focus();
      next.click();
    });
  }

  /**
   * Show images.
   *
   * @param {object[]} pictures
   * @param {object | null} selected
   * @param {(picture: object) => string} badge how many detections an image has; empty where that is not known.
   */
  show(pictures, selected, badge) {
    this.#strip.hidden = pictures.length < 2;
    for (const picture of pictures) {
      const tile = this.#tiles.get(picture) ?? this.#add(picture);
      tile.setAttribute("aria-current", picture === selected);
      tile.dataset.state = picture.state;
      const text = picture.state === "failed" ? "!" : badge(picture);
      tile.querySelector(".count").textContent = text;
      tile.setAttribute("aria-label", `${picture.name}: ${describe(picture, text)}`);
      if (picture.bitmap && !tile.dataset.drawn) drawThumbnail(tile, picture.bitmap);
    }
    if (selected !== this.#selected) this.#reveal(selected);
    this.#selected = selected;
  }

  /** Bring an image's thumbnail into view; the strip alone scrolls, not the page. */
  #reveal(picture) {
    const tile = this.#tiles.get(picture);
    if (!tile) return;
    const [strip, left] = [this.#strip, tile.offsetLeft - this.#strip.offsetLeft];
    strip.scrollLeft = Math.min(left, Math.max(strip.scrollLeft, left + tile.offsetWidth - strip.clientWidth));
  }

  #add(picture) {
    const tile = make("button", "tile", thumbnail(), make("span", "count"));
    tile.type = "button";
    tile.title = picture.name;
    tile.addEventListener("click", () => this.#onSelect(picture));
    this.#tiles.set(picture, tile);
    this.#strip.append(tile);
    return tile;
  }
}

function thumbnail() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [HEIGHT, HEIGHT];
  return canvas;
}

function describe({ state }, count) {
  const words = { waiting: "waits", sending: "is being sent", failed: "failed", stopped: "not sent" };
  return words[state] ?? `${count} ${count === "1" ? "detection" : "detections"}`;
}

function drawThumbnail(tile, bitmap) {
  const canvas = tile.querySelector("canvas");
  const density = window.devicePixelRatio || 1;
  const ratio = Math.min(2, Math.max(0.6, bitmap.width / bitmap.height));
  canvas.height = Math.round(HEIGHT * density);
  canvas.width = Math.round(HEIGHT * ratio * density);
  const scale = Math.max(canvas.width / bitmap.width, canvas.height / bitmap.height);
  const [width, height] = [scale * bitmap.width, scale * bitmap.height];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
  tile.dataset.drawn = "yes";
}
