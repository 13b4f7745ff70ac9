/** Boxes with captions on a canvas, after the rules of `singleshot/draw.py`: dark borders, captions that avoid each other. */

import { classColour, css, ink } from "./colours.js";

/**
 * @typedef {object} Detection
 * @property {[number, number, number, number]} box left, top, right, bottom in pixels of the image.
 * @property {string} label name of the class.
 * @property {number} score 0 to 1.
 *
 * @typedef {object} View where an image lies on a canvas.
 * @property {number} x of its left edge, in the canvas's units.
 * @property {number} y of its top edge.
 * @property {number} scale units of the canvas for one pixel of the image.
 * @property {number} width of the image, in pixels.
 * @property {number} height of the image, in pixels.
 */

/** A score as captions and the list show it. */
export function scoreText(score) {
  return score.toFixed(2);
}

/**
 * Draw detections, the best on top.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Detection[]} detections best first.
 * @param {View} view
 * @param {object} pen
 * @param {number} pen.line width of a line, in the canvas's units.
 * @param {number} pen.text height of letters.
 * @param {string[]} pen.classes the model's classes, whose order gives their colours.
 * @param {Detection | null} pen.highlighted drawn full, the others faint and without captions.
 */
export function drawDetections(context, detections, view, { line, text, classes, highlighted = null }) {
  context.save();
  context.font = `600 ${text}px ${getComputedStyle(document.body).fontFamily}`;
  context.textBaseline = "middle";
  const marks = detections.map((detection) => ({
    detection,
    colour: classColour(classes.indexOf(detection.label)),
    box: onCanvas(detection.box, view),
  }));
  const plates = [];
  for (const mark of [...marks].sort((a, b) => (b.detection === highlighted) - (a.detection === highlighted))) {
    mark.plate = platePlace(context, mark, text, plates, view);
    plates.push(mark.plate);
  }
  const upwards = marks.reverse().sort((a, b) => (a.detection === highlighted) - (b.detection === highlighted));
  for (const mark of upwards) {
    context.globalAlpha = highlighted === null || mark.detection === highlighted ? 1 : 0.35;
    drawOutline(context, mark, line, mark.detection === highlighted);
  }
  context.globalAlpha = 1;
  for (const mark of upwards) {
    if (highlighted === null || mark.detection === highlighted) drawPlate(context, mark, text);
  }
  context.restore();
}

/**
 * The smallest box at a point.
 *
 * @param {Detection[]} detections
 * @param {View} view
 * @param {number} x in the canvas's units.
 * @param {number} y
 * @returns {Detection | null}
 */
export function detectionAt(detections, view, x, y) {
  const area = ({ box: [left, top, right, bottom] }) => (right - left) * (bottom - top);
  const hit = detections.filter((detection) => {
    const [left, top, right, bottom] = onCanvas(detection.box, view);
    return left <= x && x <= right && top <= y && y <= bottom;
  });
  return hit.sort((a, b) => area(a) - area(b))[0] ?? null;
}

/** A box of the image, cut to it, in the canvas's units. */
function onCanvas([left, top, right, bottom], { x, y, scale, width, height }) {
  const inside = (value, most) => Math.min(Math.max(value, 0), most);
  return [
    x + scale * inside(left, width),
    y + scale * inside(top, height),
    x + scale * inside(right, width),
    y + scale * inside(bottom, height),
  ];
}

function drawOutline(context, { box: [left, top, right, bottom], colour }, line, isHighlighted) {
  context.lineJoin = "round";
  if (isHighlighted) {
    context.fillStyle = css(colour, 0.22);
    context.fillRect(left, top, right - left, bottom - top);
  }
  for (const [style, width] of [
    ["rgb(0 0 0 / 0.75)", line + 2 * Math.max(1, line / 3)],
    [css(colour), line],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = isHighlighted ? width * 1.4 : width;
    context.strokeRect(left, top, right - left, bottom - top);
  }
}

/** Left, top, right and bottom of a caption's plate where there is room: above the box, inside it, or below. */
function platePlace(context, { detection, box: [boxLeft, boxTop, , boxBottom] }, text, taken, view) {
  const width = context.measureText(caption(detection)).width + text;
  const height = text * 1.55;
  const right = view.x + view.scale * view.width;
  const bottom = view.y + view.scale * view.height;
  const left = Math.max(view.x, Math.min(boxLeft, right - width));
  const tops = [boxTop - height, boxTop, boxBottom, boxBottom - height];
  const inside = tops.filter((top) => top >= view.y && top + height <= bottom);
  const plates = (inside.length ? inside : [view.y]).map((top) => [left, top, left + width, top + height]);
  return plates.find((plate) => !taken.some((other) => overlap(plate, other))) ?? plates[0];
}

function drawPlate(context, { detection, colour, plate: [left, top, right, bottom] }, text) {
  context.fillStyle = css(colour);
  context.beginPath();
  context.roundRect(left, top, right - left, bottom - top, text / 4);
  context.fill();
  context.fillStyle = ink(colour);
  context.fillText(caption(detection), left + text / 2, (top + bottom) / 2 + text * 0.05);
}

function caption({ label, score }) {
  return `${label} ${scoreText(score)}`;
}

function overlap(first, second) {
  return first[0] < second[2] && second[0] < first[2] && first[1] < second[3] && second[1] < first[3];
}
