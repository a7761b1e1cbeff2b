/**
 * Masks as arrays, without a page: a plane holds one byte for each pixel, row by row.
 *
 * Of a model of two classes it is the probability of the foreground in 255ths, as the server's soft mask has it; of
 * more classes, the index of the class. A pixel is painted by writing such a value: 0 or 255, or a class.
 */

/** Classes that a plane can tell apart, and steps of a probability. */
export const VALUES = 256;

/**
 * The level from which a soft value is foreground, for a threshold of the server.
 *
 * A soft value is a probability p times 255, rounded; so p >= (k - 0.5) / 255 is the same as soft >= k.
 * @param {number} threshold In (0, 1).
 * @returns {number} Of 1 to 255.
 */
export function levelOf(threshold) {
  return Math.min(255, Math.max(1, Math.round(threshold * 255 + 0.5)));
}

/** The threshold at which the server's mask holds exactly the soft values from this level on. */
export function thresholdOf(level) {
  return (level - 0.5) / 255;
}

/** Whether a threshold falls between two soft values, so that a level says the same. */
export function isLevel(threshold) {
  return Math.abs(thresholdOf(levelOf(threshold)) - threshold) < 1e-9;
}

/**
 * Move soft values by one step where needed, so that at one level they say what a mask says.
 *
 * At every other level they say what they said: only pixels whose value stands at this level are concerned.
 * @param {Uint8Array} soft Changed in place.
 * @param {Uint8Array} mask 0 where there is none.
 * @param {number} level
 */
export function agree(soft, mask, level) {
  for (let i = 0; i < soft.length; i++) {
    if (mask[i] !== 0 && soft[i] < level) soft[i] = level;
    else if (mask[i] === 0 && soft[i] >= level) soft[i] = level - 1;
  }
}

/**
 * The class of each value that a plane can hold.
 * @param {number | null} level Of two classes; null for more, whose planes hold the classes themselves.
 * @returns {Uint8Array} VALUES long.
 */
export function classTable(level) {
  return Uint8Array.from({ length: VALUES }, (_, value) => (level === null ? value : Number(value >= level)));
}

/** Each value of a plane looked up in a table. */
export function lookUp(plane, table) {
  const found = new Uint8Array(plane.length);
  for (let i = 0; i < plane.length; i++) found[i] = table[plane[i]];
  return found;
}

/** How many pixels of a plane hold each value. */
export function countValues(plane) {
  const counts = new Uint32Array(VALUES);
  for (let i = 0; i < plane.length; i++) counts[plane[i]]++;
  return counts;
}

/** The same for classes, from the counts of values. */
export function countClasses(counts, table) {
  const classes = new Float64Array(VALUES);
  counts.forEach((count, value) => (classes[table[value]] += count));
  return classes;
}

/**
 * The classes of a part of a plane, at another size: the nearest pixel of each place.
 * @param {{data: Uint8Array, width: number, height: number}} plane
 * @param {Uint8Array} table
 * @param {{left: number, top: number, width: number, height: number}} part In pixels of the plane.
 * @param {number} width
 * @param {number} height
 */
export function sampleClasses(plane, table, part, width, height) {
  const columns = Int32Array.from({ length: width }, (_, x) =>
    Math.min(plane.width - 1, Math.floor(part.left + ((x + 0.5) * part.width) / width)),
  );
  const classes = new Uint8Array(width * height);
  for (let y = 0, at = 0; y < height; y++) {
    const row = Math.min(plane.height - 1, Math.floor(part.top + ((y + 0.5) * part.height) / height)) * plane.width;
    for (let x = 0; x < width; x++) classes[at++] = table[plane.data[row + columns[x]]];
  }
  return classes;
}

/**
 * Colours of classes, and of the lines between them.
 * @param {Uint8Array} classes
 * @param {number} width
 * @param {Uint32Array} fills For each class, RGBA as a canvas keeps it.
 * @param {Uint32Array | null} lines The same for the pixels along an outline.
 * @param {number} reach Width of the lines.
 * @param {Uint32Array} pixels Receives the colours.
 */
export function colourClasses(classes, width, fills, lines, reach, pixels) {
  const height = classes.length / width;
  for (let y = 0, at = 0; y < height; y++) {
    const above = y >= reach ? -reach * width : 0;
    const below = y < height - reach ? reach * width : 0;
    for (let x = 0; x < width; x++, at++) {
      const here = classes[at];
      const isEdge =
        lines !== null &&
        (classes[at + above] !== here ||
          classes[at + below] !== here ||
          classes[at - (x >= reach ? reach : 0)] !== here ||
          classes[at + (x < width - reach ? reach : 0)] !== here);
      pixels[at] = isEdge ? lines[here] : fills[here];
    }
  }
}

/**
 * The rectangle of pixels that a stroke can reach; empty where it misses the plane.
 * @param {{width: number, height: number}} plane
 * @param {{x: number, y: number}} from
 * @param {{x: number, y: number}} to
 * @param {number} radius
 */
export function boxOfStroke(plane, from, to, radius) {
  const left = Math.max(0, Math.floor(Math.min(from.x, to.x) - radius));
  const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - radius));
  const right = Math.min(plane.width, Math.ceil(Math.max(from.x, to.x) + radius));
  const bottom = Math.min(plane.height, Math.ceil(Math.max(from.y, to.y) + radius));
  return { left, top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
}

/** Write a value to each pixel whose middle is within a radius of the line between two points. */
export function paintStroke(plane, from, to, radius, value) {
  const { left, top, width, height } = boxOfStroke(plane, from, to, radius);
  const along = { x: to.x - from.x, y: to.y - from.y };
  const length2 = along.x ** 2 + along.y ** 2 || 1;
  for (let y = top; y < top + height; y++) {
    for (let x = left; x < left + width; x++) {
      const [right, down] = [x + 0.5 - from.x, y + 0.5 - from.y];
      const share = Math.min(1, Math.max(0, (right * along.x + down * along.y) / length2));
      const distance2 = (right - share * along.x) ** 2 + (down - share * along.y) ** 2;
      if (distance2 <= radius ** 2) plane.data[y * plane.width + x] = value;
    }
  }
}

/** A copy of the pixels in a rectangle. */
export function copyBox(plane, { left, top, width, height }) {
  const copy = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const start = (top + y) * plane.width + left;
    copy.set(plane.data.subarray(start, start + width), y * width);
  }
  return copy;
}

/** Put such a copy back. */
export function pasteBox(plane, { left, top, width, height }, pixels) {
  for (let y = 0; y < height; y++) {
    plane.data.set(pixels.subarray(y * width, (y + 1) * width), (top + y) * plane.width + left);
  }
}
