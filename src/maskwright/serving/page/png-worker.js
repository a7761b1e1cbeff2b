/** Does what `png.js` asks for. */

import { decodePng, encodePng, zipSync } from "./vendored.js";

const TASKS = {
  async read(file) {
    const { width, height, channels, depth, data } = decodePng(await bytesOf(file));
    return { width, height, channels, data: depth < 8 ? unpack(data, width, height, depth) : data };
  },
  write: (picture) => encodePng(picture),
  async zip(files) {
    const entries = await Promise.all(Object.entries(files).map(async ([name, file]) => [name, await bytesOf(file)]));
    return zipSync(Object.fromEntries(entries), { level: 0 });
  },
};

self.onmessage = async ({ data: { number, task, input } }) => {
  try {
    self.postMessage({ number, result: await TASKS[task](input) });
  } catch (error) {
    self.postMessage({ number, error: error.message });
  }
};

async function bytesOf(file) {
  return new Uint8Array(await file.arrayBuffer());
}

/** A byte for each pixel, where a byte holds several: files of few classes are stored so. */
function unpack(data, width, height, depth) {
  const [perByte, perRow] = [8 / depth, Math.ceil((width * depth) / 8)];
  const pixels = new Uint8Array(width * height);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const byte = data[y * perRow + Math.floor(x / perByte)];
      pixels[at++] = (byte >> (8 - depth * ((x % perByte) + 1))) & ((1 << depth) - 1);
    }
  }
  return pixels;
}
