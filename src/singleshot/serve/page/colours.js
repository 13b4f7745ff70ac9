/** The colours of classes: those of `singleshot/draw.py`, so that the page looks like `ssd detect --out`. */

const GOLDEN_ANGLE = 0.381966;
const LIGHTNESS = [0.6, 0.52, 0.68];
const SATURATION = 0.95;

/**
 * A bright colour for a class, the same in every image; the hues of neighbouring labels differ much.
 *
 * @param {number} label place of the class in the model's list, from 0.
 * @returns {[number, number, number]} red, green and blue, 0 to 255.
 */
export function classColour(label) {
  const hue = (0.58 + label * GOLDEN_ANGLE) % 1;
  const lightness = LIGHTNESS[Math.floor(label / 8) % 3];
  const high = lightness <= 0.5 ? lightness * (1 + SATURATION) : lightness + SATURATION - lightness * SATURATION;
  const low = 2 * lightness - high;
  const channel = (place) => Math.round(255 * channelOf(low, high, (place + 1) % 1));
  return [channel(hue + 1 / 3), channel(hue), channel(hue - 1 / 3)];
}

/** One channel of a colour given by hue, as Python's `colorsys.hls_to_rgb` has it. */
function channelOf(low, high, hue) {
  if (hue < 1 / 6) return low + (high - low) * hue * 6;
  if (hue < 1 / 2) return high;
  if (hue < 2 / 3) return low + (high - low) * (2 / 3 - hue) * 6;
  return low;
}

/** A colour as CSS and canvases take it. */
export function css([red, green, blue], opacity = 1) {
  return `rgb(${red} ${green} ${blue} / ${opacity})`;
}

/** Black or white, whichever can be read on a colour. */
export function ink([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue > 128 ? "#000" : "#fff";
}
