/** The panel beside the image: threshold, classes, list of detections, times. */

import { scoreText } from "./boxes.js";
import { classColour, css } from "./colours.js";
import { inWords } from "./stage.js";

const CLASSES_WITHOUT_SEARCH = 12;
const STEPS = ["decode", "queue", "infer"];

const element = (id) => document.getElementById(id);

/** Which detections are shown: those of a score and of chosen classes. */
export class Filter {
  score = 0.5;
  #names = [];
  #chosen = new Set();

  /**
   * @param {object} events
   * @param {() => void} events.onChange
   */
  constructor({ onChange }) {
    this.onChange = onChange;
    const slider = element("score");
    slider.addEventListener("input", () => {
      this.score = Number(slider.value);
      this.#showScore();
      onChange();
    });
    element("all-classes").addEventListener("click", () => this.#choose(this.#names));
    element("no-classes").addEventListener("click", () => this.#choose([]));
    element("class-search").addEventListener("input", (event) => {
      const sought = event.target.value.trim().toLowerCase();
      for (const chip of element("chips").children) chip.hidden = !chip.title.toLowerCase().includes(sought);
    });
  }

  /** Show the classes and scores of a model. */
  use({ classes, default_score: score, min_score: least }) {
    this.#names = classes;
    const slider = element("score");
    Object.assign(slider, { min: Math.min(0.99, Math.ceil(least * 100) / 100), max: 1, step: 0.01 });
    slider.value = Math.max(score, slider.min);
    this.score = Number(slider.value);
    this.#showScore();
    element("chips").replaceChildren(...classes.map((name, label) => this.#chip(name, label)));
    element("class-search").hidden = classes.length <= CLASSES_WITHOUT_SEARCH;
    this.#choose(classes);
  }

  /** The chosen classes, in the model's order; null where these are all. */
  get classes() {
    return this.#chosen.size === this.#names.length ? null : this.#names.filter((name) => this.#chosen.has(name));
  }

  /** Those detections that are to be shown. */
  apply(detections) {
    return detections.filter(({ label, score }) => score >= this.score && this.#chosen.has(label));
  }

  /** Show how many detections of each class reach the score; of many classes those with some come first. */
  count(detections) {
    const reached = detections.filter(({ score }) => score >= this.score);
    for (const [label, chip] of [...element("chips").children].entries()) {
      const count = reached.filter((detection) => detection.label === this.#names[label]).length;
      chip.querySelector(".count").textContent = count || "";
      chip.classList.toggle("absent", count === 0);
      chip.style.order = count || this.#names.length <= CLASSES_WITHOUT_SEARCH ? 0 : 1;
    }
  }

  #showScore() {
    const slider = element("score");
    element("score-value").textContent = this.score.toFixed(2);
    slider.style.setProperty("--filled", (this.score - slider.min) / (slider.max - slider.min));
  }

  #choose(names) {
    this.#chosen = new Set(names);
    for (const [label, chip] of [...element("chips").children].entries()) {
      chip.setAttribute("aria-pressed", this.#chosen.has(this.#names[label]));
    }
    this.onChange();
  }

  #chip(name, label) {
    const chip = make("button", "chip", make("span", "swatch"), make("span", "name", name), make("span", "count"));
    chip.type = "button";
    chip.title = name;
    chip.style.setProperty("--colour", css(classColour(label)));
    chip.addEventListener("click", () => {
      const chosen = new Set(this.#chosen);
      if (!chosen.delete(name)) chosen.add(name);
      this.#choose(chosen);
    });
    return chip;
  }
}

/** The list of detections; arrow keys go through it, and the one in focus is highlighted in the image. */
export class DetectionList {
  #list = element("detections");
  #detections = [];
  #focused = 0;

  /**
   * @param {object} events
   * @param {(detection: object | null) => void} events.onHover
   * @param {(detection: object | null) => void} events.onPick
   */
  constructor({ onHover, onPick }) {
    const of = (event) => this.#detections[[...this.#list.children].indexOf(event.target.closest("li"))] ?? null;
    this.#list.addEventListener("pointerover", (event) => onHover(of(event)));
    this.#list.addEventListener("pointerleave", () => onHover(null));
    this.#list.addEventListener("focusin", (event) => onPick(of(event)));
    this.#list.addEventListener("click", (event) => onPick(of(event)));
    this.#list.addEventListener("keydown", (event) => this.#onKey(event, onPick));
  }

  /**
   * Show detections. Rows are kept and written anew, so that a row keeps its focus while a video plays.
   *
   * @param {object[]} detections best first.
   * @param {string[]} classes
   * @param {object | null} highlighted
   */
  show(detections, classes, highlighted) {
    this.#detections = detections;
    while (this.#list.children.length > detections.length) this.#list.lastChild.remove();
    while (this.#list.children.length < detections.length) this.#list.append(row());
    this.#list.style.setProperty("--rows", detections.length);
    this.#focused = Math.min(this.#focused, Math.max(0, detections.length - 1));
    for (const [place, detection] of detections.entries()) {
      const button = this.#list.children[place].firstChild;
      button.querySelector(".name").textContent = detection.label;
      button.querySelector(".value").textContent = scoreText(detection.score);
      button.setAttribute("aria-label", inWords(detection));
      button.setAttribute("aria-current", detection === highlighted);
      button.tabIndex = place === this.#focused ? 0 : -1;
      button.style.setProperty("--colour", css(classColour(classes.indexOf(detection.label))));
      button.style.setProperty("--score", detection.score);
    }
  }

  /** Bring the row of a detection into view; the list alone scrolls, not the page. */
  reveal(detection) {
    const row = this.#list.children[this.#detections.indexOf(detection)];
    if (!row) return;
    const [list, top] = [this.#list, row.offsetTop - this.#list.offsetTop];
    list.scrollTop = Math.min(top, Math.max(list.scrollTop, top + row.offsetHeight - list.clientHeight));
  }

  #onKey(event, onPick) {
    const last = this.#detections.length - 1;
    const at = [...this.#list.children].indexOf(event.target.closest("li"));
    const places = { ArrowDown: Math.min(at + 1, last), ArrowUp: Math.max(at - 1, 0), Home: 0, End: last };
    if (event.key === "Escape") onPick(null);
    if (!(event.key in places)) return;
    event.preventDefault();
    this.#focused = places[event.key];
    this.#list.children[this.#focused].firstChild.focus();
  }
}

/**
 * Show where the time of a request went.
 *
 * @param {Record<string, number> | null} timing milliseconds of the server's steps, and of the whole as `total`.
 */
export function showTiming(timing) {
  element("timing").hidden = timing === null;
  if (timing === null) return;
  const known = STEPS.filter((step) => step in timing);
  const rest = Math.max(0, timing.total - known.reduce((sum, step) => sum + timing[step], 0));
  const parts = [...known.map((step) => [step, timing[step]]), ["transfer", rest]];
  element("timing-bar").replaceChildren(
    ...parts.map(([step, milliseconds]) => {
      const part = make("span", step);
      part.style.flexGrow = milliseconds;
      return part;
    }),
  );
  const words = parts.map(([step, milliseconds]) => make("span", step, `${step} ${inMilliseconds(milliseconds)}`));
  element("timing-text").replaceChildren(make("strong", "", `${inMilliseconds(timing.total)} ms`), ...words);
}

function inMilliseconds(value) {
  return value < 10 ? value.toFixed(1) : String(Math.round(value));
}

function row() {
  const button = make("button", "", make("span", "swatch"), make("span", "name"), " ", make("span", "value"));
  button.type = "button";
  return make("li", "", button);
}

/** An element with a class and contents; strings become text, never markup. */
export function make(tag, className, ...contents) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...contents);
  return node;
}
