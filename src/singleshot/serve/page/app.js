/** The page: what is opened goes to the server once, at the model's least score; threshold and classes are applied here. */

import { Filmstrip } from "./filmstrip.js";
import { isVideo, listenForFiles } from "./intake.js";
import { LiveView } from "./live.js";
import { DetectionList, Filter, make, showTiming } from "./panel.js";
import { newPicture, Pictures } from "./pictures.js";
import { curlLine, Server, ServerError } from "./server.js";
import { annotated, counts, Stage } from "./stage.js";

const element = (id) => document.getElementById(id);

const server = new Server(askForToken);
const filter = new Filter({ onChange: render });
const highlight = {
  onHover: (detection) => mark({ hovered: detection }),
  onPick: (detection) => mark({ picked: detection }),
};
const stage = new Stage(element("canvas"), highlight);
const list = new DetectionList(highlight);
const pictures = new Pictures(server, {
  onChange: render,
  onBusy: (seconds) => showBusy(seconds, () => pictures.stop()),
});
const filmstrip = new Filmstrip(element("filmstrip"), (picture) => {
  live.close();
  pictures.select(picture);
});
const live = new LiveView(server, {
  onChange: render,
  onBusy: (seconds) => showBusy(seconds, () => live.stop()),
  onFailure: notify,
});

let model = null;
let starting = null;
let hovered = null;
let picked = null;

/** Ask the server for its model, once at a time; again whenever something is opened, until it has answered. */
function start() {
  if (model === null) starting ??= askForModel().finally(() => (starting = null));
  return starting;
}

async function askForModel() {
  try {
    model = await server.model();
  } catch (error) {
    notify(inWords(error), { label: "Try again", action: start });
    return;
  }
  const [width, height] = model.input_size;
  const classes = model.classes.length === 1 ? "1 class" : `${model.classes.length} classes`;
  element("model").replaceChildren(
    make("strong", "", model.name),
    make("span", "", `${classes}, ${width} × ${height}`),
  );
  document.title = `${model.name} · singleshot`;
  filter.use(model);
  live.use(model);
  pictures.use(model);
  render();
}

/** What is looked at: a frame, a picture, or nothing. */
function current() {
  return live.picture ?? pictures.selected;
}

function render() {
  const picture = current();
  const view = picture && model ? "work" : "welcome";
  const isNew = document.body.dataset.view !== view;
  document.body.dataset.view = view;
  element("welcome").hidden = view !== "welcome";
  element("work").hidden = view !== "work";
  if (view === "welcome") return;
  if (isNew) {
    window.scrollTo(0, 0);
    element("file").focus({ preventScroll: true });
  }
  const all = picture.answer?.image.detections ?? [];
  const detections = filter.apply(all);
  const highlighted = [hovered, picked].find((detection) => detections.includes(detection)) ?? null;
  const seen = describe(picture, detections);
  stage.show({ ...picture, detections, classes: model.classes, highlighted, description: `${picture.name}: ${seen}` });
  list.show(detections, model.classes, highlighted);
  filter.count(all);
  filmstrip.show(live.picture ? [] : pictures.all, pictures.selected, badge);
  renderHeading(picture, seen, all.length - detections.length);
  renderStates(picture);
  showTiming(picture.answer?.timing ?? null);
  renderActions(picture);
}

function renderHeading(picture, seen, hiddenCount) {
  element("file").textContent = picture.name;
  element("file").title = picture.name;
  element("summary").setAttribute("aria-live", live.isRunning ? "off" : "polite");
  if (element("summary").textContent !== seen) element("summary").textContent = seen;
  const remarks = [...(picture.answer?.image.remarks ?? [])];
  if (seen === "nothing found" && hiddenCount) remarks.push(`Below the score, or of other classes: ${hiddenCount}.`);
  if (picture.answer && picture.isUnreadable)
    remarks.push("This browser cannot show this format: only boxes are drawn.");
  if (picture.answer && picture.answer.model !== model.name)
    remarks.push("The server has another model now: reload this page.");
  element("remarks").textContent = remarks.join(" ");
  element("remarks").hidden = remarks.length === 0;
}

/** What a picture's state and detections are, in words. */
function describe(picture, detections) {
  if (picture.state === "failed") return "no result";
  if (picture.state === "stopped") return "not sent";
  if (!picture.answer) return picture.state === "waiting" ? "waiting for its turn" : "detecting";
  if (detections.length) return counts(detections);
  if (filter.classes?.length === 0) return "no class is chosen";
  return "nothing found";
}

function renderStates(picture) {
  element("progress").hidden = picture.state !== "sending" || live.isRunning;
  element("progress").textContent = progress();
  const { error } = picture;
  element("failure").hidden = !["failed", "stopped"].includes(picture.state) || picture === live.picture;
  element("retry").hidden = error instanceof ServerError && !error.mayPass;
  element("failure-title").textContent = error instanceof ServerError ? error.title : "Not sent";
  element("failure-text").textContent = error ? error.message : "It was stopped before the server had it.";
  element("live").hidden = picture !== live.picture;
  element("live").classList.toggle("running", live.isRunning);
  element("live-text").textContent = live.text;
  element("stop").textContent = live.isRunning ? "Stop" : "Start again";
}

function progress() {
  const left = pictures.all.filter(({ state }) => ["waiting", "sending"].includes(state)).length;
  return left > 1 ? `Detecting, ${left} images to go` : "Detecting";
}

function renderActions(picture) {
  for (const id of ["copy-json", "download"]) element(id).disabled = !picture.answer;
  const { classes } = filter;
  element("copy-curl").disabled = classes?.length === 0;
  element("curl").textContent =
    classes?.length === 0
      ? "Choose a class first."
      : curlLine({
          address: new URL(".", location.href).href,
          file: picture === live.picture ? "frame.jpg" : (picture.address ?? picture.name),
          score: filter.score,
          classes,
          withToken: server.hasToken,
        });
}

function badge(picture) {
  return picture.answer ? String(filter.apply(picture.answer.image.detections).length) : "";
}

function mark(change) {
  if ("hovered" in change) {
    if (hovered === change.hovered) return;
    hovered = change.hovered;
  } else {
    picked = change.picked;
    if (picked) list.reveal(picked);
  }
  element("canvas").classList.toggle("pointing", hovered !== null);
  render();
}

/** Show a line that something went wrong or has to wait. */
function notify(text, { label = "Close", action = null } = {}) {
  const button = element("notice-action");
  element("notice").hidden = text === null;
  element("notice-text").textContent = text ?? "";
  button.hidden = false;
  button.textContent = label;
  button.onclick = () => {
    element("notice").hidden = true;
    action?.();
  };
}

let countdown = 0;

/** Say how long a busy server is left alone; null: no longer. */
function showBusy(seconds, stop) {
  if (countdown) {
    clearInterval(countdown);
    countdown = 0;
    element("notice").hidden = true;
  }
  if (seconds === null) return;
  let left = seconds;
  const say = () => notify(`The server is busy. Trying again in ${left} s.`, { label: "Stop", action: stop });
  say();
  countdown = setInterval(() => {
    left = Math.max(1, left - 1);
    element("notice-text").textContent = `The server is busy. Trying again in ${left} s.`;
  }, 1000);
}

function open(files) {
  element("notice").hidden = true;
  const video = files.find(isVideo);
  if (video) {
    if (files.length > 1) notify(`Of ${files.length} files only ${video.name} is played: videos come one at a time.`);
    play({ file: video });
    return;
  }
  live.close();
  add(files.map((file) => newPicture(file, file.name || "image.png")));
}

function add(added) {
  pictures.add(added);
  start();
}

async function play(source) {
  await start();
  if (model) live.start(source);
}

async function openSample(name) {
  const address = new URL(`static/photographs/${name}`, location.href).href;
  try {
    const response = await fetch(address);
    if (!response.ok) throw new Error(`${name} is not there`);
    add([newPicture(await response.blob(), name, address)]);
  } catch (error) {
    notify(inWords(error));
  }
}

function inWords(error) {
  return error instanceof ServerError ? `${error.title}. ${error.message}` : `${error.message}`;
}

/** What is shown of a picture, in the server's own form. */
function shownAsJson(picture) {
  const { model: name, image } = picture.answer;
  const images = [{ ...image, file: picture.name, detections: filter.apply(image.detections) }];
  return JSON.stringify({ model: name, images }, null, 2);
}

async function copy(button, text) {
  const label = button.querySelector("span") ?? button;
  const before = (label.dataset.label ??= label.textContent);
  label.textContent = (await toClipboard(text)) ? "Copied" : "Not allowed";
  setTimeout(() => (label.textContent = before), 1500);
}

/** Put a text into the clipboard; browsers let pages without https do so by a selection alone. */
async function toClipboard(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  const area = make("textarea", "selected-text", text);
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  return isCopied;
}

async function download(picture) {
  const blob = await annotated(picture.blob, filter.apply(picture.answer.image.detections), model.classes);
  if (blob === null) {
    notify("This browser cannot draw this image in its full size.");
    return;
  }
  const link = make("a", "");
  link.href = URL.createObjectURL(blob);
  link.download = `${picture.name.replace(/\.[^.]*$/, "")}-detections.${blob.type === "image/jpeg" ? "jpg" : "png"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Ask for the server's token; null where the user enters none. */
function askForToken(wasWrong) {
  const dialog = element("token-dialog");
  element("token-error").textContent = wasWrong ? "The server did not accept this token." : "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      resolve(dialog.returnValue === "entered" ? element("token").value.trim() : null);
      element("token").value = "";
      dialog.returnValue = "";
    };
  });
}

function listen() {
  listenForFiles({
    inputs: [element("choose-images"), element("choose-video")],
    hint: element("drop-hint"),
    onFiles: open,
    onNothing: notify,
  });
  const sources = {
    images: () => element("choose-images").click(),
    video: () => element("choose-video").click(),
    camera: () => play({ camera: true }),
  };
  for (const button of document.querySelectorAll("[data-source]"))
    button.addEventListener("click", sources[button.dataset.source]);
  for (const button of document.querySelectorAll("[data-sample]"))
    button.addEventListener("click", () => openSample(button.dataset.sample));
  element("retry").addEventListener("click", () => pictures.retry(pictures.selected));
  element("stop").addEventListener("click", () => (live.isRunning ? live.stop() : live.again()));
  element("copy-json").addEventListener("click", (event) => copy(event.currentTarget, shownAsJson(current())));
  element("copy-curl").addEventListener("click", (event) => copy(event.currentTarget, element("curl").textContent));
  element("download").addEventListener("click", () => download(current()));
  element("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    element("token-dialog").close("entered");
  });
}

listen();
start();
