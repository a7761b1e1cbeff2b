/** PNG files and archives, made and read beside the page, so that it goes on answering: what `png-worker.js` computes. */

const worker = new Worker(new URL("png-worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let asked = 0;

worker.onmessage = ({ data: { number, result, error } }) => {
  const { resolve, reject } = waiting.get(number);
  waiting.delete(number);
  if (error) reject(new Error(error));
  else resolve(result);
};

/**
 * The bytes of a PNG file as they are stored: no colour management, no transparency multiplied in.
 * @param {Blob} file
 * @returns {Promise<{width: number, height: number, channels: number, data: Uint8Array}>}
 */
export function readPng(file) {
  return compute("read", file);
}

/**
 * A PNG file of grey values, or of class indices where there is a palette.
 * @param {{width: number, height: number, data: Uint8Array}} plane
 * @param {number[][]} [palette] Red, green and blue of each class.
 * @returns {Promise<Blob>}
 */
export async function writePng({ width, height, data }, palette) {
  return new Blob([await compute("write", { width, height, data, channels: 1, palette })], { type: "image/png" });
}

/**
 * An archive of files that are compressed already.
 * @param {Record<string, Blob>} files By name.
 * @returns {Promise<Blob>}
 */
export async function writeZip(files) {
  return new Blob([await compute("zip", files)], { type: "application/zip" });
}

function compute(task, input) {
  return new Promise((resolve, reject) => {
    waiting.set(++asked, { resolve, reject });
    worker.postMessage({ number: asked, task, input });
  });
}
