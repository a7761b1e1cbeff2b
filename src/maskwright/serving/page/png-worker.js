/** Does what `png.js` asks for. */

import { decodePng, encodePng, zipSync } from "./vendored.js";

const TASKS = {
  async read(file) {
    const { width, height, channels, data } = decodePng(await bytesOf(file));
    return { width, height, channels, data };
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
